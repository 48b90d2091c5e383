//! How a server is, by gRPC's health checking.

use crate::proto::health::health_check_response::ServingStatus as Wire;
use std::fmt;

/// How a server, or one of its services, is, as
/// [GRPC Health Checking](https://github.com/grpc/grpc/blob/master/doc/health-checking.md) tells it.
///
/// ```
/// use rpcplugin_testkit::ServingStatus;
///
/// assert_eq!(ServingStatus::NotServing.to_string(), "NotServing");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ServingStatus {
    /// It does not know, or does not know the service.
    Unknown,
    /// It takes calls.
    Serving,
    /// It is up, and does not take calls.
    NotServing,
}

impl ServingStatus {
    pub(crate) fn wire(self) -> Wire {
        match self {
            Self::Unknown => Wire::Unknown,
            Self::Serving => Wire::Serving,
            Self::NotServing => Wire::NotServing,
        }
    }

    pub(crate) fn of(wire: Wire) -> Self {
        match wire {
            Wire::Serving => Self::Serving,
            Wire::NotServing => Self::NotServing,
            Wire::Unknown | Wire::ServiceUnknown => Self::Unknown,
        }
    }
}

impl fmt::Display for ServingStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
