//! A body whose messages are compressed, or decompressed, as they pass.

use crate::wire::compression::Compression;
use crate::wire::message::{Framed, Malformed, Splitter};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::Status;

/// A gRPC body in another encoding. Each message passes as soon as it is whole, in a frame of its own; trailers pass as
/// they are.
#[derive(Debug)]
pub(crate) struct Recode<B> {
    body: B,
    /// `None` for a body that passes untouched.
    work: Option<Work>,
}

#[derive(Debug)]
struct Work {
    splitter: Splitter,
    /// What the messages are compressed with when they come out.
    to: Option<Compression>,
    ended: bool,
}

/// Why a body ended early.
#[derive(Debug)]
pub(crate) enum RecodeError<E> {
    /// Its bytes are no messages.
    Malformed(Malformed),
    /// The body itself failed.
    Body(E),
}

/// What comes out of it.
type Out<E> = Option<Result<Frame<Bytes>, RecodeError<E>>>;

impl<B> Recode<B> {
    /// Decompresses what comes in this encoding, up to a limit for each message.
    pub(crate) fn decompress(body: B, from: Option<Compression>, limit: usize) -> Self {
        let work = |from| Work {
            splitter: Splitter::new(limit).with_encoding(Some(from)),
            to: None,
            ended: false,
        };
        Self {
            body,
            work: from.map(work),
        }
    }

    /// Compresses messages that are not.
    pub(crate) fn compress(body: B, to: Option<Compression>) -> Self {
        let work = |to| Work {
            splitter: Splitter::new(usize::MAX),
            to: Some(to),
            ended: false,
        };
        Self {
            body,
            work: to.map(work),
        }
    }
}

impl Work {
    fn poll_frame<B: Body<Data = Bytes> + Unpin>(
        &mut self,
        body: &mut B,
        cx: &mut Context<'_>,
    ) -> Poll<Out<B::Error>> {
        loop {
            if let Some(message) = self.splitter.next().map_err(RecodeError::Malformed)? {
                let framed = match self.to {
                    Some(to) => Framed::squeezed(message, to),
                    None => Framed::plain(&message),
                };
                return Poll::Ready(Some(Ok(Frame::data(framed.into_bytes()))));
            }
            let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).transpose();
            let frame = match frame.map_err(RecodeError::Body)?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.splitter.push(data);
                    continue;
                }
                Some(Err(trailers)) => Some(trailers),
                None => None,
            };
            // A status that tells why the messages stopped is worth more than that they did.
            if !frame
                .as_ref()
                .and_then(Frame::trailers_ref)
                .is_some_and(tells_failure)
            {
                self.splitter.finish().map_err(RecodeError::Malformed)?;
            }
            return Poll::Ready(frame.map(Ok));
        }
    }
}

fn tells_failure(trailers: &HeaderMap) -> bool {
    let status = trailers.get(Status::GRPC_STATUS);
    status.is_some_and(|status| status != "0")
}

impl<B: Body<Data = Bytes> + Unpin> Body for Recode<B> {
    type Data = Bytes;
    type Error = RecodeError<B::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self { body, work } = &mut *self;
        let Some(work) = work else {
            let frame = ready!(Pin::new(body).poll_frame(cx));
            return Poll::Ready(frame.map(|frame| frame.map_err(RecodeError::Body)));
        };
        if work.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(work.poll_frame(body, cx));
        work.ended = !matches!(&frame, Some(Ok(frame)) if frame.is_data());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.work {
            // What is left of the messages comes out yet, or is told to be cut.
            Some(work) => {
                work.ended || (self.body.is_end_stream() && work.splitter.finish().is_ok())
            }
            None => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.work {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

/// For a body of requests, whose errors are statuses.
impl From<RecodeError<Self>> for Status {
    fn from(error: RecodeError<Self>) -> Self {
        match error {
            RecodeError::Malformed(malformed) => Self::new(malformed.code(), malformed.to_string()),
            RecodeError::Body(status) => status,
        }
    }
}

#[cfg(test)]
mod tests;
