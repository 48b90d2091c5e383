//! One endpoint at work.

use crate::client::balance::{Candidate, Load};
use crate::client::connection::ConnectionState;
use crate::client::ejection::Breaker;
use crate::client::health_policy::{Health, Verdict};
use crate::client::stats::{Counters, EndpointStats};
use crate::client::telemetry::{self, ConnectionEvent};
use crate::client::transport::Transport;
use crate::endpoint::Endpoint;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};
use tokio::{task::AbortHandle, time::Instant};

/// One endpoint, its connection, and what is known of it.
#[derive(Debug)]
pub(super) struct Member {
    key: u64,
    pub(super) endpoint: Endpoint,
    /// What may be told anew while it is connected.
    weight: AtomicU32,
    priority: AtomicU32,
    tags: Mutex<Vec<String>>,
    pub(super) transport: Arc<Transport>,
    pub(super) load: Load,
    pub(super) counters: Counters,
    breaker: Mutex<Breaker>,
    watches_health: bool,
    /// What its health service says, if that is asked.
    health: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    verdict: Verdict,
    since: Option<Instant>,
    task: Option<AbortHandle>,
}

impl Member {
    pub(super) fn new(
        key: u64,
        endpoint: Endpoint,
        transport: Transport,
        watches_health: bool,
    ) -> Self {
        Self {
            key,
            weight: AtomicU32::new(endpoint.weight),
            priority: AtomicU32::new(endpoint.priority),
            tags: Mutex::new(endpoint.tags.clone()),
            endpoint,
            transport: Arc::new(transport),
            load: Load::new(Instant::now()),
            counters: Counters::default(),
            breaker: Mutex::new(Breaker::new()),
            watches_health,
            health: Mutex::default(),
        }
    }

    /// Whether it stays what it is when it is told like this: what cannot change is how it is reached.
    pub(super) fn is_reached_as(&self, endpoint: &Endpoint) -> bool {
        self.endpoint.address == endpoint.address && self.endpoint.tls_name == endpoint.tls_name
    }

    /// It is told anew.
    pub(super) fn retell(&self, endpoint: Endpoint) {
        self.weight.store(endpoint.weight, Ordering::Relaxed);
        self.priority.store(endpoint.priority, Ordering::Relaxed);
        *self.tags() = endpoint.tags;
    }

    fn tags(&self) -> MutexGuard<'_, Vec<String>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn priority(&self) -> u32 {
        self.priority.load(Ordering::Relaxed)
    }

    /// The endpoint as it is now.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            weight: self.weight.load(Ordering::Relaxed),
            priority: self.priority(),
            tags: self.tags().clone(),
            ..self.endpoint.clone()
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.transport.subchannel.state() == ConnectionState::Ready
    }

    /// The state of its connection. While it is not known to serve, it is not ready
    /// ([A17](https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md)).
    pub(super) fn state(&self) -> ConnectionState {
        match self.transport.subchannel.state() {
            ConnectionState::Ready if self.watches_health => match self.health().health {
                Health::Serving => ConnectionState::Ready,
                Health::NotServing => ConnectionState::TransientFailure,
                Health::Unknown => ConnectionState::Connecting,
            },
            state => state,
        }
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> Verdict {
        self.watched().verdict.clone()
    }

    /// Takes a verdict of its health service. Gives the one before.
    pub(super) fn judge(&self, verdict: Verdict) -> Health {
        let mut watched = self.watched();
        watched.since = Some(Instant::now());
        std::mem::replace(&mut watched.verdict, verdict).health
    }

    /// Another task watches it from now on, or none does.
    pub(super) fn watched_by(&self, task: Option<AbortHandle>) {
        let before = std::mem::replace(&mut self.watched().task, task);
        if let Some(before) = before {
            before.abort();
        }
    }

    /// It takes no more calls. Its connection, of which nothing more is reported, closes with the last of them.
    pub(super) fn retire(&self) {
        if self.transport.subchannel.retire() {
            let shut = ConnectionEvent::Lost("subchannel shutdown");
            telemetry::connection(self.transport.target(), shut);
        }
    }

    /// Whether it may yet take calls, without having failed since it last could.
    pub(super) fn is_hopeful(&self) -> bool {
        match self.is_connected() {
            // It may have become ready since a snapshot was taken.
            true => !self.watches_health || self.health().health != Health::NotServing,
            false => self.transport.subchannel.failure().is_none(),
        }
    }

    /// Why it takes no calls, and since when.
    pub(super) fn trouble(&self) -> (String, Option<Instant>) {
        if let Some((error, at)) = self.transport.subchannel.failure() {
            return (error.chain(), Some(at));
        }
        if !self.is_connected() {
            return ("not connected yet".to_owned(), None);
        }
        let watched = self.watched();
        match watched.verdict.health {
            Health::NotServing => (watched.verdict.why.clone(), watched.since),
            _ => ("its health is not known yet".to_owned(), None),
        }
    }

    pub(super) fn stats(&self) -> EndpointStats {
        EndpointStats {
            endpoint: self.endpoint(),
            state: self.state(),
            health: self.health().health,
            is_ejected: self.breaker().is_ejected(),
            in_flight: self.load.in_flight(),
            counts: self.counters.read(),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.watched_by(None);
    }
}

impl Candidate for Member {
    fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    fn load(&self, now: Instant) -> f64 {
        self.load.value(now)
    }

    fn key(&self) -> u64 {
        self.key
    }
}
