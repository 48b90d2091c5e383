//! One HTTP/2 call over the connection to one endpoint.

use crate::client::about::About;
use crate::client::config::ClientConfig;
use crate::client::connection::{DialSettings, Patience, Reporter, Subchannel};
use crate::client::dice::Dice;
use crate::client::link::Link;
use crate::client::negotiation::Negotiation;
use crate::client::options::CallOptions;
use crate::client::response_body::{Open, ResponseBody};
use crate::client::retry::{Class, classify};
use crate::client::telemetry::{Counted, Traffic};
use crate::client::timer::Timer;
use crate::client::upload::Upload;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use crate::net::{Spoken, Tls};
use crate::tls::ClientTls;
use crate::wire::recode::Recode;
use crate::wire::{Receive, status, timeout};
use h2::StreamId;
use http::{
    HeaderValue, Request, Uri,
    header::USER_AGENT,
    request::Parts,
    uri::{Authority, Scheme},
};
use http_body::Body;
use std::{pin::pin, sync::Arc};

/// Carries calls to one endpoint.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) subchannel: Subchannel,
    /// The endpoint in error texts.
    target: Arc<str>,
    authority: Authority,
    scheme: Scheme,
    message_limit: usize,
}

/// How many headers are added to a request: its timeout, the compressions that are understood, and who calls.
const HEADERS: usize = 3;

/// A call that got no response, and what is known of its request.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) error: Error,
    pub(crate) class: Class,
}

impl Transport {
    pub(crate) fn new(
        config: &ClientConfig,
        endpoint: &Endpoint,
        dice: Dice,
        reporter: Reporter,
    ) -> Result<Self, Error> {
        let address = &endpoint.address;
        let tls = match (&config.tls, address.wants_tls()) {
            (None, false) => None,
            (told, _) => Some(told.clone().unwrap_or_else(ClientTls::of_address)),
        };
        let tls = tls.map(|tls| match &endpoint.tls_name {
            Some(name) => tls.server_name(name.clone()),
            None => tls,
        });
        let named = tls.as_ref().and_then(|tls| tls.server_name.clone());
        // Whoever found the address knows how the server is called, with TLS or not.
        let named = named.or_else(|| endpoint.tls_name.clone());
        let tls = tls
            .map(|tls| Tls::new(tls, address, Spoken::Grpc))
            .transpose()?;
        let named = named.map(|name| match name.contains(':') {
            true => format!("[{name}]"),
            false => name,
        });
        let authority = named.unwrap_or_else(|| address.authority());
        let authority = Authority::try_from(authority.as_str()).map_err(|error| {
            let text = format!("`{authority}` cannot be the authority of a call");
            Error::new(Kind::Address, text).caused_by(error)
        })?;
        let scheme = if tls.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let settings = DialSettings {
            address: address.clone(),
            connect_timeout: config.connect_timeout,
            backoff: config.backoff,
            keepalive: config.keepalive,
            dice,
        };
        Ok(Self {
            target: address.to_string().into(),
            message_limit: config.max_message_size,
            scheme,
            subchannel: Subchannel::new(settings, tls, reporter),
            authority,
        })
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(crate) fn target(&self) -> &Arc<str> {
        &self.target
    }

    /// Sends a request and waits for the response headers.
    ///
    /// The deadline goes on over the body. Dropping the future, or later the body, resets the stream.
    pub(crate) fn send(
        self: &Arc<Self>,
        mut parts: Box<Parts>,
        body: tonic::body::Body,
        options: &CallOptions,
        patience: Patience,
        traffic: &Traffic,
    ) -> impl Future<Output = Result<http::Response<ResponseBody>, Broken>> + Send {
        let about = About::new(&parts.uri, self.target(), options);
        parts.headers.reserve(HEADERS);
        let negotiation = Negotiation::open(&mut parts.headers, options.compression);
        let mut timer = Timer::new(options.deadline);
        let (sent, received) = (traffic.sent(), traffic.received());
        async move {
            let ready = timer.limit(pin!(self.subchannel.ready(patience))).await;
            let ready = ready.ok_or_else(|| about.late("waiting for a connection"));
            let (mut link, slot) = ready.and_then(|ready| ready).map_err(unsent)?;
            if timer.is_passed() {
                return Err(unsent(about.late("being sent")));
            }
            if let Some(left) = timer.left() {
                parts
                    .headers
                    .insert(timeout::GRPC_TIMEOUT, timeout::write(left));
            }
            let head = self.head(*parts).map_err(unrepeatable)?;
            let opened = link.requests.send_request(head, body.is_end_stream());
            let (response, stream) = opened.map_err(|error| self.untaken(&link, error, &about))?;
            link.mark_used();
            let id = response.stream_id();
            let body = Counted::new(Recode::compress(body, negotiation.request), sent);
            let upload = Upload::start(body, stream);
            let upload = upload.map_err(|status| unrepeatable(about.upload(status)))?;

            let response = timer.limit(pin!(response)).await;
            let response =
                response.ok_or_else(|| unknown(about.late("waiting for the response headers")))?;
            let response = response.map_err(|error| match upload.failure() {
                Some(status) => unrepeatable(about.upload(status)),
                None => Broken {
                    class: class(&link, id, &error),
                    error: about.failure(&error),
                },
            })?;
            link.mark_served();
            let (mut parts, stream) = response.into_parts();
            if let Some(code) = status::foreign(&parts) {
                return Err(unknown(about.foreign(&parts, code)));
            }
            let encoding = negotiation.response(&mut parts.headers);
            let encoding =
                encoding.map_err(|unknown| unrepeatable(about.unknown_encoding(&unknown)))?;
            let receive = Counted::new(Receive::new(stream), received);
            let open = Open {
                receive: Recode::decompress(receive, encoding, self.message_limit),
                timer,
                upload,
                _slot: slot,
                _transport: Arc::clone(self) as _,
            };
            let body = ResponseBody::new(open, about);
            Ok(http::Response::from_parts(parts, body))
        }
    }

    /// A request that `h2` did not take: the connection is of no use, or the request is.
    fn untaken(&self, link: &Link, error: h2::Error, about: &About) -> Broken {
        if error.is_io() || error.reason().is_some() {
            let failure = about.failure(&error);
            self.subchannel.lost(link, error);
            return unsent(failure);
        }
        let text = format!("the request of {} cannot be sent", about.path());
        unrepeatable(Error::new(Kind::Message, text).caused_by(error))
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

/// What is known of the request of a stream that failed before its response headers.
fn class(link: &Link, stream: StreamId, error: &h2::Error) -> Class {
    match classify(error) {
        Class::Failed if !error.is_reset() && link.never_sent(stream) => Class::Unsent,
        class => class,
    }
}

fn unsent(error: Error) -> Broken {
    let class = Class::Unsent;
    Broken { error, class }
}

/// The server may have processed it.
fn unknown(error: Error) -> Broken {
    let class = Class::Failed;
    Broken { error, class }
}

/// It would fail again.
fn unrepeatable(error: Error) -> Broken {
    let class = Class::Committed;
    Broken { error, class }
}
