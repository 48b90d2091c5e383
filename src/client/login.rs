//! A client with its tokens, and the login that gets them.

use crate::client::auth::{Token, TokenSource, token_of};
use crate::client::authorize::Authorized;
use crate::client::config::ClientConfig;
use crate::client::credentials::Credentials;
use crate::client::handle::Client;
use crate::client::resolver::Resolver;
use crate::client::transport::Transport;
use crate::error::{Error, Kind};
use serde_json::Value;
use std::sync::Arc;

impl Client {
    pub(super) fn new(config: ClientConfig, resolver: Resolver) -> Result<Self, Error> {
        let transport = Arc::new(Transport::new(config.clone())?);
        let credentials = credentials(&config, &transport, &resolver)?;
        let authorized = Authorized {
            transport,
            credentials: credentials.map(Arc::new),
        };
        Ok(Self::of(config, resolver, authorized))
    }
}

/// The tokens of a client, if it is told of any. A login is a call of a client without them.
fn credentials(
    config: &ClientConfig,
    transport: &Arc<Transport>,
    resolver: &Resolver,
) -> Result<Option<Credentials>, Error> {
    let Some(auth) = config.auth.clone() else {
        return Ok(None);
    };
    if let Some(mistake) = &auth.mistake {
        return Err(mistake.clone());
    }
    let address = transport.address();
    let safe = transport.is_secure() || address.is_local() || auth.allow_plaintext;
    if !safe {
        let text = format!(
            "a token would go to {address} in plaintext: use `.tls(..)`, or `TokenAuth::allow_plaintext()`"
        );
        return Err(Error::new(Kind::Config, text));
    }
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
                transport: Arc::clone(transport),
                credentials: None,
            };
            // Its own resolver: calls that ask for a name may be waiting for the login.
            let client = Client::of(config.clone(), resolver.anew(), authorized);
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
            client.address()
        );
        Error::new(Kind::Auth, text)
    };
    let reply = client.call(method.as_str(), args).await;
    let reply = reply.map_err(|error| failed("").caused_by(error))?;
    token_of(&reply).map_err(|problem| failed(&format!(": the reply is of no use: {problem}")))
}
