//! What a client has done so far, counted.

use crate::client::connection::ConnectionState;
use crate::client::health_policy::Health;
use crate::endpoint::Endpoint;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::Code;

/// A client at one moment: its endpoints, and what it has done since it was built. See
/// [`Client::stats`](crate::Client::stats).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// The endpoints that there are, by priority, and in their order.
    pub endpoints: Vec<EndpointStats>,
    /// Where they come from, if from a [source](crate::client::Discover).
    pub discovery: Option<DiscoveryStats>,
    /// Calls that were begun.
    pub calls: u64,
    /// Attempts that were made because one before had failed, and the call was idempotent.
    pub retries: u64,
    /// Attempts that were made because one before was certainly not processed.
    pub transparent_retries: u64,
    /// Attempts that were made beside others of the same call.
    pub hedges: u64,
    /// Retries that were not made because too many calls failed.
    pub throttled: u64,
}

/// The source of a client's endpoints at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiscoveryStats {
    /// What it is called.
    pub source: String,
    /// The sets of endpoints that it has told, those that changed nothing included.
    pub sets: u64,
    /// How often it failed.
    pub failures: u64,
    /// What it fails with, if it has told no set since.
    pub failing: Option<String>,
}

/// One endpoint of a client at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The endpoint itself.
    pub endpoint: Endpoint,
    /// The state of its connection.
    pub state: ConnectionState,
    /// What its health service says; [`Health::Unknown`] while nobody asks it.
    pub health: Health,
    /// Whether it gets no calls because of failures.
    pub is_ejected: bool,
    /// Calls whose response has not ended.
    pub in_flight: usize,
    /// What has happened so far.
    pub counts: EndpointCounts,
}

/// What has happened at one endpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointCounts {
    /// Attempts at calls that it was chosen for.
    pub attempts: u64,
    /// Attempts that ended with `OK`.
    pub succeeded: u64,
    /// Attempts that ended with another status, or with none.
    pub failed: u64,
    /// Attempts whose request never left.
    pub unsent: u64,
    /// Attempts that the caller dropped before their end.
    pub cancelled: u64,
    /// Connections that were made.
    pub connected: u64,
    /// Dials that made no connection.
    pub dials_failed: u64,
    /// Connections that were lost.
    pub lost: u64,
}

/// Counts what happens at one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    attempts: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    unsent: AtomicU64,
    cancelled: AtomicU64,
    connected: AtomicU64,
    dials_failed: AtomicU64,
    lost: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(crate) fn started(&self) {
        count(&self.attempts);
    }

    pub(crate) fn ended(&self, code: Code) {
        match code {
            Code::Ok => count(&self.succeeded),
            _ => count(&self.failed),
        }
    }

    pub(crate) fn unsent(&self) {
        count(&self.unsent);
    }

    pub(crate) fn cancelled(&self) {
        count(&self.cancelled);
    }

    pub(crate) fn connected(&self) {
        count(&self.connected);
    }

    pub(crate) fn dial_failed(&self) {
        count(&self.dials_failed);
    }

    pub(crate) fn lost(&self) {
        count(&self.lost);
    }

    pub(crate) fn read(&self) -> EndpointCounts {
        EndpointCounts {
            attempts: read(&self.attempts),
            succeeded: read(&self.succeeded),
            failed: read(&self.failed),
            unsent: read(&self.unsent),
            cancelled: read(&self.cancelled),
            connected: read(&self.connected),
            dials_failed: read(&self.dials_failed),
            lost: read(&self.lost),
        }
    }
}

/// Counts the calls of a client.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    calls: AtomicU64,
    retries: AtomicU64,
    transparent_retries: AtomicU64,
    hedges: AtomicU64,
    throttled: AtomicU64,
}

impl Totals {
    pub(crate) fn called(&self) {
        count(&self.calls);
    }

    pub(crate) fn retried(&self, is_transparent: bool) {
        match is_transparent {
            true => count(&self.transparent_retries),
            false => count(&self.retries),
        }
    }

    pub(crate) fn hedged(&self) {
        count(&self.hedges);
    }

    pub(crate) fn throttled(&self) {
        count(&self.throttled);
    }

    pub(crate) fn read(&self, endpoints: Vec<EndpointStats>) -> ClientStats {
        ClientStats {
            endpoints,
            discovery: None,
            calls: read(&self.calls),
            retries: read(&self.retries),
            transparent_retries: read(&self.transparent_retries),
            hedges: read(&self.hedges),
            throttled: read(&self.throttled),
        }
    }
}
