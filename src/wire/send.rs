//! Bytes and bodies into an `h2` stream.

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame};
use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use tonic::Status;

/// Why sending stopped.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The peer reset the stream.
    Reset(Reason),
    /// The connection is gone.
    Lost,
    /// The body that was being sent failed.
    Body(Status),
}

/// Sends bytes, waiting for the peer's window when it is full, so that a reader that stopped is felt here.
pub(crate) async fn data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), Stopped> {
    poll_fn(|cx| poll_data(stream, &mut data, cx)).await
}

/// Sends these bytes, and leaves those that wait for the window.
fn poll_data(
    stream: &mut SendStream<Bytes>,
    data: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Stopped>> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = ready!(poll_capacity(stream, cx))?;
        let piece = data.split_to(granted.min(data.len()));
        stream.send_data(piece, false)?;
    }
    Poll::Ready(Ok(()))
}

/// Hands over the only message of a side at once; `h2` sends it as the window opens. It spares the ordinary unary call
/// a wake-up, and nothing can pile up behind it.
pub(crate) fn only(stream: &mut SendStream<Bytes>, data: Bytes, end: bool) -> Result<(), Stopped> {
    stream.send_data(data, end).map_err(Stopped::from)
}

/// Waits until some bytes may be sent.
pub(crate) async fn capacity(stream: &mut SendStream<Bytes>) -> Result<usize, Stopped> {
    poll_fn(|cx| poll_capacity(stream, cx)).await
}

fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Stopped>> {
    // A granted capacity of nothing is a spurious wake.
    while let Poll::Ready(granted) = stream.poll_capacity(cx) {
        match granted {
            Some(Ok(0)) => {}
            Some(Ok(granted)) => return Poll::Ready(Ok(granted)),
            Some(Err(error)) => return Poll::Ready(Err(error.into())),
            None => return Poll::Ready(Err(poll_stopped(stream, cx))),
        }
    }
    Poll::Pending
}

/// The stream is not streaming any more: by a reset, or because the connection went away.
fn poll_stopped(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Stopped {
    match stream.poll_reset(cx) {
        Poll::Ready(reset) => reset.into(),
        Poll::Pending => Stopped::Reset(Reason::CANCEL),
    }
}

/// Ends the stream with trailers.
pub(crate) fn trailers(stream: &mut SendStream<Bytes>, trailers: HeaderMap) -> Result<(), Stopped> {
    stream.send_trailers(trailers).map_err(Stopped::from)
}

/// Waits until the peer resets the stream or the connection is lost.
pub(crate) async fn stopped(stream: &mut SendStream<Bytes>) -> Stopped {
    poll_fn(|cx| stream.poll_reset(cx)).await.into()
}

/// A body on its way into a stream, which it ends.
#[derive(Debug)]
pub(crate) struct Pump<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// Read one ahead, so that a single DATA frame can end the stream.
    next: Option<Result<Frame<Bytes>, Status>>,
    /// What waits for the peer's window.
    waiting: Bytes,
    /// Whether anything was sent.
    begun: bool,
}

impl<B> Pump<B>
where
    B: Body<Data = Bytes, Error: Into<Status>> + Unpin,
{
    pub(crate) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            next: None,
            waiting: Bytes::new(),
            begun: false,
        }
    }

    /// Resets the stream, after its body has failed.
    pub(crate) fn reset(&mut self) {
        self.stream.send_reset(Reason::CANCEL);
    }

    /// Sends to the end. It stops early when the peer resets the stream.
    pub(crate) fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            ready!(poll_data(&mut self.stream, &mut self.waiting, cx))?;
            let Some(frame) = ready!(self.poll_next(cx))? else {
                return Poll::Ready(only(&mut self.stream, Bytes::new(), true));
            };
            let is_first = !mem::replace(&mut self.begun, true);
            match frame.into_data() {
                Ok(bytes) if is_first && self.has_ended() => {
                    return Poll::Ready(only(&mut self.stream, bytes, true));
                }
                Ok(bytes) => self.waiting = bytes,
                Err(frame) => {
                    if let Ok(map) = frame.into_trailers() {
                        return Poll::Ready(trailers(&mut self.stream, map));
                    }
                }
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Stopped>> {
        if let Some(frame) = self.next.take() {
            return Poll::Ready(frame.map(Some).map_err(Stopped::Body));
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let frame = frame.transpose();
            return Poll::Ready(frame.map_err(|error| Stopped::Body(error.into())));
        }
        let reset = self.stream.poll_reset(cx);
        reset.map(|reset| Err(Stopped::from(reset)))
    }

    /// Whether the body has ended, without waiting for it.
    fn has_ended(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.body).poll_frame(&mut nobody) {
            Poll::Ready(None) => true,
            Poll::Ready(Some(frame)) => {
                self.next = Some(frame.map_err(Into::into));
                false
            }
            // It is polled again, with a waker, when this frame is on its way.
            Poll::Pending => false,
        }
    }
}

impl From<h2::Error> for Stopped {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Lost,
        }
    }
}

/// What `poll_reset` tells.
impl From<Result<Reason, h2::Error>> for Stopped {
    fn from(reset: Result<Reason, h2::Error>) -> Self {
        reset.map_or(Self::Lost, Self::Reset)
    }
}
