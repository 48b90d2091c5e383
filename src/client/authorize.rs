//! Calls with the client's token.

use crate::client::about::About;
use crate::client::channel::Channel;
use crate::client::connection::ConnectionState;
use crate::client::credentials::Credentials;
use crate::client::options::CallOptions;
use crate::client::replay::Kept;
use crate::client::response_body::{End, ResponseBody, status_of};
use crate::client::timer::Timer;
use crate::client::token::Held;
use crate::error::Error;
use http::{HeaderMap, Request, Response, request::Parts};
use std::{
    pin::{Pin, pin},
    sync::Arc,
};
use tonic::{Code, body::Body};

/// Carries calls to the servers of a client, each with the client's token if it has one.
#[derive(Clone, Debug)]
pub(crate) struct Authorized {
    pub(crate) channel: Arc<Channel>,
    pub(crate) credentials: Option<Arc<Credentials>>,
}

impl Authorized {
    /// [`Channel::send`] with the token, and once more with another if that is refused.
    pub(crate) fn send<E: From<Error> + 'static>(self, request: Request<Body>) -> Sending<E> {
        match self.credentials {
            // A call that says itself who makes it is left alone.
            Some(credentials) if !request.headers().contains_key(credentials.key()) => {
                Box::pin(async { Ok(send_with(self.channel, credentials, request).await?) })
            }
            _ => Box::pin(self.channel.send(request)),
        }
    }
}

/// In a box, since all calls go through it and most have no token.
pub(crate) type Sending<E> =
    Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, E>> + Send>>;

async fn send_with(
    channel: Arc<Channel>,
    credentials: Arc<Credentials>,
    request: Request<Body>,
) -> Result<Response<ResponseBody>, Error> {
    let (mut parts, body) = request.into_parts();
    let options = CallOptions::take(&mut parts, channel.config());
    let about = About::new(&parts.uri, &channel.target(), &options);
    parts.extensions.insert(options);
    let (kept, body) = if credentials.is_renewable() {
        let kept = Kept::new(body, KEPT);
        let body = kept.reader();
        (Some(kept), body)
    } else {
        (None, body)
    };
    let attempt = Attempt {
        channel: &channel,
        credentials: &credentials,
        about: &about,
        options,
    };
    let again = parts.clone();
    let (response, refused) = attempt.send(parts, body).await?;
    match kept {
        Some(kept) if refused && kept.is_repeatable() => {
            drop(response);
            let (response, _) = attempt.send(again, kept.reader()).await?;
            Ok(response)
        }
        Some(kept) => {
            kept.commit();
            Ok(response)
        }
        None => Ok(response),
    }
}

/// As much of a request is kept, in bytes.
const KEPT: usize = 1 << 20;

/// One call, which is made once or twice.
struct Attempt<'a> {
    channel: &'a Arc<Channel>,
    credentials: &'a Arc<Credentials>,
    about: &'a About,
    options: CallOptions,
}

impl Attempt<'_> {
    /// A token, unless the client is closed.
    async fn token(&self) -> Result<Held, Error> {
        let mut state = self.channel.state();
        tokio::select! {
            biased;
            _ = state.wait_for(|state| *state == ConnectionState::Shutdown) => {
                Err(self.channel.closed())
            }
            held = self.fetched() => held,
        }
    }

    async fn fetched(&self) -> Result<Held, Error> {
        loop {
            match self.credentials.token().await {
                // A login does not wait for its server. Who does, does so here.
                Err(error) if self.options.wait_for_ready && error.is_by_connect() => {
                    self.channel.connected(true).await?;
                }
                fetched => return fetched,
            }
        }
    }

    /// The response, and whether it is nothing but the refusal of the token.
    async fn send(
        &self,
        mut parts: Parts,
        body: Body,
    ) -> Result<(Response<ResponseBody>, bool), Error> {
        let mut timer = Timer::new(self.options.deadline);
        let held = timer.limit(pin!(self.token())).await;
        let held = held.ok_or_else(|| self.about.late("waiting for a token"))??;
        let key = self.credentials.key().clone();
        parts.headers.insert(key, held.value);
        let request = Request::from_parts(parts, body);
        let mut response = Arc::clone(self.channel).send::<Error>(request).await?;
        let refused = is_unauthenticated(response.headers());
        if refused {
            self.credentials.refuse(held.generation);
        } else if self.credentials.is_renewable() {
            let credentials = Arc::downgrade(self.credentials);
            response.body_mut().on_end(move |end| {
                if let Some(credentials) = credentials.upgrade()
                    && let End::Trailers(trailers) = end
                    && is_unauthenticated(trailers)
                {
                    credentials.refuse(held.generation);
                }
            });
        }
        Ok((response, refused))
    }
}

fn is_unauthenticated(headers: &HeaderMap) -> bool {
    status_of(headers) == Some(Code::Unauthenticated)
}
