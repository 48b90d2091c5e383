//! The messages of a stream, one by one.

use crate::wire::message::{Malformed, Splitter};
use crate::wire::receive::Receive;
use bytes::Bytes;
use h2::RecvStream;
use std::future::poll_fn;

/// Reads length-prefixed messages.
#[derive(Debug)]
pub(crate) struct Reader {
    receive: Receive,
    splitter: Splitter,
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
        }
    }

    /// The next message, `None` at the end of the stream.
    ///
    /// Cancel safe: what was read is kept.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            if let Some(message) = self.splitter.next().map_err(ReadError::Malformed)? {
                return Ok(Some(message));
            }
            match poll_fn(|cx| self.receive.poll_data(cx)).await {
                Some(Ok(data)) => self.splitter.push(data),
                Some(Err(error)) => return Err(ReadError::Stream(error)),
                None => {
                    self.splitter.finish().map_err(ReadError::Malformed)?;
                    return Ok(None);
                }
            }
        }
    }
}
