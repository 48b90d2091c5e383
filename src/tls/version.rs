//! TLS 1.2 and 1.3.

use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use std::fmt;

/// A version of TLS. Both are spoken unless one is asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 ([RFC 5246](https://www.rfc-editor.org/rfc/rfc5246)).
    Tls12,
    /// TLS 1.3 ([RFC 8446](https://www.rfc-editor.org/rfc/rfc8446)).
    Tls13,
}

impl TlsVersion {
    /// What rustls is told: this one, or both.
    pub(crate) fn allowed(only: Option<Self>) -> Vec<&'static SupportedProtocolVersion> {
        match only {
            None => vec![&TLS13, &TLS12],
            Some(Self::Tls12) => vec![&TLS12],
            Some(Self::Tls13) => vec![&TLS13],
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}
