//! One recorded call.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::mock::journal::message::RecordedMessage;
use crate::mock::journal::outcome::Outcome;
use crate::mock::journal::target::{Arrived, Target};
use crate::schema::{MethodName, Shape, json, schemaless};
use crate::wire::message::Framed;
use bytes::Bytes;
use h2::Reason;
use prost::Message;
use serde_json::Value;
use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

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
pub struct Call(pub(super) Arc<Record>);

pub(super) struct Record {
    pub(super) target: Target,
    arrived: Arrived,
    /// The JSON of a single request, decoded once.
    request: OnceLock<Value>,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    requests: Vec<Stored>,
    replies: Vec<Stored>,
    stub: Option<Arc<str>>,
    ended: Option<(Instant, Outcome)>,
}

#[derive(Clone, Debug)]
struct Stored {
    at: Instant,
    bytes: Bytes,
}

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
        if self.shape().is_some_and(Shape::streams_requests) {
            return self.requests().iter().map(RecordedMessage::json).collect();
        }
        let requests = self.progress().requests.first().cloned();
        let Some(only) = requests else {
            return Value::Null;
        };
        let decode = || {
            self.0
                .target
                .request()
                .json(&only.bytes)
                .unwrap_or_default()
        };
        self.0.request.get_or_init(decode).clone()
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
        let stored = self.progress().requests.clone();
        stored
            .into_iter()
            .map(|stored| RecordedMessage::new(stored.at, stored.bytes, form.clone()))
            .collect()
    }

    /// The request metadata, with the HTTP headers that gRPC adds.
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
        let stored = self.progress().replies.clone();
        stored
            .into_iter()
            .map(|stored| RecordedMessage::new(stored.at, stored.bytes, form.clone()))
            .collect()
    }

    /// The stub that serves it: its name, or its method and where it was made. `None`, when none matched.
    #[must_use]
    pub fn stub(&self) -> Option<String> {
        self.progress().stub.as_deref().map(str::to_owned)
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
            let mut news = pin!(self.0.arrived.connection.news.notified());
            news.as_mut().enable();
            if let Some(outcome) = self.outcome() {
                return outcome;
            }
            news.await;
        }
    }
}

/// Recording.
impl Call {
    pub(crate) fn new(target: Target, arrived: Arrived) -> Self {
        Self(Arc::new(Record {
            target,
            arrived,
            request: OnceLock::new(),
            progress: Mutex::default(),
        }))
    }

    pub(crate) fn is_typed(&self) -> bool {
        matches!(self.0.target, Target::Typed(_))
    }

    pub(crate) fn has_request(&self) -> bool {
        !self.progress().requests.is_empty()
    }

    pub(crate) fn is_builtin(&self) -> bool {
        self.0.arrived.builtin
    }

    pub(crate) fn record_request(&self, bytes: Bytes) {
        let at = Instant::now();
        self.progress().requests.push(Stored { at, bytes });
        self.tell();
    }

    pub(crate) fn record_reply(&self, bytes: Bytes) {
        let at = Instant::now();
        self.progress().replies.push(Stored { at, bytes });
        self.tell();
    }

    pub(crate) fn record_stub(&self, label: Arc<str>) {
        self.progress().stub = Some(label);
    }

    /// Ends the record. What is told first stays.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.progress()
            .ended
            .get_or_insert_with(|| (Instant::now(), outcome));
        self.tell();
    }

    /// What a reset by the client at this moment means.
    pub(crate) fn reset_now(&self, reason: Reason) -> Outcome {
        match reason {
            Reason::CANCEL => self.cancelled_now(),
            reason => Outcome::Reset(reason),
        }
    }

    fn cancelled_now(&self) -> Outcome {
        let Some(timeout) = self.timeout() else {
            return Outcome::Cancelled;
        };
        let slack = (timeout / 10).max(Duration::from_millis(20));
        if self.received_at().elapsed() + slack >= timeout {
            Outcome::DeadlineExceeded
        } else {
            Outcome::Cancelled
        }
    }

    /// A request message of this call as JSON.
    pub(crate) fn request_json(&self, bytes: &[u8]) -> Value {
        self.0.target.request().json(bytes).unwrap_or_default()
    }

    /// JSON as a reply to this call.
    pub(crate) fn encode_reply(&self, reply: &Value) -> Result<Framed, Error> {
        match &self.0.target {
            Target::Typed(method) => Ok(Framed::encode(&json::to_message(method.output(), reply)?)),
            Target::Schemaless { .. } => json::to_struct(reply)
                .map(|fields| Framed::encode(&fields))
                .map_err(|problem| {
                    Error::new(
                        Kind::Message,
                        format!("the reply to a schemaless call is {problem}"),
                    )
                }),
            Target::Opaque(path) => Err(Error::new(
                Kind::Message,
                format!(
                    "the reply to {path} is JSON, and the mock has no schema for that method: give \
                     `MockServer::builder()` its `.descriptor_set(..)`, or reply with `Reply::message(..)`"
                ),
            )),
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.0.arrived.connection.news.notify_waiters();
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod size {
    use crate::mock::journal::call::Record;

    /// A header map alone is 96 bytes; the record itself must stay small beside it.
    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 400, "{}", size_of::<Record>());
    }
}
