//! Compressing single messages.
//!
//! [gRPC compression](https://github.com/grpc/grpc/blob/master/doc/compression.md): `grpc-encoding` names what a side
//! compresses with, `grpc-accept-encoding` what it understands, and the flag of each message says whether it is.

use flate2::{bufread::MultiGzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    fmt,
    io::{Read, Write as _},
};

pub(crate) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub(crate) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What both wings understand, as `grpc-accept-encoding` says it.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static(match cfg!(feature = "zstd") {
    true => "identity,gzip,zstd",
    false => "identity,gzip",
});

/// A way to compress messages, as
/// [gRPC compression](https://github.com/grpc/grpc/blob/master/doc/compression.md) has it.
///
/// It prints as its name in the `grpc-encoding` header.
///
/// ```
/// use rpcplugin_testkit::Compression;
///
/// assert_eq!(Compression::Gzip.to_string(), "gzip");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// [gzip](https://www.rfc-editor.org/rfc/rfc1952), which every implementation of gRPC has.
    Gzip,
    /// [Zstandard](https://www.rfc-editor.org/rfc/rfc8878), with the feature `zstd`.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// The name of a compression that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) String);

impl Unknown {
    /// What could be done about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self.0.as_str() {
            "zstd" => " (rpcplugin-testkit has zstd by its feature `zstd`)",
            _ => "",
        }
    }
}

/// Why a message could not be decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is more in it than the limit.
    OverLimit,
    Damaged(String),
}

impl Compression {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
        }
    }

    /// The value of `grpc-encoding`.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// What a name of the header means. `identity` is no compression.
    pub(crate) fn parse(name: &str) -> Result<Option<Self>, Unknown> {
        match name {
            "identity" => Ok(None),
            "gzip" => Ok(Some(Self::Gzip)),
            #[cfg(feature = "zstd")]
            "zstd" => Ok(Some(Self::Zstd)),
            other => Err(Unknown(other.to_owned())),
        }
    }

    /// What these headers declare with `grpc-encoding`.
    pub(crate) fn declared(headers: &HeaderMap) -> Result<Option<Self>, Unknown> {
        match headers.get(GRPC_ENCODING) {
            Some(name) => Self::parse(&String::from_utf8_lossy(name.as_bytes())),
            None => Ok(None),
        }
    }

    /// Whether these headers say with `grpc-accept-encoding` that their sender understands it.
    pub(crate) fn is_accepted(self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(GRPC_ACCEPT_ENCODING).iter();
        let mut names = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        names.any(|name| name.trim() == self.name())
    }

    /// Appends the compressed message to what is there already.
    pub(crate) fn compress(self, message: &[u8], onto: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(onto, flate2::Compression::default());
                encoder
                    .write_all(message)
                    .and_then(|()| encoder.finish())
                    .expect("writing into memory does not fail")
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::compress(message, onto),
        }
    }

    /// The message that was compressed.
    ///
    /// However much the input claims to hold, the memory that this takes is a small multiple of the limit (and for zstd
    /// of 8 MiB), and of what is really in it.
    pub(crate) fn decompress(self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Gzip => {
                let mut message = Bounded::new(limit);
                message.read(MultiGzDecoder::new(compressed))?;
                Ok(message.bytes)
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::decompress(compressed, limit),
        }
    }
}

fn damaged(cause: impl fmt::Display) -> Failure {
    Failure::Damaged(cause.to_string())
}

/// A message that grows with what arrives, and not beyond its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Bounded {
    /// What a message begins with.
    const STEP: usize = 8 << 10;

    fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }

    /// Reads to the end, or one byte over the limit.
    fn read(&mut self, mut from: impl Read) -> Result<(), Failure> {
        loop {
            let length = self.bytes.len();
            let room = self.limit.saturating_add(1) - length;
            let step = length.max(Self::STEP).min(room);
            self.bytes.reserve_exact(step);
            let mut piece = from.by_ref().take(step as u64);
            let got = piece.read_to_end(&mut self.bytes).map_err(damaged)?;
            if self.bytes.len() > self.limit {
                return Err(Failure::OverLimit);
            }
            if got < step {
                return Ok(());
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "zstd")]
mod zstd;

#[cfg(test)]
mod tests;
