//! One HTTP/2 call over a connection.

use crate::address::Address;
use crate::client::about::About;
use crate::client::config::ClientConfig;
use crate::client::connection::{Slotted, Subchannel};
use crate::client::link::Link;
use crate::client::negotiation::Negotiation;
use crate::client::secure::Tls;
use crate::client::timer::{Deadline, Timer};
use crate::client::tls::ClientTls;
use crate::client::upload::Upload;
use crate::error::{Error, Kind};
use crate::wire::compression::Compression;
use crate::wire::recode::{Recode, RecodeError};
use crate::wire::{Receive, status, timeout};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri,
    header::USER_AGENT,
    request::Parts,
    uri::{Authority, Scheme},
};
use http_body::{Body, Frame};
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tonic::Status;

/// Carries calls to one server.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) subchannel: Subchannel,
    authority: Authority,
    scheme: Scheme,
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
    /// When it has to have ended. (A request without one has what its headers say, or the configuration.)
    pub(crate) deadline: Option<Deadline>,
}

impl Transport {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, Error> {
        let tls = match (&config.tls, config.address.wants_tls()) {
            (None, false) => None,
            (told, _) => Some(told.clone().unwrap_or_else(ClientTls::of_address)),
        };
        let named = tls.as_ref().and_then(|tls| tls.server_name.clone());
        let tls = tls.map(|tls| Tls::new(tls, &config.address)).transpose()?;
        let named = named.map(|name| match name.contains(':') {
            true => format!("[{name}]"),
            false => name,
        });
        let authority = named.unwrap_or_else(|| config.address.authority());
        let authority = Authority::try_from(authority.as_str()).map_err(|error| {
            let text = format!("`{authority}` cannot be the authority of a call");
            Error::new(Kind::Address, text).caused_by(error)
        })?;
        Ok(Self {
            timeout: config.timeout,
            message_limit: config.max_message_size,
            compression: config.compression,
            scheme: if tls.is_some() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            },
            subchannel: Subchannel::new(config, tls),
            authority,
        })
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
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
        let options = self.options(&mut parts);
        let about = self.about(&parts, &options);
        let negotiation = Negotiation::open(&mut parts.headers, options.compression);
        let mut timer = Timer::new(options.deadline);

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
            on_trailers: None,
        }))
    }

    /// What a request asks for. Its deadline runs from here at the latest.
    pub(crate) fn options(&self, parts: &mut Parts) -> CallOptions {
        let options = parts.extensions.remove::<CallOptions>();
        let mut options = options.unwrap_or_else(|| CallOptions {
            compression: self.compression,
            ..CallOptions::default()
        });
        options
            .deadline
            .get_or_insert_with(|| Deadline::after(timeout::read(&parts.headers).or(self.timeout)));
        options
    }

    pub(crate) fn about(&self, parts: &Parts, options: &CallOptions) -> About {
        About {
            path: parts.uri.path().to_owned(),
            address: self.address().clone(),
            timeout: options.deadline.and_then(|deadline| deadline.timeout),
        }
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
        uri.scheme = Some(self.scheme.clone());
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

/// The body of a response: what tonic reads messages and trailers from.
///
/// It ends with `DEADLINE_EXCEEDED` at the call's deadline, also when the server goes on sending, and resets the stream
/// then, or when it is dropped before its end. Nothing happens while nobody reads it: a body that is kept unread past its
/// deadline ends with the next read.
pub struct ResponseBody {
    /// Gone once the last frame is out, so that a body that is kept holds up no [`close`](crate::Client::close).
    open: Option<Open>,
    about: About,
    /// Told of the trailers.
    on_trailers: Option<OnTrailers>,
}

type OnTrailers = Box<dyn FnOnce(&HeaderMap) + Send>;

#[derive(Debug)]
struct Open {
    receive: Recode<Receive>,
    timer: Timer,
    upload: Upload,
    _slot: Slotted,
    /// A stream lives on when the client that opened it is dropped.
    _transport: Arc<Transport>,
}

impl ResponseBody {
    pub(crate) fn on_trailers(&mut self, tell: impl FnOnce(&HeaderMap) + Send + 'static) {
        self.on_trailers = Some(Box::new(tell));
    }
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
        if this.on_trailers.is_some()
            && let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(tell) = this.on_trailers.take()
        {
            tell(trailers);
        }
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
