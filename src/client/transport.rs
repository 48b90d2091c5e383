//! One HTTP/2 call over a connection.

use crate::address::Address;
use crate::client::config::ClientConfig;
use crate::client::connection::{Slotted, Subchannel};
use crate::client::link::Link;
use crate::client::negotiation::Negotiation;
use crate::client::upload::Upload;
use crate::error::{Error, Kind};
use crate::wire::compression::{ACCEPTED, Compression, Unknown};
use crate::wire::message::Malformed;
use crate::wire::recode::{Recode, RecodeError};
use crate::wire::{Receive, status, timeout};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::{CONTENT_TYPE, USER_AGENT},
    request::Parts,
    uri::{Authority, Scheme},
};
use http_body::{Body, Frame};
use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Code, Status};

/// Carries calls to one server.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) subchannel: Subchannel,
    authority: Authority,
    timeout: Option<Duration>,
    message_limit: usize,
    compression: Option<Compression>,
}

/// What a call asks of the transport, as an extension of its request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallOptions {
    /// Wait for a connection instead of failing while there is none.
    pub(crate) wait_for_ready: bool,
    /// The call may be repeated. Nothing repeats calls yet; it is carried for what will.
    pub(crate) idempotent: bool,
    /// What the request is compressed with. (A request without options is compressed as the configuration says.)
    pub(crate) compression: Option<Compression>,
}

/// Which call an error is about.
#[derive(Debug)]
struct About {
    path: String,
    address: Address,
    timeout: Option<Duration>,
}

impl Transport {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, Error> {
        let authority = config.address.authority();
        let authority = Authority::try_from(authority.as_str()).map_err(|error| {
            let text = format!("`{authority}` cannot be the authority of a call");
            Error::new(Kind::Address, text).caused_by(error)
        })?;
        Ok(Self {
            timeout: config.timeout,
            message_limit: config.max_message_size,
            compression: config.compression,
            subchannel: Subchannel::new(config),
            authority,
        })
    }

    pub(crate) fn address(&self) -> &Address {
        self.subchannel.address()
    }

    /// Sends a request and waits for the response headers.
    ///
    /// The deadline is that of the `grpc-timeout` header, or of the configuration; it goes on over the body. Dropping the
    /// future, or later the body, resets the stream.
    pub(crate) async fn send(
        self: Arc<Self>,
        request: Request<tonic::body::Body>,
    ) -> Result<http::Response<ResponseBody>, Error> {
        let (mut parts, body) = request.into_parts();
        let options = parts.extensions.remove::<CallOptions>();
        let options = options.unwrap_or_else(|| CallOptions {
            compression: self.compression,
            ..CallOptions::default()
        });
        let negotiation = Negotiation::open(&mut parts.headers, options.compression);
        let about = About {
            path: parts.uri.path().to_owned(),
            address: self.address().clone(),
            timeout: timeout::read(&parts.headers).or(self.timeout),
        };
        let mut timer = Timer::new(about.timeout);

        let ready = timer
            .limit(self.subchannel.ready(options.wait_for_ready))
            .await;
        let (mut link, slot) = ready.ok_or_else(|| about.late("waiting for a connection"))??;
        if timer.is_passed() {
            return Err(about.late("being sent"));
        }
        if let Some(left) = timer.left() {
            parts
                .headers
                .insert(timeout::GRPC_TIMEOUT, timeout::write(left));
        }
        let sent = link
            .requests
            .send_request(self.head(parts)?, body.is_end_stream());
        let (response, stream) = sent.map_err(|error| self.unsent(&link, error, &about))?;
        link.mark_used();
        let upload = Upload::start(Recode::compress(body, negotiation.request), stream)
            .await
            .map_err(|status| about.upload(status))?;

        let response = timer.limit(response).await;
        let response = response.ok_or_else(|| about.late("waiting for the response headers"))?;
        let response = response.map_err(|error| match upload.failure() {
            Some(status) => about.upload(status),
            None => about.failure(&error),
        })?;
        link.mark_served();
        let (mut parts, stream) = response.into_parts();
        if let Some(code) = status::foreign(&parts) {
            return Err(about.foreign(&parts, code));
        }
        let encoding = negotiation.response(&mut parts.headers);
        let encoding = encoding.map_err(|unknown| about.unknown_encoding(&unknown))?;
        let receive = Recode::decompress(Receive::new(stream), encoding, self.message_limit);
        let response = http::Response::from_parts(parts, receive);
        Ok(response.map(|receive| ResponseBody {
            open: Some(Open {
                receive,
                timer,
                upload,
                _slot: slot,
                _transport: self,
            }),
            about,
        }))
    }

    /// A request that `h2` did not take: the connection is of no use, or the request is.
    fn unsent(&self, link: &Link, error: h2::Error, about: &About) -> Error {
        if error.is_io() || error.reason().is_some() {
            let failure = about.failure(&error);
            self.subchannel.lost(link, error);
            return failure;
        }
        let text = format!("the request of {} cannot be sent", about.path);
        Error::new(Kind::Message, text).caused_by(error)
    }

    fn head(&self, mut parts: Parts) -> Result<Request<()>, Error> {
        let mut uri = parts.uri.into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        parts.uri = Uri::from_parts(uri).map_err(|error| {
            Error::new(Kind::Message, "the path of the call is no URI path").caused_by(error)
        })?;
        parts
            .headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!(
                "rpcplugin-testkit/",
                env!("CARGO_PKG_VERSION")
            )));
        Ok(Request::from_parts(parts, ()))
    }
}

impl About {
    fn late(&self, doing: &str) -> Error {
        let limit = self.timeout.unwrap_or_default();
        let (path, address) = (&self.path, &self.address);
        let text = format!("{path} at {address} exceeded its deadline of {limit:?} while {doing}");
        Error::new(Kind::Timeout, text)
    }

    fn failure(&self, error: &h2::Error) -> Error {
        let code = status::code(error);
        let text = format!(
            "{} at {} failed: {}: {error}",
            self.path,
            self.address,
            status::name(code)
        );
        let status = Status::new(code, error.to_string());
        Error::new(Kind::Status, text)
            .with_status(status)
            .caused_by(explain(error))
    }

    /// Something answered that is no gRPC server: a proxy, most likely.
    fn foreign(&self, response: &http::response::Parts, code: Code) -> Error {
        let kind = response
            .headers
            .get(CONTENT_TYPE)
            .map_or("no content type", |kind| {
                kind.to_str().unwrap_or("an unreadable content type")
            });
        let problem = format!("not a gRPC response: HTTP {} with {kind}", response.status);
        self.unreadable(code, problem)
    }

    /// [gRPC compression](https://github.com/grpc/grpc/blob/master/doc/compression.md): it is `INTERNAL`.
    fn unknown_encoding(&self, Unknown(name): &Unknown) -> Error {
        let accepted = String::from_utf8_lossy(ACCEPTED.as_bytes()).into_owned();
        let problem =
            format!("the response is compressed with `{name}`, and this client takes `{accepted}`");
        self.unreadable(Code::Internal, problem)
    }

    fn malformed(&self, malformed: &Malformed) -> Error {
        self.unreadable(malformed.code(), malformed.to_string())
    }

    /// A response that is no good.
    fn unreadable(&self, code: Code, problem: String) -> Error {
        let text = format!(
            "{} at {} failed: {}: {problem}",
            self.path,
            self.address,
            status::name(code)
        );
        Error::new(Kind::Status, text).with_status(Status::new(code, problem))
    }

    /// The request's own messages failed: a message that does not encode, for one.
    fn upload(&self, status: Status) -> Error {
        Error::behind(&status).cloned().unwrap_or_else(|| {
            let text = format!(
                "the request of {} at {} failed: {}",
                self.path,
                self.address,
                status.message()
            );
            Error::new(Kind::Status, text).with_status(status)
        })
    }
}

/// `h2::Error` cannot be cloned; a copy with the same reason or text stands for it.
fn explain(error: &h2::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match (error.get_io(), error.reason()) {
        (Some(io), _) => std::io::Error::new(io.kind(), io.to_string()).into(),
        (None, Some(reason)) => h2::Error::from(reason).into(),
        (None, None) => error.to_string().into(),
    }
}

/// The rest of a call's time. The deadline is one instant, whatever the call is waiting for.
#[derive(Debug)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    fn new(timeout: Option<Duration>) -> Self {
        // A timeout beyond the clock's end is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self {
            sleep: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
        }
    }

    fn left(&self) -> Option<Duration> {
        let sleep = self.sleep.as_ref()?;
        Some(sleep.deadline().saturating_duration_since(Instant::now()))
    }

    fn is_passed(&self) -> bool {
        self.sleep
            .as_ref()
            .is_some_and(|sleep| sleep.deadline() <= Instant::now())
    }

    /// `None`, when the deadline comes first.
    async fn limit<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_passed(cx).map(|()| None),
        })
        .await
    }

    fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// The body of a response: what tonic reads messages and trailers from.
///
/// It ends with `DEADLINE_EXCEEDED` at the call's deadline, also when the server goes on sending, and resets the stream
/// then, or when it is dropped before its end. Nothing happens while nobody reads it: a body that is kept unread past its
/// deadline ends with the next read.
pub struct ResponseBody {
    /// Gone once the last frame is out, so that a body that is kept holds up no [`close`](crate::Client::close).
    open: Option<Open>,
    about: About,
}

#[derive(Debug)]
struct Open {
    receive: Recode<Receive>,
    timer: Timer,
    upload: Upload,
    _slot: Slotted,
    /// A stream lives on when the client that opened it is dropped.
    _transport: Arc<Transport>,
}

impl Open {
    /// The next frame; a passed deadline is an error.
    fn poll_frame(
        &mut self,
        about: &About,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // A server that goes on sending does not keep the call alive.
        if self.timer.is_passed() {
            return Poll::Ready(Some(Err(about.late("reading the response").into())));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.receive).poll_frame(cx) {
            let failure = |error| {
                let own = self.upload.failure().map(|status| about.upload(status));
                let failure = || match error {
                    RecodeError::Malformed(malformed) => about.malformed(&malformed),
                    RecodeError::Body(error) => about.failure(&error),
                };
                Status::from(own.unwrap_or_else(failure))
            };
            return Poll::Ready(frame.map(|frame| frame.map_err(failure)));
        }
        ready!(self.timer.poll_passed(cx));
        Poll::Ready(Some(Err(about.late("reading the response").into())))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(open) = &mut this.open else {
            return Poll::Ready(None);
        };
        let frame = ready!(open.poll_frame(&this.about, cx));
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            this.open = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.open
            .as_ref()
            .is_none_or(|open| open.receive.is_end_stream())
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ResponseBody({} from {})",
            self.about.path, self.about.address
        )
    }
}
