//! One recorded call.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::mock::journal::block::Kept;
use crate::mock::journal::message::RecordedMessage;
use crate::mock::journal::outcome::Outcome;
use crate::mock::journal::target::Target;
use crate::schema::{MethodName, Shape, schemaless};
use crate::tls::Certificate;
use prost::Message;
use serde_json::Value;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::Instant;
use tonic::{Code, Status, metadata::MetadataMap};

/// A call that the mock received, matched or not.
///
/// It is a handle: while the call runs, what it tells grows. It compares with a method name and JSON, names as in
/// [`Client::call`](crate::Client::call), numbers by value, and fields that are left out as their defaults.
///
/// ```
/// # use rpcplugin_testkit::{MockServer, Outcome, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// server.mount(Stub::any().reply(json!({})));
/// server.client().await.call("Echo", json!({"n": 1})).await.unwrap();
///
/// let call = &server.calls()[0];
/// assert_eq!(*call, ("Echo", json!({"n": 1.0})));
/// assert_eq!(call.outcome(), Some(Outcome::Ok));
/// # }
/// ```
#[derive(Clone)]
pub struct Call(pub(super) Kept);

/// What was called.
impl Call {
    /// The method's own name: `Method` of `/pkg.Service/Method`, or the whole name given to a schemaless call.
    #[must_use]
    pub fn method(&self) -> &str {
        match &self.0.target {
            Target::Schemaless { method, .. } => method,
            Target::Opaque(_) | Target::Typed(_) => self
                .path()
                .rsplit_once('/')
                .map_or("", |(_, method)| method),
        }
    }

    /// The full name of the service, `pkg.Service`.
    #[must_use]
    pub fn service(&self) -> &str {
        let path = self.path();
        path.trim_start_matches('/')
            .rsplit_once('/')
            .map_or("", |(service, _)| service)
    }

    /// The path on the wire, `/pkg.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        match &self.0.target {
            Target::Opaque(path) => path,
            Target::Typed(method) => method.path(),
            Target::Schemaless { shape, .. } => schemaless::path(*shape),
        }
    }

    /// Which sides are streams, `None` when the mock has no schema for the method.
    #[must_use]
    pub fn shape(&self) -> Option<Shape> {
        self.0.target.shape()
    }

    /// Whether `name` names this method: `Method`, `Service.Method`, `pkg.Service.Method` or `pkg.Service/Method`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        MethodName::new(name).names(self.full_name())
    }

    /// The last part of it, by which stubs and calls are looked up.
    pub(crate) fn bare_name(&self) -> &str {
        let name = self.full_name();
        let ends = |byte: &u8| matches!(byte, b'/' | b'.');
        let end = name.as_bytes().iter().rposition(ends);
        end.map_or(name, |end| &name[end + 1..])
    }

    /// The name that stubs and assertions match.
    pub(crate) fn full_name(&self) -> &str {
        match &self.0.target {
            Target::Schemaless { method, .. } => method,
            Target::Opaque(_) | Target::Typed(_) => self.path(),
        }
    }
}

/// What came with it.
impl Call {
    /// The request as JSON: the one message, or the array of messages when the client streams.
    ///
    /// `Null`, when the mock has no schema for the method; [`message`](Self::message) decodes it all the same.
    #[must_use]
    pub fn request(&self) -> Value {
        Arc::unwrap_or_clone(self.request_ref())
    }

    /// The same, kept decoded while the call runs.
    pub(crate) fn request_ref(&self) -> Arc<Value> {
        if self.shape().is_some_and(Shape::streams_requests) {
            let requests = self.requests();
            return Arc::new(requests.iter().map(RecordedMessage::json).collect());
        }
        let progress = self.progress();
        let (only, decoded) = (
            progress.requests.as_slice().first().cloned(),
            progress.decoded.clone(),
        );
        drop(progress);
        if let Some(decoded) = decoded {
            return decoded;
        }
        let decoded = Arc::new(only.map_or(Value::Null, |only| self.request_json(&only.bytes)));
        let mut progress = self.progress();
        if progress.ended.is_none() && !progress.requests.as_slice().is_empty() {
            progress.decoded = Some(Arc::clone(&decoded));
        }
        decoded
    }

    /// The first request message as a prost type.
    ///
    /// # Errors
    ///
    /// When there is no message yet, or its bytes are no message of that type.
    pub fn message<M: Message + Default>(&self) -> Result<M, Error> {
        let first = self.requests().into_iter().next();
        let none = || {
            Error::new(
                Kind::Message,
                format!("the call of {} has no request message", self.full_name()),
            )
        };
        first.ok_or_else(none)?.decode()
    }

    /// Every request message so far.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedMessage> {
        let form = self.0.target.request();
        let stored = self.progress().requests.as_slice().to_vec();
        stored
            .into_iter()
            .map(|stored| RecordedMessage::new(stored, form.clone()))
            .collect()
    }

    /// The request metadata, with the HTTP headers that gRPC adds. `{:?}` does not show
    /// [secrets](crate::mock::MockServerBuilder::redact).
    #[must_use]
    pub fn metadata(&self) -> &MetadataMap {
        &self.0.arrived.metadata
    }

    /// The timeout that the client sent (`grpc-timeout`): what was left of its deadline.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.0.arrived.timeout
    }

    /// Who called: the client's TCP address, or the socket or pipe that it came through.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.0.arrived.connection.peer
    }

    /// The connection it came on; they are numbered from 1 in the order of acceptance.
    #[must_use]
    pub fn connection_id(&self) -> u64 {
        self.0.arrived.connection.id
    }

    /// The server that it came to, by [its own address](crate::MockServer::address), whichever of its addresses was dialled.
    #[must_use]
    pub fn server_address(&self) -> &Address {
        &self.0.arrived.connection.door.server
    }

    /// The [client group](crate::mock::ClientGroup) that it came from. `None`, when the server's own address was dialled.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.0.arrived.connection.door.group.as_deref()
    }

    /// The client's certificate, as it was verified by the TLS handshake. `None` without mutual TLS.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&Certificate> {
        self.0.arrived.connection.certificate.as_ref()
    }

    /// When its headers arrived. On tokio's clock.
    #[must_use]
    pub fn received_at(&self) -> Instant {
        self.0.arrived.at
    }
}

/// What became of it.
impl Call {
    /// The reply as JSON: the one message, or the array of messages when the server streams. `None` before there is one.
    #[must_use]
    pub fn reply(&self) -> Option<Value> {
        let replies = self.replies();
        let first = replies.first()?;
        Some(match self.shape() {
            Some(shape) if shape.streams_replies() => {
                replies.iter().map(RecordedMessage::json).collect()
            }
            _ => first.json(),
        })
    }

    /// Every reply message so far.
    #[must_use]
    pub fn replies(&self) -> Vec<RecordedMessage> {
        let form = self.0.target.reply();
        let stored = self.progress().replies.as_slice().to_vec();
        stored
            .into_iter()
            .map(|stored| RecordedMessage::new(stored, form.clone()))
            .collect()
    }

    /// What serves it: the stub's name, or its method, and where it was mounted; or the service behind the mock. `None`,
    /// when nothing matched.
    #[must_use]
    pub fn stub(&self) -> Option<String> {
        let progress = self.progress();
        progress.server.as_ref().map(|server| server.label.clone())
    }

    /// The [faults](crate::Fault) that happened to its answer so far, in that order: each with its name and the place where it was
    /// injected, as in `Fault::reset(CANCEL) (tests/a.rs:12:5)`. What happened to its connection by itself is not among them.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.progress().faults().to_vec()
    }

    /// The metadata that was sent before the first reply (the response headers), without gRPC's own.
    #[must_use]
    pub fn reply_metadata(&self) -> MetadataMap {
        let progress = self.progress();
        progress.metadata.as_deref().cloned().unwrap_or_default()
    }

    /// The status that was sent, with its details, and with the trailers as its metadata. `None` while the call runs, and
    /// when it ended without one.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        let progress = self.progress();
        let plain = match progress.ended?.1 {
            Outcome::Ok => Code::Ok,
            Outcome::Status(code) => code,
            _ => return None,
        };
        let status = progress.status.as_deref().cloned();
        Some(status.unwrap_or_else(|| Status::new(plain, "")))
    }

    /// How it ended, `None` while it runs.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.progress().ended.map(|(_, outcome)| outcome)
    }

    /// When it ended. On tokio's clock.
    #[must_use]
    pub fn ended_at(&self) -> Option<Instant> {
        self.progress().ended.map(|(at, _)| at)
    }

    /// Waits until it has ended.
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> Outcome {
        loop {
            let mut news = pin!(self.0.arrived.connection.shared.news.notified());
            news.as_mut().enable();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            news.await;
        }
    }
}
