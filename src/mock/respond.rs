//! One reply on its way to the client.

use crate::error::Error;
use crate::mock::dice::{Dice, Seed};
use crate::mock::journal::{Call, Outcome};
use crate::mock::mounted::Taken;
use crate::mock::outlet::{Outflow, Outlet};
use crate::mock::reading::{drain, forward, outcome_of, refusal};
use crate::mock::reply::{
    Body, CallStream, CallStreamEnds, Delay, Payload, Reply, Responder, wait,
};
use crate::mock::verify::Findings;
use crate::panics::{caught, caught_async};
use crate::wire::compression::GRPC_ENCODING;
use crate::wire::message::Framed;
use crate::wire::send::Stopped;
use crate::wire::{Compression, ReadError, Reader, status};
use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use std::{future::pending, pin::pin, sync::Arc};
use tonic::{Status, metadata::MetadataMap};

/// One call that a stub serves.
pub(crate) struct Responding<'a> {
    pub(crate) call: Call,
    pub(crate) findings: &'a Findings,
    pub(crate) outlet: Outlet,
    pub(crate) reader: Reader,
    /// What messages are compressed with, if the reply does not say it and the client understands it.
    pub(crate) compression: Option<Compression>,
    /// Whether request messages may still come.
    pub(crate) open: bool,
}

/// The reply is not wanted any more: how the call ended instead.
struct Gone(Outcome);

impl Responding<'_> {
    /// Answers as the stub says, and records how it ended.
    pub(crate) async fn serve(&mut self, taken: &Taken, seed: &Seed) {
        self.call.record_server(Arc::clone(&taken.stub.server));
        let dice = Dice::new(seed, taken.stub.server.id, taken.nth);
        if let Err(Gone(outcome)) = self.answer(taken, dice).await {
            self.call.finish(outcome);
        }
    }

    async fn answer(&mut self, taken: &Taken, mut dice: Dice<'_>) -> Result<(), Gone> {
        let reply = match taken.responder() {
            Responder::Fixed(reply) => Arc::clone(reply),
            closure => match self.make(closure).await? {
                Ok(reply) => Arc::new(reply),
                Err(panic) => {
                    let status = panicked(self.findings, taken, &self.call, &panic);
                    return self.refuse(&status);
                }
            },
        };
        let compression = reply.compression.unwrap_or(self.compression);
        self.compression = compression.filter(|way| way.is_accepted(self.call.metadata().as_ref()));
        if let Some(delay) = &reply.delay {
            self.unless_gone(wait(dice.roll(delay))).await?;
        }
        if let Some(gate) = &reply.gate {
            self.unless_gone(gate.pass()).await?;
        }
        // What came so far, for whoever holds the stream.
        let backlog = self.reader.kept();
        match &reply.body {
            Body::Never => self.unless_gone(pending()).await?,
            Body::Script {
                messages,
                pace: None,
                end,
            } if messages.len() == 1 => self.play_one(&reply, &messages[0], end).await,
            Body::Script {
                messages,
                pace,
                end,
            } => {
                let pace = pace.as_ref().map(|pace| (pace, dice));
                self.play(&reply, messages, pace, end).await
            }
            Body::Channel(calls) => {
                let (stream, ends) = CallStream::new(self.call.clone(), backlog, true);
                if calls.send(stream).is_err() {
                    let text = "the stub replies by a channel, and its CallStreams was dropped";
                    return self.refuse(&Status::internal(text));
                }
                Box::pin(self.relay(&reply, ends, pending())).await
            }
            Body::Handler(handler) => {
                let (stream, ends) = CallStream::new(self.call.clone(), backlog, false);
                let running = caught_async(async move { handler(stream).await });
                let (call, findings) = (self.call.clone(), self.findings);
                let running = async move {
                    running
                        .await
                        .map_err(|panic| panicked(findings, taken, &call, &panic))?
                };
                Box::pin(self.relay(&reply, ends, running)).await
            }
        }
    }

    /// Runs the stub's closure. A panic comes back as its text.
    async fn make(&mut self, closure: &Responder) -> Result<Result<Reply, String>, Gone> {
        match closure {
            Responder::Fixed(reply) => Ok(Ok(Reply::clone(reply))),
            Responder::Sync(closure) => Ok(caught(|| closure(&self.call))),
            Responder::Async(closure) => {
                let call = self.call.clone();
                self.unless_gone(caught_async(async move { closure(call).await }))
                    .await
            }
        }
    }

    /// Sends the one message that most replies are, then the status.
    async fn play_one(
        &mut self,
        reply: &Reply,
        message: &Payload,
        end: &Status,
    ) -> Result<(), Gone> {
        let message = match message.encode(&self.call) {
            Ok(message) => message,
            Err(error) => return self.refuse(&unencoded(&error)),
        };
        let mut stream = self.headers(reply.metadata.clone())?;
        let sent = stream.only(self.packed(message)).await;
        sent.map_err(|stopped| self.gone(&stopped))?;
        self.end(&mut stream, end, reply.trailers.clone())
    }

    /// Sends messages that are known beforehand, then the status.
    async fn play(
        &mut self,
        reply: &Reply,
        messages: &[Payload],
        mut pace: Option<(&Delay, Dice<'_>)>,
        end: &Status,
    ) -> Result<(), Gone> {
        let encoded: Result<Vec<_>, _> = messages
            .iter()
            .map(|message| message.encode(&self.call))
            .collect();
        let messages = match encoded {
            Ok(messages) => messages,
            Err(error) => return self.refuse(&unencoded(&error)),
        };
        if messages.is_empty() && reply.metadata.is_empty() && end.code() != tonic::Code::Ok {
            return self.trailers_only(end, reply.trailers.clone());
        }
        let mut stream = self.headers(reply.metadata.clone())?;
        for message in messages {
            if let Some((delay, dice)) = &mut pace {
                let delay = dice.roll(delay);
                self.recording(wait(delay), &mut stream).await?;
            }
            self.send(&mut stream, self.packed(message)).await?;
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
                stopped = stream.stopped() => return Err(self.gone(&stopped)),
                forwarded = forward(&self.call, &mut self.reader, ends.requests.as_ref()), if self.open => {
                    if let Err(error) = forwarded {
                        return Err(self.broken(&error, Some(&mut stream)));
                    }
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
    async fn relay_one(&self, stream: &mut Outflow, reply: Framed) -> Result<(), Gone> {
        let bytes = self.packed(reply);
        let sent = stream.data(bytes).await;
        sent.map_err(|stopped| self.gone(&stopped))
    }

    /// A message as it goes out, recorded.
    fn packed(&self, message: Framed) -> Bytes {
        let message = match self.compression {
            Some(way) => message.compressed(way),
            None => message,
        };
        self.call
            .record_reply(message.payload(), message.is_compressed());
        message.into_bytes()
    }

    /// Answers with a status and nothing else. A message that is on its way is recorded all the same.
    pub(crate) async fn refuse_with(&mut self, status: &Status) {
        if let Err(Gone(outcome)) = self.refuse(status) {
            self.call.finish(outcome);
        } else if self.open
            && let Ok(Some(message)) = self.reader.next().await
        {
            self.call
                .record_request(message, self.reader.was_compressed());
        }
    }

    fn refuse(&mut self, status: &Status) -> Result<(), Gone> {
        self.trailers_only(status, MetadataMap::new())
    }

    fn trailers_only(&mut self, status: &Status, trailers: MetadataMap) -> Result<(), Gone> {
        self.call.finish_with(status, &trailers);
        let response = status::trailers_only(status, trailers);
        let sent = self.outlet.send_response(response, true);
        sent.map(drop).map_err(|stopped| self.gone(&stopped))
    }

    fn headers(&mut self, metadata: MetadataMap) -> Result<Outflow, Gone> {
        self.call.record_metadata(&metadata);
        let mut response = Response::new(());
        *response.headers_mut() = metadata.into_headers();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, status::GRPC_CONTENT_TYPE);
        if let Some(way) = self.compression {
            response.headers_mut().insert(GRPC_ENCODING, way.header());
        }
        let sent = self.outlet.send_response(response, false);
        sent.map_err(|stopped| self.gone(&stopped))
    }

    fn end(&self, stream: &mut Outflow, end: &Status, trailers: MetadataMap) -> Result<(), Gone> {
        self.call.finish_with(end, &trailers);
        stream
            .trailers(status::trailers(end, trailers))
            .map_err(|stopped| self.gone(&stopped))
    }

    /// Sends a message while request messages go on being recorded.
    async fn send(&mut self, stream: &mut Outflow, bytes: Bytes) -> Result<(), Gone> {
        let error = tokio::select! {
            biased;
            sent = stream.data(bytes) => return sent.map_err(|stopped| self.gone(&stopped)),
            error = drain(&self.call, &mut self.reader), if self.open => error,
        };
        Err(self.broken(&error, Some(stream)))
    }

    /// Waits between two messages, while request messages go on being recorded.
    async fn recording(
        &mut self,
        future: impl Future<Output = ()>,
        stream: &mut Outflow,
    ) -> Result<(), Gone> {
        let error = tokio::select! {
            biased;
            () = future => return Ok(()),
            stopped = stream.stopped() => return Err(self.gone(&stopped)),
            error = drain(&self.call, &mut self.reader), if self.open => error,
        };
        Err(self.broken(&error, Some(stream)))
    }

    /// Runs a future before the response has begun, until the client is gone.
    async fn unless_gone<F: Future>(&mut self, future: F) -> Result<F::Output, Gone> {
        let stopped = tokio::select! {
            biased;
            output = future => return Ok(output),
            stopped = self.outlet.stopped() => stopped,
            error = drain(&self.call, &mut self.reader), if self.open => {
                return Err(self.broken(&error, None));
            }
        };
        Err(self.gone(&stopped))
    }

    fn gone(&self, stopped: &Stopped) -> Gone {
        Gone(match stopped {
            Stopped::Reset(reason) => self.call.reset_now(*reason),
            Stopped::Lost | Stopped::Body(_) => Outcome::Dropped,
        })
    }

    /// The request cannot be read any further. The client is told, if it is still there to be told.
    fn broken(&mut self, error: &ReadError, stream: Option<&mut Outflow>) -> Gone {
        let outcome = outcome_of(&self.call, error);
        if let ReadError::Malformed(_) = error {
            let status = refusal(error);
            // It is recorded, and a client that has gone meanwhile changes nothing.
            let _ = match stream {
                Some(stream) => self.end(stream, &status, MetadataMap::new()),
                None => self.refuse(&status),
            };
        }
        Gone(outcome)
    }
}

/// What the client is told whose stub replies with what the schema does not have.
fn unencoded(error: &Error) -> Status {
    Status::internal(brief(error.chain()))
}

/// What the client is told whose stub has a bug. The test is told when it verifies.
fn panicked(findings: &Findings, taken: &Taken, call: &Call, panic: &str) -> Status {
    let label = taken.stub.label();
    findings.add_panic(format!("the reply of {label} to {call} panicked: {panic}"));
    Status::internal(brief(format!("the stub's reply panicked: {panic}")))
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
