//! How a call ended.

use crate::wire::status;
use h2::Reason;
use std::fmt;
use tonic::Code;

/// How a call ended, as the mock saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The client cancelled it (`RST_STREAM` with `CANCEL`) before its deadline.
    Cancelled,
    /// The client cancelled it at its deadline.
    ///
    /// The two clocks do not start together, so a cancellation counts as this from 20 ms, or a tenth of the timeout,
    /// before the deadline on.
    DeadlineExceeded,
    /// The connection went away, or the server stopped, before it ended.
    Dropped,
    /// An injected [fault](crate::Fault) broke the answer off: it reset the stream, or answered with an HTTP status. Which one is in
    /// [`Call::faults`](crate::Call::faults).
    Faulted,
    /// The mock answered with `OK`.
    Ok,
    /// The client reset it with another code than `CANCEL`.
    Reset(Reason),
    /// The mock answered with another status than `OK`.
    Status(Code),
}

impl From<Code> for Outcome {
    fn from(code: Code) -> Self {
        match code {
            Code::Ok => Self::Ok,
            other => Self::Status(other),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled by the client"),
            Self::DeadlineExceeded => f.write_str("cancelled by the client at its deadline"),
            Self::Dropped => f.write_str("connection lost"),
            Self::Faulted => f.write_str("broken off by a fault"),
            Self::Ok => f.write_str("OK"),
            Self::Reset(reason) => write!(f, "reset by the client ({reason:?})"),
            Self::Status(code) => f.write_str(status::name(*code)),
        }
    }
}
