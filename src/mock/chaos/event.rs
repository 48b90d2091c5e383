//! One thing that happens.

use crate::wire::status;
use h2::Reason;
use std::{fmt, mem::discriminant, time::Duration};
use tonic::Status;

/// One thing that [chaos](crate::Chaos) does to a server.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChaosEvent {
    /// When, from the beginning, in whole milliseconds.
    pub at: Duration,
    /// The number of the server.
    pub server: usize,
    /// What is done to it.
    pub what: ChaosAction,
}

/// What [chaos](crate::Chaos) does to a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ChaosAction {
    /// It is [killed](crate::MockServer::kill).
    Kill,
    /// It listens again.
    Restart,
    /// It is [paused](crate::MockServer::pause).
    Pause,
    /// It is [resumed](crate::MockServer::resume).
    Resume,
    /// Everything passes so much later, [both ways](crate::Fault::latency).
    Latency(Duration),
    /// That is over.
    LatencyEnds,
    /// Its next call gets [this status](crate::Fault::status).
    Status(Status),
    /// Its next call is [reset](crate::Fault::reset).
    Reset(Reason),
}

impl PartialEq for ChaosAction {
    fn eq(&self, other: &Self) -> bool {
        let told = |status: &Status| {
            let (text, details) = (status.message().to_owned(), status.details().to_owned());
            (status.code(), text, details)
        };
        match (self, other) {
            (Self::Latency(one), Self::Latency(other)) => one == other,
            (Self::Status(one), Self::Status(other)) => told(one) == told(other),
            (Self::Reset(one), Self::Reset(other)) => one == other,
            _ => discriminant(self) == discriminant(other),
        }
    }
}

/// `killed`.
impl fmt::Display for ChaosAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("killed"),
            Self::Restart => f.write_str("restarted"),
            Self::Pause => f.write_str("paused"),
            Self::Resume => f.write_str("resumed"),
            Self::Latency(delay) => write!(f, "slower by {delay:?}"),
            Self::LatencyEnds => f.write_str("not slower any more"),
            Self::Status(status) => {
                let (code, text) = (status::name(status.code()), status.message());
                write!(f, "next call gets {code} {text:?}")
            }
            Self::Reset(reason) => write!(f, "next call is reset by {reason:?}"),
        }
    }
}

/// `0.532s server 1: killed`.
impl fmt::Display for ChaosEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, server, what } = self;
        write!(f, "{:.3}s server {server}: {what}", at.as_secs_f64())
    }
}
