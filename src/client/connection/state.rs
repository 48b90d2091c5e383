//! The state of a connection, and what is reported of it.

use crate::error::Error;
use h2::Reason;
use std::{fmt, io, sync::Arc, time::Duration};

/// The state of a connection, as
/// [gRPC's connectivity semantics](https://github.com/grpc/grpc/blob/master/doc/connectivity-semantics-and-api.md)
/// have it.
///
/// ```text
///            a call                 the server's settings
///   Idle ──────────────▶ Connecting ─────────────────────▶ Ready
///    ▲                    │      ▲                           │
///    │                    ▼      │ a call, after the backoff │
///    │           TransientFailure┘                           │
///    └──────────────── the connection ended, or goes away ◀──┘
/// ```
///
/// A connection of a client that balances between endpoints does not wait for a call: it is dialled at once, and after the
/// backoff. The state of such a client is `Ready` when any of its connections is, else `Connecting` when any is, else `Idle`
/// when any is, else `TransientFailure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// A dial is under way.
    Connecting,
    /// Not connected; the next call dials.
    Idle,
    /// Connected.
    Ready,
    /// Closed for good.
    Shutdown,
    /// The last dial failed; calls fail until the backoff is over.
    TransientFailure,
}

/// What becomes of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Report {
    /// A dial made no connection. The next is as far away.
    DialFailed {
        error: Error,
        next: Duration,
    },
    Connected,
    /// A connection takes no more calls: in words, and by the name that gRPC's metrics have for it.
    Lost {
        why: String,
        kind: String,
    },
    /// Only the state has changed.
    State,
}

/// Is told what becomes of a connection, after it has become so. It is called without a lock, so that it may look at the
/// connection, and at others; of two reports at the same time either may come first.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<dyn Fn(Report) + Send + Sync>);

impl Reporter {
    pub(crate) fn new(tell: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    pub(super) fn tell(&self, report: Report) {
        (self.0)(report);
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Loss {
    /// By the server, without a word.
    Closed,
    Failed(h2::Error),
    /// A ping had no answer within this time.
    Silent(Duration),
}

impl Loss {
    /// Whether the server found that it is asked too much.
    pub(super) fn asks_for_calm(&self) -> bool {
        matches!(self, Self::Failed(error)
            if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM))
    }

    /// The `grpc.disconnect_error` of
    /// [A94](https://github.com/grpc/proposal/blob/master/A94-subchannel-otel-metrics.md).
    pub(super) fn kind(&self) -> String {
        let error = match self {
            Self::Failed(error) => error,
            Self::Silent(_) => return "connection timed out".to_owned(),
            Self::Closed => return "unknown".to_owned(),
        };
        match (error.reason(), error.get_io().map(io::Error::kind)) {
            (Some(reason), _) if error.is_go_away() && error.is_remote() => {
                format!("GOAWAY {reason:?}")
            }
            (_, Some(io::ErrorKind::ConnectionReset)) => "connection reset".to_owned(),
            (_, Some(io::ErrorKind::ConnectionAborted)) => "connection aborted".to_owned(),
            (_, Some(io::ErrorKind::TimedOut)) => "connection timed out".to_owned(),
            (_, Some(_)) => "socket error".to_owned(),
            _ => "unknown".to_owned(),
        }
    }

    pub(super) fn into_cause(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Failed(error) => error.into(),
            other => other.to_string().into(),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it closed the connection"),
            Self::Failed(error) => error.fmt(f),
            Self::Silent(limit) => write!(f, "no answer to a keepalive ping within {limit:?}"),
        }
    }
}
