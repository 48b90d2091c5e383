//! One reply on its way to the client.

use crate::mock::journal::{Call, Outcome};
use crate::mock::registry::Mounted;
use crate::mock::reply::{Body, CallStream, CallStreamEnds, Payload, Reply, Responder};
use crate::panics::{caught, caught_async};
use crate::wire::message::Framed;
use crate::wire::send::{self, Stopped};
use crate::wire::{ReadError, Reader, status};
use bytes::Bytes;
use h2::{SendStream, server::SendResponse};
use http::{Response, header::CONTENT_TYPE};
use serde_json::Value;
use std::{
    fmt::Display,
    future::{pending, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tonic::{Status, metadata::MetadataMap};

/// One call that a stub serves.
pub(crate) struct Responding {
    pub(crate) call: Call,
    pub(crate) respond: SendResponse<Bytes>,
    pub(crate) reader: Reader,
    /// Whether request messages may still come.
    pub(crate) open: bool,
}

/// The reply is not wanted any more: how the call ended instead.
struct Gone(Outcome);

impl Responding {
    /// Answers as the stub says, and records how it ended.
    pub(crate) async fn serve(mut self, stub: &Mounted) {
        self.call.record_stub(Arc::clone(&stub.label));
        if let Err(Gone(outcome)) = self.answer(stub).await {
            self.call.finish(outcome);
        }
    }

    async fn answer(&mut self, stub: &Mounted) -> Result<(), Gone> {
        let made = make(stub, self.call.clone());
        let reply = self.unless_gone(made).await?;
        if let Some(delay) = reply.delay {
            self.unless_gone(wait(delay)).await?;
        }
        match &reply.body {
            Body::Script {
                messages,
                pace,
                end,
            } => self.play(&reply, messages, *pace, end).await,
            Body::Channel(calls) => {
                let (stream, ends) = CallStream::new(self.call.clone(), true);
                if calls.send(stream).is_err() {
                    let text = "the stub replies by a channel, and its CallStreams was dropped";
                    return self.refuse(&Status::internal(text));
                }
                self.relay(&reply, ends, pending()).await
            }
            Body::Handler(handler) => {
                let (stream, ends) = CallStream::new(self.call.clone(), false);
                let running = caught_async(async move { handler(stream).await });
                let running = async { running.await.map_err(panicked)? };
                self.relay(&reply, ends, running).await
            }
        }
    }

    /// Sends messages that are known beforehand, then the status.
    async fn play(
        &mut self,
        reply: &Reply,
        messages: &[Payload],
        pace: Option<Duration>,
        end: &Status,
    ) -> Result<(), Gone> {
        let encoded: Result<Vec<_>, _> = messages
            .iter()
            .map(|message| message.encode(&self.call))
            .collect();
        let messages = match encoded {
            Ok(messages) => messages,
            Err(error) => return self.refuse(&Status::internal(brief(error.chain()))),
        };
        if messages.is_empty() && reply.metadata.is_empty() && end.code() != tonic::Code::Ok {
            return self.trailers_only(end, reply.trailers.clone());
        }
        let mut stream = self.headers(reply.metadata.clone())?;
        let at_once = messages.len() == 1 && pace.is_none();
        for message in messages {
            if let Some(pace) = pace {
                self.pause(&mut stream, pace).await?;
            }
            self.call.record_reply(message.payload());
            let bytes = message.into_bytes();
            if at_once {
                send::only(&mut stream, bytes, false).map_err(|stopped| self.gone(&stopped))?;
            } else {
                self.send(&mut stream, bytes).await?;
            }
        }
        self.end(&mut stream, end, reply.trailers.clone())
    }

    /// Lets the test or a closure hold both ends, until it ends the call.
    async fn relay(
        &mut self,
        reply: &Reply,
        mut ends: CallStreamEnds,
        running: impl Future<Output = Result<(), Status>>,
    ) -> Result<(), Gone> {
        let relayed = self.relay_all(reply, &mut ends, running).await;
        if let Err(Gone(outcome)) = &relayed {
            // Before the holder of the stream sees its end, which is when `ends` drops.
            self.call.finish(*outcome);
        }
        relayed
    }

    async fn relay_all(
        &mut self,
        reply: &Reply,
        ends: &mut CallStreamEnds,
        running: impl Future<Output = Result<(), Status>>,
    ) -> Result<(), Gone> {
        let mut running = pin!(running);
        let mut stream = self.headers(reply.metadata.clone())?;
        if !self.open {
            ends.requests = None;
        }
        let mut sending = true;
        let end = loop {
            tokio::select! {
                biased;
                message = ends.replies.recv(), if sending => match message {
                    Some(message) => self.relay_one(&mut stream, message).await?,
                    None => sending = false,
                },
                returned = &mut running => break match returned {
                    Ok(()) => ends.ending.told().unwrap_or_else(|| Status::ok("")),
                    Err(status) => status,
                },
                status = ends.ending.wait() => break status,
                stopped = send::stopped(&mut stream) => return Err(self.gone(&stopped)),
                forwarded = forward(&self.call, &mut self.reader, ends.requests.as_ref()), if self.open => {
                    forwarded.map_err(|error| self.broken(&error))?;
                    // The holder of the stream sees the end of the requests.
                    ends.requests = None;
                    self.open = false;
                }
            }
        };
        while let Ok(message) = ends.replies.try_recv() {
            self.relay_one(&mut stream, message).await?;
        }
        self.end(&mut stream, &end, reply.trailers.clone())
    }

    /// Request messages wait meanwhile: they belong to the holder of the stream.
    async fn relay_one(&self, stream: &mut SendStream<Bytes>, reply: Framed) -> Result<(), Gone> {
        self.call.record_reply(reply.payload());
        let sent = send::data(stream, reply.into_bytes()).await;
        sent.map_err(|stopped| self.gone(&stopped))
    }

    /// Answers with a status and nothing else. A message that is on its way is recorded all the same.
    pub(crate) async fn refuse_with(mut self, status: &Status) {
        if let Err(Gone(outcome)) = self.refuse(status) {
            self.call.finish(outcome);
        } else if self.open
            && let Ok(Some(message)) = self.reader.next().await
        {
            self.call.record_request(message);
        }
    }

    fn refuse(&mut self, status: &Status) -> Result<(), Gone> {
        self.trailers_only(status, MetadataMap::new())
    }

    fn trailers_only(&mut self, status: &Status, trailers: MetadataMap) -> Result<(), Gone> {
        self.call.finish(status.code().into());
        let response = status::trailers_only(status, trailers);
        let sent = self.respond.send_response(response, true);
        sent.map(drop).map_err(|error| self.gone(&error.into()))
    }

    fn headers(&mut self, metadata: MetadataMap) -> Result<SendStream<Bytes>, Gone> {
        let mut response = Response::new(());
        *response.headers_mut() = metadata.into_headers();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, status::GRPC_CONTENT_TYPE);
        let sent = self.respond.send_response(response, false);
        sent.map_err(|error| self.gone(&error.into()))
    }

    fn end(
        &self,
        stream: &mut SendStream<Bytes>,
        end: &Status,
        trailers: MetadataMap,
    ) -> Result<(), Gone> {
        self.call.finish(end.code().into());
        send::trailers(stream, status::trailers(end, trailers))
            .map_err(|stopped| self.gone(&stopped))
    }

    /// Sends a message while request messages go on being recorded.
    async fn send(&mut self, stream: &mut SendStream<Bytes>, bytes: Bytes) -> Result<(), Gone> {
        let error = tokio::select! {
            biased;
            sent = send::data(stream, bytes) => return sent.map_err(|stopped| self.gone(&stopped)),
            error = drain(&self.call, &mut self.reader), if self.open => error,
        };
        Err(self.broken(&error))
    }

    /// Waits between two messages, while request messages go on being recorded.
    async fn pause(&mut self, stream: &mut SendStream<Bytes>, delay: Duration) -> Result<(), Gone> {
        let error = tokio::select! {
            biased;
            () = wait(delay) => return Ok(()),
            stopped = send::stopped(stream) => return Err(self.gone(&stopped)),
            error = drain(&self.call, &mut self.reader), if self.open => error,
        };
        Err(self.broken(&error))
    }

    /// Runs a future before the response has begun, until the client is gone.
    async fn unless_gone<F: Future>(&mut self, future: F) -> Result<F::Output, Gone> {
        let respond = &mut self.respond;
        let stopped = tokio::select! {
            biased;
            output = future => return Ok(output),
            stopped = poll_fn(|cx| respond.poll_reset(cx)) => stopped,
            error = drain(&self.call, &mut self.reader), if self.open => {
                return Err(self.broken(&error));
            }
        };
        Err(self.gone(&stopped.into()))
    }

    fn gone(&self, stopped: &Stopped) -> Gone {
        Gone(match stopped {
            Stopped::Reset(reason) => self.call.reset_now(*reason),
            Stopped::Lost | Stopped::Body(_) => Outcome::Dropped,
        })
    }

    fn broken(&self, error: &ReadError) -> Gone {
        Gone(outcome_of(&self.call, error))
    }
}

/// How a call ended whose request could not be read.
pub(crate) fn outcome_of(call: &Call, error: &ReadError) -> Outcome {
    match error {
        ReadError::Malformed(_) => refusal(error).code().into(),
        ReadError::Stream(error) => match error.reason() {
            Some(reason) if error.is_reset() && error.is_remote() => call.reset_now(reason),
            _ => Outcome::Dropped,
        },
    }
}

/// What a client is told whose request could not be read.
pub(crate) fn refusal(error: &ReadError) -> Status {
    use crate::wire::message::Malformed;
    match error {
        ReadError::Malformed(malformed @ Malformed::TooLarge { .. }) => {
            Status::resource_exhausted(malformed.to_string())
        }
        ReadError::Malformed(malformed) => Status::internal(malformed.to_string()),
        ReadError::Stream(error) => Status::cancelled(error.to_string()),
    }
}

/// Records what the client goes on sending. It ends only by an error.
async fn drain(call: &Call, reader: &mut Reader) -> ReadError {
    loop {
        match reader.next().await {
            Ok(Some(message)) => call.record_request(message),
            Ok(None) => pending().await,
            Err(error) => return error,
        }
    }
}

/// Hands request messages to the test, as fast as it takes them, to the end of the stream.
async fn forward(
    call: &Call,
    reader: &mut Reader,
    requests: Option<&mpsc::Sender<Value>>,
) -> Result<(), ReadError> {
    loop {
        let Some(Ok(permit)) = (match requests {
            Some(requests) => Some(requests.reserve().await),
            None => None,
        }) else {
            // Nobody takes them: they are recorded, and a client that sends without end must not hang.
            return Err(drain(call, reader).await);
        };
        let Some(message) = reader.next().await? else {
            return Ok(());
        };
        let json = call.request_json(&message);
        call.record_request(message);
        permit.send(json);
    }
}

async fn wait(delay: Duration) {
    match Instant::now().checked_add(delay) {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// Runs the stub's closure, if it has one. A panic becomes a status.
async fn make(stub: &Mounted, call: Call) -> Arc<Reply> {
    let made = match &stub.reply {
        Responder::Fixed(reply) => return Arc::clone(reply),
        Responder::Sync(closure) => caught(|| closure(&call)).map_err(panicked),
        Responder::Async(closure) => caught_async(async move { closure(call).await })
            .await
            .map_err(panicked),
    };
    Arc::new(made.into())
}

/// What the client is told whose stub has a bug.
fn panicked(text: impl Display) -> Status {
    Status::internal(brief(format!("the stub's reply panicked: {text}")))
}

/// Headers have limits, 8 KiB in some implementations: a text of our own making stays well below.
pub(crate) fn brief(mut text: String) -> String {
    const MOST: usize = 2000;
    if text.len() > MOST {
        let end = (0..=MOST)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}
