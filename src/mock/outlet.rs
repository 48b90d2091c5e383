//! Where the answer to a call goes: to its HTTP/2 stream, or to whoever breaks it on the way there.

use crate::wire::send::{self, Stopped};
use bytes::Bytes;
use h2::{SendStream, server::SendResponse};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Where the headers go.
pub(crate) enum Outlet {
    Http2(SendResponse<Bytes>),
    Piped(Pipe),
}

/// Where messages and trailers go.
pub(crate) enum Outflow {
    Http2(SendStream<Bytes>),
    Piped(Pipe),
}

impl Outlet {
    pub(crate) fn send_response(
        &mut self,
        response: Response<()>,
        end: bool,
    ) -> Result<Outflow, Stopped> {
        match self {
            Self::Http2(respond) => Ok(Outflow::Http2(respond.send_response(response, end)?)),
            Self::Piped(pipe) => pipe.begin(response, end).map(Outflow::Piped),
        }
    }

    /// Waits until nobody wants the answer any more.
    pub(crate) async fn stopped(&mut self) -> Stopped {
        match self {
            Self::Http2(respond) => poll_fn(|cx| respond.poll_reset(cx)).await.into(),
            Self::Piped(pipe) => pipe.stopped().await,
        }
    }
}

impl Outflow {
    pub(crate) async fn data(&mut self, data: Bytes) -> Result<(), Stopped> {
        match self {
            Self::Http2(stream) => send::data(stream, data).await,
            Self::Piped(pipe) => pipe.data(data).await,
        }
    }

    /// The only message, which needs no wait.
    pub(crate) async fn only(&mut self, data: Bytes) -> Result<(), Stopped> {
        match self {
            Self::Http2(stream) => send::only(stream, data, false),
            Self::Piped(pipe) => pipe.data(data).await,
        }
    }

    pub(crate) fn trailers(&mut self, trailers: HeaderMap) -> Result<(), Stopped> {
        match self {
            Self::Http2(stream) => send::trailers(stream, trailers),
            Self::Piped(pipe) => pipe.end(trailers),
        }
    }

    pub(crate) async fn stopped(&mut self) -> Stopped {
        match self {
            Self::Http2(stream) => send::stopped(stream).await,
            Self::Piped(pipe) => pipe.stopped().await,
        }
    }
}

/// One end of a pipe that an answer goes through.
pub(crate) struct Pipe {
    head: Option<oneshot::Sender<Response<Piped>>>,
    rest: Option<(mpsc::Sender<Bytes>, oneshot::Sender<HeaderMap>)>,
}

/// The messages and the trailers at the other end.
pub(crate) struct Piped {
    ended: bool,
    data: mpsc::Receiver<Bytes>,
    trailers: oneshot::Receiver<HeaderMap>,
}

/// A pipe, and what comes out of it. A writer waits until its message is taken.
pub(crate) fn pipe() -> (Pipe, oneshot::Receiver<Response<Piped>>) {
    let (head, headed) = oneshot::channel();
    let pipe = Pipe {
        head: Some(head),
        rest: None,
    };
    (pipe, headed)
}

impl Pipe {
    fn begin(&mut self, response: Response<()>, ended: bool) -> Result<Self, Stopped> {
        let (sender, data) = mpsc::channel(1);
        let (end, trailers) = oneshot::channel();
        let body = Piped {
            ended,
            data,
            trailers,
        };
        let head = self.head.take().ok_or(Stopped::Lost)?;
        head.send(response.map(|()| body))
            .map_err(|_| Stopped::Lost)?;
        Ok(Self {
            head: None,
            rest: (!ended).then_some((sender, end)),
        })
    }

    async fn data(&self, data: Bytes) -> Result<(), Stopped> {
        let (sender, _) = self.rest.as_ref().ok_or(Stopped::Lost)?;
        sender.send(data).await.map_err(|_| Stopped::Lost)
    }

    fn end(&mut self, trailers: HeaderMap) -> Result<(), Stopped> {
        let (_, end) = self.rest.take().ok_or(Stopped::Lost)?;
        end.send(trailers).map_err(|_| Stopped::Lost)
    }

    async fn stopped(&mut self) -> Stopped {
        match (&mut self.head, &self.rest) {
            (Some(head), _) => head.closed().await,
            (None, Some((sender, _))) => sender.closed().await,
            (None, None) => {}
        }
        Stopped::Lost
    }
}

impl Body for Piped {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(data) = ready!(self.data.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(Pin::new(&mut self.trailers).poll(cx));
        self.ended = true;
        Poll::Ready(Some(match trailers {
            Ok(trailers) => Ok(Frame::trailers(trailers)),
            Err(_) => Err(Status::cancelled("the answer broke off")),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
