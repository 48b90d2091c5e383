//! Length-prefixed messages.
//!
//! [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests): one byte that says
//! whether the message is compressed, four bytes of length, the message. HTTP/2 DATA frames cut this stream anywhere.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use std::fmt;

pub(crate) const PREFIX: usize = 5;

/// A message with its prefix, ready for the wire. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Framed(Bytes);

impl Framed {
    pub(crate) fn encode(message: &impl Message) -> Self {
        let length = message.encoded_len();
        let mut buffer = BytesMut::with_capacity(PREFIX + length);
        put_prefix(&mut buffer, length);
        message
            .encode(&mut buffer)
            .expect("the buffer has room for the whole message");
        Self(buffer.freeze())
    }

    /// A message that is encoded already.
    pub(crate) fn new(payload: &[u8]) -> Self {
        let mut buffer = BytesMut::with_capacity(PREFIX + payload.len());
        put_prefix(&mut buffer, payload.len());
        buffer.extend_from_slice(payload);
        Self(buffer.freeze())
    }

    /// The message without its prefix.
    pub(crate) fn payload(&self) -> Bytes {
        self.0.slice(PREFIX..)
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }
}

fn put_prefix(buffer: &mut BytesMut, length: usize) {
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).expect("a gRPC message is shorter than 4 GiB"));
}

/// Splits the DATA of a stream into messages. A message that arrives in one piece is not copied.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// What arrived and is no whole message yet.
    rest: Rest,
    limit: usize,
}

#[derive(Debug)]
enum Rest {
    /// Untouched pieces of the wire.
    Whole(Bytes),
    /// A message cut by frames, put together here.
    Joined(BytesMut),
}

/// Why the bytes are no gRPC messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The compressed flag is set on a stream without `grpc-encoding`, or is neither 0 nor 1.
    Flag(u8),
    TooLarge {
        length: usize,
        limit: usize,
    },
    /// The stream ended in the middle of a message.
    Truncated {
        missing: usize,
    },
}

impl Splitter {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            rest: Rest::Whole(Bytes::new()),
            limit,
        }
    }

    pub(crate) fn push(&mut self, data: Bytes) {
        match &mut self.rest {
            Rest::Whole(rest) if rest.is_empty() => *rest = data,
            Rest::Whole(rest) => {
                let mut joined =
                    BytesMut::with_capacity(expected_length(rest).max(rest.len() + data.len()));
                joined.extend_from_slice(rest);
                joined.extend_from_slice(&data);
                self.rest = Rest::Joined(joined);
            }
            Rest::Joined(joined) => joined.extend_from_slice(&data),
        }
    }

    /// The next whole message, `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let bytes = self.bytes();
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = length_of(*prefix);
        let arrived = rest.len();
        if prefix[0] != 0 {
            return Err(Malformed::Flag(prefix[0]));
        }
        if length > self.limit {
            return Err(Malformed::TooLarge {
                length,
                limit: self.limit,
            });
        }
        if arrived < length {
            return Ok(None);
        }
        Ok(Some(self.take(length)))
    }

    /// Whether the stream may end here.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        let bytes = self.bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let missing = expected_length(bytes).max(PREFIX) - bytes.len();
        Err(Malformed::Truncated { missing })
    }

    fn bytes(&self) -> &[u8] {
        match &self.rest {
            Rest::Whole(rest) => rest,
            Rest::Joined(rest) => rest,
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        match &mut self.rest {
            Rest::Whole(rest) => {
                rest.advance(PREFIX);
                rest.split_to(length)
            }
            Rest::Joined(rest) => {
                rest.advance(PREFIX);
                let message = rest.split_to(length).freeze();
                self.rest = Rest::Whole(std::mem::take(rest).freeze());
                message
            }
        }
    }
}

/// The length of the first message with its prefix, 0 while that is unknown.
fn expected_length(bytes: &[u8]) -> usize {
    bytes
        .first_chunk::<PREFIX>()
        // A hostile length must not reserve memory: what counts is what arrives.
        .map_or(0, |prefix| {
            PREFIX + length_of(*prefix).min(crate::wire::MESSAGE_LIMIT)
        })
}

fn length_of(prefix: [u8; PREFIX]) -> usize {
    u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(1) => {
                f.write_str("the message is compressed, and the stream declares no grpc-encoding")
            }
            Self::Flag(flag) => write!(
                f,
                "a message begins with the flag byte {flag}, which is neither 0 nor 1"
            ),
            Self::TooLarge { length, limit } => {
                write!(
                    f,
                    "a message of {length} bytes is over the limit of {limit} bytes"
                )
            }
            Self::Truncated { missing } => write!(
                f,
                "the stream ended {missing} bytes before the end of a message"
            ),
        }
    }
}
