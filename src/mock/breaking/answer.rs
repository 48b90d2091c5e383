//! One answer on its way out, with what happens to it.

use crate::mock::breaking::mangle::{self, message_length, split_trailers};
use crate::mock::breaking::out::Out;
use crate::mock::fault::{CallEffect, Effect, Mangle, Plan, Position, Strike, mangle as mangle_of};
use crate::mock::journal::{Call, Outcome};
use crate::mock::line::Line;
use crate::panics::caught_async;
use crate::wire::send::Stopped;
use bytes::{Bytes, BytesMut};
use h2::{Reason, server::SendResponse};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use std::{future::poll_fn, pin::Pin, sync::Arc};
use tonic::{Status, metadata::MetadataMap};

/// The answer to one call, to be broken.
pub(crate) struct Breaking {
    call: Call,
    plan: Box<Plan>,
    line: Arc<Line>,
    out: Out,
    /// How many messages were sent.
    messages: u64,
    /// What happened to it, which lasts as long as it does.
    done: Vec<Strike>,
}

/// The answer has ended before its end.
pub(crate) enum Ended {
    /// By a fault, that has recorded how.
    Broken,
    Stopped(Stopped),
}

impl From<Stopped> for Ended {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

type Flow = Result<(), Ended>;

impl Breaking {
    pub(crate) fn new(
        call: Call,
        plan: Box<Plan>,
        line: &Arc<Line>,
        respond: SendResponse<Bytes>,
    ) -> Self {
        call.defer_end();
        let (largest, padding) = plan.frames(|fault| call.record_fault(fault));
        Self {
            call,
            plan,
            line: Arc::clone(line),
            out: Out::new(respond, &line.frames, largest, padding),
            messages: 0,
            done: Vec::new(),
        }
    }

    /// What happens before anything is sent. Whether the call is still to be answered.
    pub(crate) async fn begin(&mut self) -> bool {
        let begun = self.steps(Position::Start).await;
        self.ended(&begun)
    }

    /// Sends what serves the call answers, as far as that goes.
    pub(crate) async fn send<B, E>(&mut self, answer: impl Future<Output = Result<Response<B>, E>>)
    where
        B: Body<Data = Bytes, Error: Into<Status>> + Unpin,
    {
        let sent = caught_async(self.send_all(answer)).await;
        let sent = sent.unwrap_or_else(|panic| {
            let text = format!("the service's stream panicked: {panic}");
            Err(Stopped::Body(Status::internal(text)).into())
        });
        if let Err(Ended::Stopped(Stopped::Body(_))) = &sent {
            self.out.reset(Reason::CANCEL);
        }
        self.ended(&sent);
    }

    /// Records how it ended. It is told before whatever serves the call sees it.
    fn ended(&self, flow: &Flow) -> bool {
        match flow {
            Ok(()) => return true,
            Err(Ended::Broken) => {}
            Err(Ended::Stopped(Stopped::Reset(reason))) => {
                self.finish(self.call.reset_now(*reason));
            }
            Err(Ended::Stopped(Stopped::Lost | Stopped::Body(_))) => {
                self.finish(Outcome::Dropped);
            }
        }
        false
    }

    fn finish(&self, outcome: Outcome) {
        self.call.unsettle();
        self.call.finish(outcome);
    }

    async fn send_all<B, E>(&mut self, answer: impl Future<Output = Result<Response<B>, E>>) -> Flow
    where
        B: Body<Data = Bytes, Error: Into<Status>> + Unpin,
    {
        let Ok(response) = self.out.unless_gone(answer).await? else {
            // Whatever served the call has recorded why.
            self.call.settle();
            return Err(Ended::Broken);
        };
        let (parts, mut body) = response.into_parts();
        let mut head = Response::from_parts(parts, ());
        self.steps(Position::Answer).await?;
        if body.is_end_stream() && !self.plan.concerns_status() {
            self.call.settle();
            return Ok(self.out.headers_only(head)?);
        }
        // What happens between headers and trailers needs both.
        let mut trailers = body.is_end_stream().then(|| split_trailers(&mut head));
        self.head(head, trailers.as_ref()).await?;
        let mut rest = BytesMut::new();
        while trailers.is_none() {
            match self.out.unless_gone(next_frame(&mut body)).await? {
                None => break,
                Some(frame) => match frame
                    .map_err(|error| Stopped::Body(error.into()))?
                    .into_data()
                {
                    Ok(data) => rest.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
            while let Some(length) = message_length(&rest) {
                let message = rest.split_to(length).freeze();
                self.message(message).await?;
            }
        }
        self.out.write(rest.freeze()).await?;
        self.end(trailers.unwrap_or_default()).await
    }

    async fn head(&mut self, mut head: Response<()>, status: Option<&HeaderMap>) -> Flow {
        while let Some(strike) = self.plan.next_mangle(Mangle::is_of_headers) {
            if !self.come(&strike).await? {
                continue;
            }
            if let Some(mangle) = mangle_of(&strike) {
                mangle::headers(mangle, &mut head, status);
                if let Mangle::HttpStatus(status) = mangle {
                    return self.answer_with_page(head, *status).await;
                }
            }
            self.done.push(strike);
        }
        if self.plan.lies_about_compression() {
            mangle::announce_compression(&mut head);
        }
        self.out.headers(head)?;
        self.steps(Position::Headers).await
    }

    async fn answer_with_page(&mut self, head: Response<()>, status: http::StatusCode) -> Flow {
        self.finish(Outcome::Faulted);
        self.out.headers(head)?;
        self.out.write(mangle::page(status)).await?;
        self.out.end()?;
        self.out.finish().await?;
        Err(Ended::Broken)
    }

    /// Sends a message, or what becomes of it.
    async fn message(&mut self, mut message: Bytes) -> Flow {
        let number = self.messages;
        while let Some(strike) = self.plan.next_mangle_of(number) {
            if self.come(&strike).await? {
                if let Some(mangle) = mangle_of(&strike) {
                    message = mangle::message(mangle, &message);
                }
                self.done.push(strike);
            }
        }
        while let Some(strike) = self.plan.next_at(Position::MidMessage(number)) {
            let half = message.split_to(message.len() / 2);
            self.out.write(half).await?;
            self.step(strike).await?;
        }
        let end = self.out.bytes() + message.len() as u64;
        while let Some((at, strike)) = self.plan.next_within(end + 1) {
            let piece = at.saturating_sub(self.out.bytes());
            let piece = usize::try_from(piece)
                .unwrap_or(usize::MAX)
                .min(message.len());
            self.out.write(message.split_to(piece)).await?;
            self.step(strike).await?;
        }
        self.out.write(message).await?;
        self.messages += 1;
        self.steps(Position::Messages(self.messages)).await
    }

    async fn end(&mut self, trailers: HeaderMap) -> Flow {
        self.steps(Position::Trailers).await?;
        let mut trailers = Some(trailers);
        while let Some(strike) = self.plan.next_mangle(Mangle::is_of_trailers) {
            if self.come(&strike).await? {
                let mangle = mangle_of(&strike).cloned();
                self.done.push(strike);
                trailers = trailers
                    .zip(mangle)
                    .and_then(|(trailers, mangle)| mangle::trailers(&mangle, trailers));
            }
        }
        let in_headers =
            |strike: &Strike| matches!(mangle_of(strike), Some(Mangle::StatusInHeaders));
        if self.done.iter().any(in_headers) {
            trailers = None;
        }
        self.call.settle();
        match trailers.filter(|trailers| !trailers.is_empty()) {
            Some(trailers) => self.out.trailers(trailers)?,
            None => self.out.end()?,
        }
        Ok(self.out.finish().await?)
    }
}

impl Drop for Breaking {
    fn drop(&mut self) {
        // Its task was ended before the answer had gone out.
        self.call.unsettle();
    }
}

/// What happens on the way.
impl Breaking {
    async fn steps(&mut self, position: Position) -> Flow {
        while let Some(strike) = self.plan.next_at(position) {
            self.step(strike).await?;
        }
        Ok(())
    }

    async fn step(&mut self, strike: Strike) -> Flow {
        let fault = Arc::clone(&strike.fault);
        if self.line.has_begun(&fault) {
            return Ok(());
        }
        // What the client was sent before it has, whatever becomes of the stream or the connection.
        self.out.flush().await?;
        if !self.come(&strike).await? {
            return Ok(());
        }
        match &fault.effect {
            Effect::Call(CallEffect::Delay(delay)) => {
                self.out.unless_gone(strike.wait(delay)).await?;
            }
            Effect::Call(CallEffect::Hold) => self.out.unless_gone(strike.hold()).await?,
            Effect::Call(CallEffect::Reset(reason)) => {
                self.finish(Outcome::Faulted);
                self.out.reset(*reason);
                return Err(Ended::Broken);
            }
            Effect::Call(CallEffect::Status(status)) => {
                self.call.unsettle();
                self.call.finish_with(status, &MetadataMap::new());
                self.out.fail(status)?;
                return Err(Ended::Broken);
            }
            Effect::Line(_) => {
                let struck = self.line.strike_now(strike);
                return match self.out.unless_gone(struck).await? {
                    true => Ok(()),
                    false => Err(Stopped::Lost.into()),
                };
            }
            _ => {}
        }
        if !fault.barrier.is_removed() {
            self.done.push(strike);
        }
        Ok(())
    }

    /// Comes up to the moment of a fault. Whether it happens.
    async fn come(&mut self, strike: &Strike) -> Result<bool, Stopped> {
        if !strike.fault.barrier.is_removed() {
            self.call.record_fault(&strike.fault.label);
        }
        self.out.unless_gone(strike.come()).await
    }
}

async fn next_frame<B: Body + Unpin>(body: &mut B) -> Option<Result<Frame<B::Data>, B::Error>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}
