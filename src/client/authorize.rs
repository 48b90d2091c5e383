//! Calls with the client's token.

use crate::client::about::About;
use crate::client::connection::{ConnectionState, closed};
use crate::client::credentials::Credentials;
use crate::client::replay::Kept;
use crate::client::timer::Timer;
use crate::client::token::Held;
use crate::client::transport::{CallOptions, ResponseBody, Transport};
use crate::error::Error;
use http::{HeaderMap, Request, Response, request::Parts};
use std::sync::Arc;
use tonic::{Code, Status, body::Body};

/// As much of a request is kept for the case that its token is refused.
const MOST: usize = 1 << 20;

/// Carries calls to one server, each with the client's token if it has one.
#[derive(Clone, Debug)]
pub(crate) struct Authorized {
    pub(crate) transport: Arc<Transport>,
    pub(crate) credentials: Option<Arc<Credentials>>,
}

impl Authorized {
    /// [`Transport::send`] with the token, and once more with another if that is refused.
    pub(crate) async fn send(
        self,
        request: Request<Body>,
    ) -> Result<Response<ResponseBody>, Error> {
        match self.credentials {
            // A call that says itself who makes it is left alone.
            Some(credentials) if !request.headers().contains_key(credentials.key()) => {
                Box::pin(send_with(self.transport, credentials, request)).await
            }
            _ => self.transport.send(request).await,
        }
    }
}

async fn send_with(
    transport: Arc<Transport>,
    credentials: Arc<Credentials>,
    request: Request<Body>,
) -> Result<Response<ResponseBody>, Error> {
    let (mut parts, body) = request.into_parts();
    let options = transport.options(&mut parts);
    let about = transport.about(&parts, &options);
    parts.extensions.insert(options);
    let (kept, body) = if credentials.is_renewable() {
        let kept = Kept::new(body, MOST);
        let body = kept.reader();
        (Some(kept), body)
    } else {
        (None, body)
    };
    let attempt = Attempt {
        transport: &transport,
        credentials: &credentials,
        about: &about,
        options,
    };
    let again = parts.clone();
    let (response, refused) = attempt.send(parts, body).await?;
    let Some(kept) = kept else {
        return Ok(response);
    };
    if !refused || !kept.is_repeatable() {
        kept.commit();
        return Ok(response);
    }
    drop(response);
    let body = kept.reader();
    kept.commit();
    let (response, _) = attempt.send(again, body).await?;
    Ok(response)
}

/// One call, which is made once or twice.
struct Attempt<'a> {
    transport: &'a Arc<Transport>,
    credentials: &'a Arc<Credentials>,
    about: &'a About,
    options: CallOptions,
}

impl Attempt<'_> {
    /// A token, unless the client is closed.
    async fn token(&self) -> Result<Held, Error> {
        let subchannel = &self.transport.subchannel;
        let mut state = subchannel.state();
        tokio::select! {
            biased;
            _ = state.wait_for(|state| *state == ConnectionState::Shutdown) => {
                Err(closed(subchannel.address()))
            }
            held = self.fetched() => held,
        }
    }

    async fn fetched(&self) -> Result<Held, Error> {
        loop {
            match self.credentials.token().await {
                // A login does not wait for its server. Who does, does so here.
                Err(error) if self.options.wait_for_ready && error.is_by_connect() => {
                    self.transport.subchannel.ready(true).await?;
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
        let held = timer.limit(self.token()).await;
        let held = held.ok_or_else(|| self.about.late("waiting for a token"))??;
        let key = self.credentials.key().clone();
        parts.headers.insert(key, held.value);
        let sent = Arc::clone(self.transport).send(Request::from_parts(parts, body));
        let mut response = sent.await?;
        let refused = is_unauthenticated(response.headers());
        if refused {
            self.credentials.refuse(held.generation);
        } else if self.credentials.is_renewable() {
            let credentials = Arc::downgrade(self.credentials);
            response.body_mut().on_trailers(move |trailers| {
                if let Some(credentials) = credentials.upgrade()
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
    let status = headers.get(Status::GRPC_STATUS);
    status.is_some_and(|status| Code::from_bytes(status.as_bytes()) == Code::Unauthenticated)
}
