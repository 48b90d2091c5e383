//! What faults do.

use crate::mock::fault::go_away::GoAway;
use crate::mock::reply::Delay;
use crate::wire::rewrite::Withheld;
use bytes::Bytes;
use h2::Reason;
use http::{HeaderValue, StatusCode};
use std::time::Duration;
use tonic::Status;

/// What a fault does, by its layer.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// To the answer to a call: RPC, and its HTTP/2 stream.
    Call(CallEffect),
    /// To a connection that is served: HTTP/2, and the byte stream below TLS.
    Line(LineEffect),
    /// To a connection that has come and is not served yet.
    Admission(Admission),
    /// The server does not listen.
    Refusal,
}

#[derive(Clone, Debug)]
pub(crate) enum CallEffect {
    Delay(Delay),
    /// Sends its DATA in frames of this size, or with this padding.
    Frames {
        size: Option<usize>,
        padding: Option<u8>,
    },
    Hold,
    Mangle(Mangle),
    Reset(Reason),
    Status(Box<Status>),
}

/// What is wrong with an answer.
#[derive(Clone, Debug)]
pub(crate) enum Mangle {
    BadCompression,
    ContentType(HeaderValue),
    Garbage,
    HttpStatus(StatusCode),
    MalformedStatus(HeaderValue),
    MissingStatus,
    NoMessage,
    OversizedMessage(usize),
    OversizedMetadata(usize),
    StatusInHeaders,
    Truncated,
    TwoMessages,
}

/// Where in an answer something happens, if nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Position {
    /// Before anything is sent.
    Start,
    /// Once the answer is there, before anything of it is sent.
    Answer,
    /// After the headers.
    Headers,
    /// After so many messages.
    Messages(u64),
    /// In the middle of the message after so many.
    MidMessage(u64),
    /// After so many bytes in DATA frames.
    Bytes(u64),
    /// After all messages.
    Trailers,
}

#[derive(Clone, Debug)]
pub(crate) enum LineEffect {
    Bytes(ByteEffect),
    GoAway(GoAway),
    /// Sends these between two frames.
    Insert(Bytes),
    MaxStreams(u32),
    Withhold(Withheld),
}

#[derive(Clone, Debug)]
pub(crate) enum ByteEffect {
    Bandwidth(u64),
    Cut { reset: bool },
    Flip(u64),
    Latency(Delay),
    Slices { size: usize, between: Duration },
    Stall,
}

#[derive(Clone, Debug)]
pub(crate) enum Admission {
    Close,
    MaxConnections(usize),
    Silence,
    Slow(Delay),
    TlsFailure,
    TlsStall,
}

impl Mangle {
    /// Whether it is about the headers of the answer.
    pub(crate) fn is_of_headers(&self) -> bool {
        matches!(
            self,
            Self::ContentType(_)
                | Self::HttpStatus(_)
                | Self::OversizedMetadata(_)
                | Self::StatusInHeaders
        )
    }

    /// Whether it is about the end of the answer.
    pub(crate) fn is_of_trailers(&self) -> bool {
        matches!(self, Self::MalformedStatus(_) | Self::MissingStatus)
    }
}

impl LineEffect {
    /// Whether a connection that has it once would not have it twice.
    pub(crate) fn lasts(&self) -> bool {
        let cuts = matches!(self, Self::Bytes(ByteEffect::Cut { .. }));
        !cuts && !self.is_instant()
    }

    /// Whether it is over as soon as it was done.
    pub(crate) fn is_instant(&self) -> bool {
        let flips = matches!(self, Self::Bytes(ByteEffect::Flip(_)));
        flips || matches!(self, Self::GoAway(_) | Self::Insert(_))
    }
}

impl CallEffect {
    /// Whether the answer is not what it was. Only one such fault has its way with a call.
    pub(crate) fn breaks(&self) -> bool {
        matches!(self, Self::Mangle(_) | Self::Reset(_) | Self::Status(_))
    }
}
