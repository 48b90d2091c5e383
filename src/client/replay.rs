//! A request that is kept while it is sent, so that it can be sent again.

use bytes::Bytes;
use http_body::{Body, Frame};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tonic::Status;

/// A request body whose bytes are kept as they pass. Cloning it gives another hand on the same.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What has not passed yet. `None` when it is to be sent by another.
    body: Option<tonic::body::Body>,
    passed: Vec<Bytes>,
    length: usize,
    ended: bool,
    /// Whether more has passed than is kept, or the body failed.
    lost: bool,
}

/// As much of a request is kept.
const MOST: usize = 1 << 20;

impl Kept {
    pub(crate) fn new(body: tonic::body::Body) -> Self {
        Self(Arc::new(Mutex::new(State {
            body: Some(body),
            passed: Vec::new(),
            length: 0,
            ended: false,
            lost: false,
        })))
    }

    /// The body from its beginning: what has passed, and what is still to come. Whoever was sending it is at its end. `None`,
    /// when too much has passed.
    pub(crate) fn again(&self) -> Option<tonic::body::Body> {
        let mut state = self.lock();
        let body = state.body.take().filter(|_| !state.lost)?;
        let body = Some(body).filter(|_| !state.ended);
        let passed = std::mem::take(&mut state.passed).into_iter();
        Some(tonic::body::Body::new(Again { passed, body }))
    }

    /// It is held while the body is polled, which nobody but its sender does.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, bytes: &Bytes) {
        self.length += bytes.len();
        if self.length > MOST {
            self.lost = true;
            self.passed.clear();
        }
        if !self.lost {
            self.passed.push(bytes.clone());
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

impl Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let mut state = self.lock();
        let Some(body) = &mut state.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    state.keep(bytes);
                }
            }
            Some(Err(_)) => state.lost = true,
            None => state.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.lock();
        state.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

/// A body whose beginning is there already.
struct Again {
    passed: std::vec::IntoIter<Bytes>,
    /// What is still to come, if anything is.
    body: Option<tonic::body::Body>,
}

impl Body for Again {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match (self.passed.next(), &mut self.body) {
            (Some(bytes), _) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            (None, Some(body)) => Pin::new(body).poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.body.as_ref().is_none_or(Body::is_end_stream);
        self.passed.as_slice().is_empty() && ended
    }
}
