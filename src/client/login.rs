//! A client with its tokens, and the login that gets them.

use crate::client::auth::{Token, TokenSource, token_of};
use crate::client::authorize::Authorized;
use crate::client::channel::Channel;
use crate::client::config::ClientConfig;
use crate::client::credentials::Credentials;
use crate::client::handle::Client;
use crate::client::resolver::Resolver;
use crate::error::{Error, Kind};
use serde_json::Value;
use std::sync::Arc;

impl Client {
    pub(super) fn new(config: ClientConfig, resolver: Resolver) -> Result<Self, Error> {
        if let Some(mistake) = config.auth.as_ref().and_then(|auth| auth.mistake.as_ref()) {
            return Err(mistake.clone());
        }
        let resolver = Arc::new(resolver);
        let channel = channel(&config, &resolver)?;
        let credentials = credentials(&config, &channel, &resolver)?;
        let authorized = Authorized {
            channel,
            credentials: credentials.map(Arc::new),
        };
        Ok(Self::of(config, resolver, authorized))
    }

    /// Another client of the same servers with connections of its own. Tokens, and what is known of the schema, are those of
    /// this one, which has to be kept for them.
    pub(super) fn sibling(&self) -> Result<Self, Error> {
        let (config, resolver) = (self.config().clone(), Arc::clone(self.resolver()));
        let authorized = Authorized {
            channel: channel(&config, &resolver)?,
            credentials: self.credentials().cloned(),
        };
        Ok(Self::of(config, resolver, authorized))
    }
}

fn channel(config: &ClientConfig, resolver: &Arc<Resolver>) -> Result<Arc<Channel>, Error> {
    let resolver = Arc::clone(resolver);
    Channel::new(config.clone(), move |path| resolver.is_idempotent(path))
}

/// The tokens of a client, if it is told of any. A login is a call of a client without them.
fn credentials(
    config: &ClientConfig,
    channel: &Arc<Channel>,
    resolver: &Resolver,
) -> Result<Option<Credentials>, Error> {
    let Some(auth) = config.auth.clone() else {
        return Ok(None);
    };
    let told = auth.clone();
    Ok(Some(match auth.source {
        TokenSource::Fixed(token) => {
            // One that cannot be sent is told at once.
            told.value(&token)?;
            Credentials::new(told, false, move || {
                let token = token.clone();
                Box::pin(async move { Ok(token) })
            })
        }
        TokenSource::Provider(provide) => Credentials::new(told, true, move || provide()),
        TokenSource::Login { method, args } => {
            let authorized = Authorized {
                channel: Arc::clone(channel),
                credentials: None,
            };
            // Its own resolver: calls that ask for a name may be waiting for the login.
            let client = Client::of(config.clone(), Arc::new(resolver.anew()), authorized);
            Credentials::new(told, true, move || {
                Box::pin(login(client.clone(), method.clone(), args.clone()))
            })
        }
    }))
}

async fn login(client: Client, method: String, args: Value) -> Result<Token, Error> {
    let failed = |problem: &str| {
        let text = format!(
            "the login by {method} at {} failed{problem}",
            client.target()
        );
        Error::new(Kind::Auth, text)
    };
    let reply = client.call(method.as_str(), args).await;
    let reply = reply.map_err(|error| failed("").caused_by(error))?;
    token_of(&reply).map_err(|problem| failed(&format!(": the reply is of no use: {problem}")))
}
