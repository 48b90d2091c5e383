//! A request that is kept while it is sent, so that it can be sent again.

use bytes::Bytes;
use http_body::{Body, Frame};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tonic::Status;

/// A request body whose bytes are kept as they pass.
#[derive(Debug)]
pub(crate) struct Kept {
    body: tonic::body::Body,
    copy: Copy,
}

/// What has passed. Cloning it gives another hand on the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copy(Arc<Mutex<Passed>>);

#[derive(Debug, Default)]
struct Passed {
    frames: Vec<Bytes>,
    length: usize,
    /// Whether that was all.
    ended: bool,
    /// Whether it was too much to keep.
    lost: bool,
}

/// As much of a request is kept.
const MOST: usize = 1 << 20;

impl Copy {
    /// The body, and a copy of what passes.
    pub(crate) fn of(body: tonic::body::Body) -> (Self, tonic::body::Body) {
        let copy = Self::default();
        copy.lock().ended = body.is_end_stream();
        let kept = Kept {
            body,
            copy: copy.clone(),
        };
        (copy, tonic::body::Body::new(kept))
    }

    /// The body once more. `None`, when it has not passed to its end, or was too large.
    pub(crate) fn again(&self) -> Option<tonic::body::Body> {
        let passed = self.lock();
        (passed.ended && !passed.lost).then(|| {
            let frames = passed.frames.clone().into_iter();
            tonic::body::Body::new(Again(frames))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passed {
    fn keep(&mut self, bytes: &Bytes) {
        self.length += bytes.len();
        if self.length > MOST {
            self.lost = true;
            self.frames.clear();
        }
        if !self.lost {
            self.frames.push(bytes.clone());
        }
    }
}

impl Body for Kept {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let mut passed = this.copy.lock();
        match &frame {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    passed.keep(bytes);
                }
                passed.ended = this.body.is_end_stream();
            }
            Some(Err(_)) => passed.lost = true,
            None => passed.ended = true,
        }
        drop(passed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// A body of frames that are there.
struct Again(std::vec::IntoIter<Bytes>);

impl Body for Again {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.next().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}
