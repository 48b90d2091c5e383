//! Both ends of a call in the test's hands.

use crate::error::{Error, Kind};
use crate::mock::journal::Call;
use crate::mock::reply::script::Payload;
use crate::wire::message::Framed;
use bytes::Bytes;
use prost::Message;
use serde_json::Value;
use std::{collections::VecDeque, fmt, future::pending, panic::Location, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::Status;

/// The calls that a [`Reply::channel`](crate::Reply::channel) serves, in the order of their arrival.
#[derive(Debug)]
#[must_use = "without it the calls are cancelled"]
pub struct CallStreams {
    calls: mpsc::UnboundedReceiver<CallStream>,
}

/// How long `accept` waits before it gives up on the test.
const PATIENCE: Duration = Duration::from_secs(10);

impl CallStreams {
    pub(super) fn new(calls: mpsc::UnboundedReceiver<CallStream>) -> Self {
        Self { calls }
    }

    /// The next call.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When none comes within 10 s, or the stub is gone.
    #[track_caller]
    pub fn accept(&mut self) -> impl Future<Output = CallStream> + Send + '_ {
        let place = Location::caller();
        async move {
            match timeout(PATIENCE, self.calls.recv()).await {
                Ok(Some(call)) => call,
                Ok(None) => {
                    panic!("no call will come at {place}: the stub with this channel is gone")
                }
                Err(_) => panic!(
                    "waited {PATIENCE:?} at {place} for a call to the stub with this channel"
                ),
            }
        }
    }
}

/// One call, both ways: receive its requests and send its replies, in any order.
///
/// End it with [`finish`](Self::finish) or [`fail`](Self::fail). When it is dropped without either, the client sees
/// `CANCELLED`.
#[must_use = "dropping it cancels the call"]
pub struct CallStream {
    call: Call,
    /// What arrived before the stub was chosen.
    backlog: VecDeque<Value>,
    requests: mpsc::Receiver<Value>,
    replies: mpsc::Sender<Framed>,
    ending: Option<oneshot::Sender<Status>>,
}

/// The mock's side of a [`CallStream`].
#[derive(Debug)]
pub(crate) struct CallStreamEnds {
    /// Closed once the stream is dropped; `None` once the client has sent all.
    pub(crate) requests: Option<mpsc::Sender<Value>>,
    pub(crate) replies: mpsc::Receiver<Framed>,
    pub(crate) ending: Ending,
}

/// How the holder of the stream ended the call.
#[derive(Debug)]
pub(crate) struct Ending {
    told: Option<oneshot::Receiver<Status>>,
    /// Whether a stream that is dropped untold cancels the call. In a closure's hands it ends as the closure returns.
    cancels: bool,
}

impl Ending {
    /// Waits until the stream is ended or dropped.
    pub(crate) async fn wait(&mut self) -> Status {
        let told = match &mut self.told {
            Some(told) => told.await.ok(),
            None => pending().await,
        };
        self.told = None;
        match told {
            Some(status) => status,
            None if self.cancels => {
                Status::cancelled("the mock's CallStream was dropped before `finish` or `fail`")
            }
            None => pending().await,
        }
    }

    /// What it was ended with, if it was.
    pub(crate) fn told(&mut self) -> Option<Status> {
        self.told.as_mut()?.try_recv().ok()
    }
}

impl CallStream {
    /// A stream that begins with the messages of `backlog`, and the mock's ends of it. `cancels` tells whether dropping it
    /// cancels the call.
    pub(crate) fn new(
        call: Call,
        backlog: impl IntoIterator<Item = Bytes>,
        cancels: bool,
    ) -> (Self, CallStreamEnds) {
        // One message ahead each way: what the other side has not taken holds the sender back.
        let (requests, received) = mpsc::channel(1);
        let (replies, sent) = mpsc::channel(1);
        let (ending, ended) = oneshot::channel();
        let stream = Self {
            backlog: backlog
                .into_iter()
                .map(|message| call.request_json(&message))
                .collect(),
            call,
            requests: received,
            replies,
            ending: Some(ending),
        };
        let ends = CallStreamEnds {
            requests: Some(requests),
            replies: sent,
            ending: Ending {
                told: Some(ended),
                cancels,
            },
        };
        (stream, ends)
    }

    /// The record of this call, which grows with it.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The next request message as JSON, `None` when the client has sent all.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    ///
    /// When the client cancels the call or its connection is lost.
    pub async fn recv(&mut self) -> Result<Option<Value>, Error> {
        if let Some(message) = self.backlog.pop_front() {
            return Ok(Some(message));
        }
        let message = self.requests.recv().await;
        match self.call.outcome().filter(|_| message.is_none()) {
            Some(outcome) => {
                let text = format!("the call of {} was cut: {outcome}", self.call.method());
                Err(Error::new(Kind::Status, text)
                    .with_status(Status::cancelled(outcome.to_string())))
            }
            None => Ok(message),
        }
    }

    /// Sends a JSON message, by the schema of the method. It waits while the client does not read.
    ///
    /// # Errors
    ///
    /// When the JSON does not fit the reply's type, or the call is over.
    pub async fn send(&mut self, message: Value) -> Result<(), Error> {
        let framed = self.call.encode_reply(&message)?;
        self.send_framed(framed).await
    }

    /// Sends a prost message. It needs no schema.
    ///
    /// # Errors
    ///
    /// When the call is over.
    pub async fn send_message(&mut self, message: &impl Message) -> Result<(), Error> {
        self.send_framed(Framed::encode(message)).await
    }

    pub(crate) async fn send_payload(&self, message: &Payload) -> Result<(), Error> {
        let framed = message.encode(&self.call)?;
        self.send_framed(framed).await
    }

    async fn send_framed(&self, message: Framed) -> Result<(), Error> {
        self.replies.send(message).await.map_err(|_| {
            let text = format!(
                "the call of {} is over: {:?}",
                self.call.method(),
                self.call.outcome()
            );
            Error::new(Kind::Closed, text)
        })
    }

    /// Ends the call with `OK`, after what was sent.
    pub fn finish(mut self) {
        self.end(Status::ok(""));
    }

    /// Ends the call with this status, after what was sent.
    pub fn fail(mut self, status: Status) {
        self.end(status);
    }

    fn end(&mut self, status: Status) {
        if let Some(ending) = self.ending.take() {
            // Nobody listens when the call is over already.
            let _ = ending.send(status);
        }
    }
}

impl fmt::Debug for CallStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallStream({:?})", self.call)
    }
}
