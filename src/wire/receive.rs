//! An `h2` stream as an `http_body::Body`.

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// The receiving half of a stream: DATA, then trailers.
///
/// The peer may send as much again as was taken out of here, so a reader that stops stops the sender.
#[derive(Debug)]
pub(crate) struct Receive {
    stream: RecvStream,
    data_ended: bool,
}

impl Receive {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            data_ended: false,
        }
    }

    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, h2::Error>>> {
        if self.data_ended {
            return Poll::Ready(None);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                // It fails when the stream is reset, which the next poll tells.
                let _ = self.stream.flow_control().release_capacity(data.len());
                Poll::Ready(Some(Ok(data)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                self.data_ended = true;
                Poll::Ready(None)
            }
        }
    }

    pub(crate) fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.stream.poll_trailers(cx)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

impl Body for Receive {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.poll_data(cx)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        let trailers = ready!(self.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        Self::is_end_stream(self)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
