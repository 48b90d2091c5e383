//! Messages and a status that are known beforehand.

use crate::error::Error;
use crate::mock::journal::Call;
use crate::mock::reply::stream::{CallStream, CallStreams};
use crate::wire::message::Framed;
use crate::wire::metadata;
use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use std::{fmt, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tonic::{Code, Status, metadata::MetadataMap};

/// What the mock answers to a call.
///
/// JSON, a [`Status`] and `Result<_, Status>` convert into one, so [`Stub::reply`](crate::Stub::reply) takes them as
/// they are; this type is for everything else.
///
/// ```
/// use rpcplugin_testkit::{Code, Reply, Status, json};
/// use std::time::Duration;
///
/// let slow = Reply::json(json!({"ok": true})).delay(Duration::from_millis(50)).trailer("x-cost", "3");
/// let broken = Reply::stream([json!({"n": 1}), json!({"n": 2})]).end_with(Status::aborted("that was all"));
/// let busy = Reply::status(Code::Unavailable, "draining").details(b"opaque".to_vec());
/// ```
#[derive(Clone, Debug)]
#[must_use = "a reply does nothing until a stub gives it"]
pub struct Reply {
    pub(crate) metadata: MetadataMap,
    pub(crate) trailers: MetadataMap,
    pub(crate) delay: Option<Duration>,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    /// The test takes the stream from a channel.
    Channel(mpsc::UnboundedSender<CallStream>),
    /// A closure carries the stream on.
    Handler(Handler),
    Script {
        messages: Vec<Payload>,
        pace: Option<Duration>,
        end: Status,
    },
}

pub(crate) type Handler = Arc<
    dyn Fn(CallStream) -> Pin<Box<dyn Future<Output = Result<(), Status>> + Send>> + Send + Sync,
>;

/// One message to send.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Encoded(Framed),
    Json(Value),
}

impl Payload {
    /// The message as it goes over the wire in reply to this call.
    pub(crate) fn encode(&self, call: &Call) -> Result<Framed, Error> {
        match self {
            Self::Encoded(framed) => Ok(framed.clone()),
            Self::Json(json) => call.encode_reply(json),
        }
    }
}

impl Reply {
    /// One JSON message, by the schema of the method, or as a struct in a schemaless call.
    pub fn json(message: impl Into<Value>) -> Self {
        Self::script(vec![Payload::Json(message.into())], Status::ok(""))
    }

    /// One prost message. It needs no schema.
    pub fn message(message: &impl Message) -> Self {
        Self::script(
            vec![Payload::Encoded(Framed::encode(message))],
            Status::ok(""),
        )
    }

    /// No message, and this status. An `OK` makes an empty stream, or a broken unary reply.
    pub fn status(code: Code, message: impl Into<String>) -> Self {
        Self::script(Vec::new(), Status::new(code, message))
    }

    /// A stream of JSON messages.
    pub fn stream(messages: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        let messages = messages
            .into_iter()
            .map(|message| Payload::Json(message.into()));
        Self::script(messages.collect(), Status::ok(""))
    }

    /// A stream of prost messages.
    pub fn messages(messages: impl IntoIterator<Item = impl Message>) -> Self {
        let messages = messages
            .into_iter()
            .map(|message| Payload::Encoded(Framed::encode(&message)));
        Self::script(messages.collect(), Status::ok(""))
    }

    /// Both ends of each call in the test's hands: a call that is served by this reply comes out of [`CallStreams`].
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Reply, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// let (reply, mut streams) = Reply::channel();
    /// server.mount(Stub::method("Watch").reply(reply));
    ///
    /// let client = server.client().await;
    /// let mut replies = client.call_server_stream("Watch", json!({"key": "a"})).await.unwrap();
    /// let mut stream = streams.accept().await;
    /// assert_eq!(stream.recv().await.unwrap(), Some(json!({"key": "a"})));
    ///
    /// stream.send(json!({"value": 1})).await.unwrap();
    /// assert_eq!(replies.message().await.unwrap(), Some(json!({"value": 1})));
    /// stream.finish();
    /// assert_eq!(replies.message().await.unwrap(), None);
    /// # }
    /// ```
    pub fn channel() -> (Self, CallStreams) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (
            Self::from_body(Body::Channel(sender)),
            CallStreams::new(receiver),
        )
    }

    fn script(messages: Vec<Payload>, end: Status) -> Self {
        Self::from_body(Body::Script {
            messages,
            pace: None,
            end,
        })
    }

    pub(super) fn from_body(body: Body) -> Self {
        Self {
            metadata: MetadataMap::new(),
            trailers: MetadataMap::new(),
            delay: None,
            body,
        }
    }

    /// Waits this long, on tokio's clock, before anything is sent.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Waits this long, on tokio's clock, before each message of a stream.
    ///
    /// # Panics
    ///
    /// When the reply is a [`channel`](Self::channel): the test itself decides when that sends.
    #[track_caller]
    pub fn message_delay(mut self, delay: Duration) -> Self {
        match &mut self.body {
            Body::Script { pace, .. } => *pace = Some(delay),
            Body::Channel(_) | Body::Handler(_) => {
                panic!("a reply by a stream has no message delay: send when it is time")
            }
        }
        self
    }

    /// Ends the stream with this status, after its messages.
    ///
    /// # Panics
    ///
    /// When the reply is a [`channel`](Self::channel): that ends with [`CallStream::fail`].
    #[track_caller]
    pub fn end_with(mut self, status: Status) -> Self {
        match &mut self.body {
            Body::Script { end, .. } => *end = status,
            Body::Channel(_) | Body::Handler(_) => {
                panic!("a reply by a stream ends with `CallStream::fail`")
            }
        }
        self
    }

    /// Adds details to the status (`grpc-status-details-bin`): an encoded
    /// [`google.rpc.Status`](https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto), or any bytes.
    ///
    /// # Panics
    ///
    /// When the reply is a [`channel`](Self::channel).
    #[track_caller]
    pub fn details(self, details: impl Into<Bytes>) -> Self {
        let Body::Script { end, .. } = &self.body else {
            panic!("a reply by a stream ends with `CallStream::fail`");
        };
        let (code, message, metadata) =
            (end.code(), end.message().to_owned(), end.metadata().clone());
        self.end_with(Status::with_details_and_metadata(
            code,
            message,
            details.into(),
            metadata,
        ))
    }

    /// Adds metadata before the first message (a response header).
    ///
    /// # Panics
    ///
    /// When the key or the value is malformed.
    #[track_caller]
    pub fn metadata(mut self, key: &str, value: &str) -> Self {
        accepted(key, metadata::append(&mut self.metadata, key, value));
        self
    }

    /// Adds binary metadata before the first message. The key ends with `-bin`.
    ///
    /// # Panics
    ///
    /// When the key is malformed.
    #[track_caller]
    pub fn metadata_bin(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        accepted(
            key,
            metadata::append_bin(&mut self.metadata, key, value.as_ref()),
        );
        self
    }

    /// Adds metadata after the last message (a trailer), whatever the status.
    ///
    /// # Panics
    ///
    /// When the key or the value is malformed.
    #[track_caller]
    pub fn trailer(mut self, key: &str, value: &str) -> Self {
        accepted(key, metadata::append(&mut self.trailers, key, value));
        self
    }

    /// Adds binary metadata after the last message. The key ends with `-bin`.
    ///
    /// # Panics
    ///
    /// When the key is malformed.
    #[track_caller]
    pub fn trailer_bin(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        accepted(
            key,
            metadata::append_bin(&mut self.trailers, key, value.as_ref()),
        );
        self
    }

    /// Whether the test holds the stream, and so sees the request as it comes.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.body, Body::Channel(_) | Body::Handler(_))
    }
}

#[track_caller]
fn accepted(key: &str, appended: Result<(), &'static str>) {
    if let Err(expected) = appended {
        panic!("invalid metadata `{key}`: expected {expected}");
    }
}

impl From<Value> for Reply {
    fn from(message: Value) -> Self {
        Self::json(message)
    }
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Self::script(Vec::new(), status)
    }
}

impl<R: Into<Self>> From<Result<R, Status>> for Reply {
    fn from(result: Result<R, Status>) -> Self {
        result.map_or_else(Self::from, Into::into)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(_) => f.write_str("Channel"),
            Self::Handler(_) => f.write_str("Handler"),
            Self::Script { messages, end, .. } => f
                .debug_struct("Script")
                .field("messages", messages)
                .field("end", end)
                .finish_non_exhaustive(),
        }
    }
}
