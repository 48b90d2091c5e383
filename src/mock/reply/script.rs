//! Messages and a status that are known beforehand.

use crate::error::Error;
use crate::mock::journal::Call;
use crate::mock::reply::delay::Delay;
use crate::mock::reply::gate::{Gate, Gated, gate};
use crate::mock::reply::stream::{CallStream, CallStreams};
use crate::schema::Method;
use crate::wire::Compression;
use crate::wire::message::Framed;
use prost::Message;
use serde_json::Value;
use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
};
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
    pub(crate) delay: Option<Delay>,
    pub(crate) gate: Option<Gated>,
    /// `None`, when it is the server's to say; `Some(None)` for not at all.
    pub(crate) compression: Option<Option<Compression>>,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    /// The test takes the stream from a channel.
    Channel(mpsc::UnboundedSender<CallStream>),
    /// A closure carries the stream on.
    Handler(Handler),
    /// Nothing, ever.
    Never,
    Script {
        messages: Vec<Payload>,
        pace: Option<Delay>,
        end: Status,
    },
}

pub(crate) type Handler = Arc<
    dyn Fn(CallStream) -> Pin<Box<dyn Future<Output = Result<(), Status>> + Send>> + Send + Sync,
>;

/// One message to send.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// A message with nothing in it, of whatever type.
    Default,
    Encoded(Framed),
    Json(Json),
}

impl Payload {
    pub(crate) fn json(json: impl Into<Value>) -> Self {
        Self::Json(Json {
            json: json.into(),
            encoded: OnceLock::new(),
        })
    }

    /// The message as it goes over the wire in reply to this call.
    pub(crate) fn encode(&self, call: &Call) -> Result<Framed, Error> {
        match self {
            Self::Default => Ok(Framed::encode(&())),
            Self::Encoded(framed) => Ok(framed.clone()),
            Self::Json(json) => json.encode(call),
        }
    }
}

/// One message in JSON, which is encoded as the method of a call replies.
#[derive(Clone)]
pub(crate) struct Json {
    json: Value,
    /// As it was encoded for the first call, and the method, if a schema tells it: most stubs have one.
    encoded: OnceLock<(Option<Arc<Method>>, Framed)>,
}

impl Json {
    fn encode(&self, call: &Call) -> Result<Framed, Error> {
        let method = call.schema_method();
        // Schemaless calls are all answered alike, and a call of no known shape is neither.
        if let Some((known, framed)) = self.encoded.get()
            && call.shape().is_some()
            && known.as_ref().map(Arc::as_ptr) == method.map(Arc::as_ptr)
        {
            return Ok(framed.clone());
        }
        let framed = call.encode_reply(&self.json)?;
        // Who comes second is encoded again.
        let _ = self.encoded.set((method.cloned(), framed.clone()));
        Ok(framed)
    }
}

impl Reply {
    /// One JSON message, by the schema of the method, or as a struct in a schemaless call.
    pub fn json(message: impl Into<Value>) -> Self {
        Self::script(vec![Payload::json(message)], Status::ok(""))
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
        let messages = messages.into_iter().map(Payload::json);
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

    /// Another reply, held back until the test lets it go: it scripts races without a sleep.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Reply, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// let (reply, gate) = Reply::gate(json!({"ok": true}));
    /// server.mount(Stub::method("Save").reply(reply));
    ///
    /// let client = server.client().await;
    /// let saving = tokio::spawn(async move { client.call("Save", json!({})).await });
    /// gate.arrived(1).await; // now it is in flight, for sure
    /// gate.release(1);
    /// assert_eq!(saving.await.unwrap().unwrap(), json!({"ok": true}));
    /// # }
    /// ```
    pub fn gate(reply: impl Into<Self>) -> (Self, Gate) {
        let (gate, gated) = gate();
        let reply = Self {
            gate: Some(gated),
            ..reply.into()
        };
        (reply, gate)
    }

    /// Never anything, not even headers: the call ends when its client gives up, or the connection is lost.
    pub fn never() -> Self {
        Self::from_body(Body::Never)
    }

    pub(crate) fn script(messages: Vec<Payload>, end: Status) -> Self {
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
            gate: None,
            compression: None,
            body,
        }
    }

    /// Whether the test holds the stream, and so sees the request as it comes.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.body, Body::Channel(_) | Body::Handler(_))
    }
}

/// One message whose fields have their defaults. It needs no schema.
impl Default for Reply {
    fn default() -> Self {
        Self::script(vec![Payload::Default], Status::ok(""))
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

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json.fmt(f)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(_) => f.write_str("Channel"),
            Self::Handler(_) => f.write_str("Handler"),
            Self::Never => f.write_str("Never"),
            Self::Script { messages, end, .. } => f
                .debug_struct("Script")
                .field("messages", messages)
                .field("end", end)
                .finish_non_exhaustive(),
        }
    }
}
