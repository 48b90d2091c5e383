//! The messages of a stream, one by one.

use crate::wire::compression::Compression;
use crate::wire::message::{Malformed, Splitter};
use crate::wire::receive::Receive;
use bytes::Bytes;
use h2::RecvStream;
use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    task::{Context, Poll, ready},
};

/// Reads length-prefixed messages.
#[derive(Debug)]
pub(crate) struct Reader {
    receive: Receive,
    splitter: Splitter,
    /// Copies of what was read, if they are wanted.
    kept: Option<Kept>,
    opening: Option<Bytes>,
}

/// Messages in order. Most streams have one, which is kept in place.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    first: Option<Bytes>,
    more: VecDeque<Bytes>,
}

impl Kept {
    fn push(&mut self, message: Bytes) {
        if self.first.is_none() {
            self.first = Some(message);
        } else {
            self.more.push_back(message);
        }
    }

    fn push_front(&mut self, message: Bytes) {
        if let Some(second) = self.first.replace(message) {
            self.more.push_front(second);
        }
    }
}

impl Iterator for Kept {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let next = self.more.pop_front();
        mem::replace(&mut self.first, next)
    }
}

/// Why there is no next message.
#[derive(Debug)]
pub(crate) enum ReadError {
    Malformed(Malformed),
    /// The stream was reset or the connection lost.
    Stream(h2::Error),
}

impl Reader {
    pub(crate) fn new(stream: RecvStream, limit: usize) -> Self {
        Self {
            receive: Receive::new(stream),
            splitter: Splitter::new(limit),
            kept: None,
            opening: None,
        }
    }

    /// Reads a stream whose headers declare this `grpc-encoding`.
    pub(crate) fn with_encoding(mut self, encoding: Option<Compression>) -> Self {
        self.splitter = self.splitter.with_encoding(encoding);
        self
    }

    /// Whether the last message was compressed on the wire.
    pub(crate) fn was_compressed(&self) -> bool {
        self.splitter.was_compressed()
    }

    /// From now on keeps what it reads, for somebody who reads it again.
    pub(crate) fn keep(&mut self) {
        self.kept = Some(Kept::default());
    }

    /// The message that was read first only opens the stream.
    pub(crate) fn mark_opening(&mut self) {
        self.opening = self.kept.as_mut().and_then(Kept::next);
    }

    /// What was kept, with the message that opened the stream.
    pub(crate) fn all_kept(&mut self) -> Kept {
        let mut all = self.kept();
        if let Some(opening) = self.opening.take() {
            all.push_front(opening);
        }
        all
    }

    /// What was kept. From now on nothing is.
    pub(crate) fn kept(&mut self) -> Kept {
        self.kept.take().unwrap_or_default()
    }

    /// The next message, decompressed, `None` at the end of the stream.
    ///
    /// Cancel safe: what was read is kept.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, ReadError>> {
        loop {
            if let Some(message) = self.splitter.next().map_err(ReadError::Malformed)? {
                if let Some(kept) = &mut self.kept {
                    kept.push(message.clone());
                }
                return Poll::Ready(Ok(Some(message)));
            }
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.splitter.push(data),
                Some(Err(error)) => return Poll::Ready(Err(ReadError::Stream(error))),
                None => {
                    self.splitter.finish().map_err(ReadError::Malformed)?;
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }
}
