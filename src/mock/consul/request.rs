//! What an agent was asked, as a test reads it.

use crate::mock::consul::query::Query;
use http::Method;
use serde_json::Value;
use std::fmt;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// A request that came to a [`MockConsul`](crate::MockConsul).
#[derive(Clone)]
#[non_exhaustive]
pub struct ConsulRequest {
    /// `GET`, `PUT`, …
    pub method: Method,
    /// Without its query, decoded: `/v1/health/service/kv`.
    pub path: String,
    /// The parameters, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// The body, if it is JSON.
    pub body: Option<Value>,
    /// When it came.
    pub at: Instant,
    token: Option<Zeroizing<String>>,
}

impl ConsulRequest {
    pub(super) fn new(
        method: Method,
        path: String,
        query: &Query,
        body: Option<Value>,
        token: Option<String>,
    ) -> Self {
        Self {
            method,
            path,
            query: query.shown(),
            body,
            at: Instant::now(),
            token: token.map(Zeroizing::new),
        }
    }

    /// The first parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether it had a token, as `X-Consul-Token`, as a bearer or as a parameter.
    #[must_use]
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether its token was this one.
    #[must_use]
    pub fn token_is(&self, token: &str) -> bool {
        self.token
            .as_ref()
            .is_some_and(|told| told.as_str() == token)
    }
}

impl fmt::Debug for ConsulRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (n, (key, value)) in self.query.iter().enumerate() {
            let sign = if n == 0 { '?' } else { '&' };
            write!(f, "{sign}{key}={value}")?;
        }
        match self.has_token() {
            true => f.write_str(" (with a token)"),
            false => Ok(()),
        }
    }
}
