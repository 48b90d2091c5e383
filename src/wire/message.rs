//! Length-prefixed messages.
//!
//! [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests): one byte that says
//! whether the message is compressed, four bytes of length, the message. HTTP/2 DATA frames cut this stream anywhere.

use crate::wire::compression::{Compression, Failure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use std::fmt;
use tonic::Code;

pub(crate) const PREFIX: usize = 5;

/// A message with its prefix, ready for the wire. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Framed {
    bytes: Bytes,
    /// The message itself, when it is compressed for the wire.
    original: Option<Bytes>,
}

impl Framed {
    pub(crate) fn encode(message: &impl Message) -> Self {
        let length = message.encoded_len();
        let mut buffer = BytesMut::with_capacity(PREFIX + length);
        buffer.put_slice(&prefix(0, length));
        message
            .encode(&mut buffer)
            .expect("the buffer has room for the whole message");
        Self::of(buffer.freeze())
    }

    /// A message that is encoded already.
    pub(crate) fn plain(message: &[u8]) -> Self {
        let mut buffer = BytesMut::with_capacity(PREFIX + message.len());
        buffer.put_slice(&prefix(0, message.len()));
        buffer.put_slice(message);
        Self::of(buffer.freeze())
    }

    /// A message that is compressed for the wire. An empty one stays as it is, as in every implementation: it could only
    /// grow.
    pub(crate) fn squeezed(message: Bytes, compression: Compression) -> Self {
        if message.is_empty() {
            return Self::plain(&message);
        }
        let mut bytes = compression.compress(&message, vec![0; PREFIX]);
        let length = bytes.len() - PREFIX;
        bytes[..PREFIX].copy_from_slice(&prefix(1, length));
        Self {
            bytes: bytes.into(),
            original: Some(message),
        }
    }

    /// The same message, compressed for the wire.
    pub(crate) fn compressed(&self, compression: Compression) -> Self {
        Self::squeezed(self.payload(), compression)
    }

    fn of(bytes: Bytes) -> Self {
        Self {
            bytes,
            original: None,
        }
    }

    /// The message without its prefix, as it was before it was compressed.
    pub(crate) fn payload(&self) -> Bytes {
        let plain = || self.bytes.slice(PREFIX..);
        self.original.clone().unwrap_or_else(plain)
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.original.is_some()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// What stands before a message.
pub(crate) fn prefix(flag: u8, length: usize) -> [u8; PREFIX] {
    let length = u32::try_from(length).expect("a gRPC message is shorter than 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    [flag, a, b, c, d]
}

/// Splits the DATA of a stream into messages. A message that arrives in one piece is not copied.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// What arrived and is no whole message yet.
    rest: Rest,
    limit: usize,
    /// What the stream declares its messages to be compressed with.
    encoding: Option<Compression>,
    was_compressed: bool,
}

#[derive(Debug)]
enum Rest {
    /// Untouched pieces of the wire.
    Whole(Bytes),
    /// A message cut by frames, put together here.
    Joined(BytesMut),
}

/// Why the bytes are no gRPC messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The compressed flag is set on a stream without `grpc-encoding`, or is neither 0 nor 1.
    Flag(u8),
    TooLarge {
        length: usize,
        limit: usize,
    },
    /// What a compressed message has in it is over the limit.
    Inflated {
        encoding: Compression,
        limit: usize,
    },
    /// A compressed message does not decompress.
    Damaged {
        encoding: Compression,
        cause: String,
    },
    /// The stream ended in the middle of a message.
    Truncated {
        missing: usize,
    },
}

impl Splitter {
    /// The limit holds for the length of a message on the wire, and for what it decompresses to.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            rest: Rest::Whole(Bytes::new()),
            limit,
            encoding: None,
            was_compressed: false,
        }
    }

    /// Splits a stream whose headers declare this `grpc-encoding`.
    pub(crate) fn with_encoding(mut self, encoding: Option<Compression>) -> Self {
        self.encoding = encoding;
        self
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

    /// The next whole message, decompressed, `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let bytes = self.bytes();
        let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = length_of(*prefix);
        let arrived = rest.len();
        let encoding = match (prefix[0], self.encoding) {
            (0, _) => None,
            (1, Some(encoding)) => Some(encoding),
            (flag, _) => return Err(Malformed::Flag(flag)),
        };
        if length > self.limit {
            return Err(Malformed::TooLarge {
                length,
                limit: self.limit,
            });
        }
        if arrived < length {
            return Ok(None);
        }
        let message = self.take(length);
        self.was_compressed = encoding.is_some();
        match encoding {
            Some(encoding) => self.decompress(encoding, &message).map(Some),
            None => Ok(Some(message)),
        }
    }

    fn decompress(&self, encoding: Compression, message: &[u8]) -> Result<Bytes, Malformed> {
        let limit = self.limit;
        match encoding.decompress(message, limit) {
            Ok(message) => Ok(message.into()),
            Err(Failure::OverLimit) => Err(Malformed::Inflated { encoding, limit }),
            Err(Failure::Damaged(cause)) => Err(Malformed::Damaged { encoding, cause }),
        }
    }

    /// Whether the last message was compressed on the wire.
    pub(crate) fn was_compressed(&self) -> bool {
        self.was_compressed
    }

    /// Whether the stream may end here, where there is no whole message left.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        let bytes = self.bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let prefix = bytes.first_chunk::<PREFIX>();
        let whole = prefix.map_or(PREFIX, |prefix| PREFIX + length_of(*prefix));
        let missing = whole.saturating_sub(bytes.len());
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

/// How much room the first message with its prefix asks for, 0 while that is unknown.
fn expected_length(bytes: &[u8]) -> usize {
    bytes
        .first_chunk::<PREFIX>()
        // A hostile length must not reserve memory: what counts is what arrives.
        .map_or(0, |prefix| {
            PREFIX + length_of(*prefix).min(crate::wire::MESSAGE_LIMIT)
        })
}

/// How long the message behind this is.
pub(crate) fn length_of(prefix: [u8; PREFIX]) -> usize {
    u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize
}

impl Malformed {
    /// What the side that sent it is told.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } | Self::Inflated { .. } => Code::ResourceExhausted,
            Self::Flag(_) | Self::Damaged { .. } | Self::Truncated { .. } => Code::Internal,
        }
    }
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
            Self::Inflated { encoding, limit } => write!(
                f,
                "a {encoding} message decompresses to more than the limit of {limit} bytes"
            ),
            Self::Damaged { encoding, cause } => {
                write!(f, "a message is not valid {encoding}: {cause}")
            }
            Self::Truncated { missing } => write!(
                f,
                "the stream ended {missing} bytes before the end of a message"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
