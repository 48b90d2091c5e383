//! One address: the dial, the connection, and its state.

use crate::address::Address;
use crate::client::config::ClientConfig;
use crate::client::dial;
use crate::client::link::Link;
use crate::client::secure::Tls;
use crate::error::{Error, Kind};
use crate::panics::caught_async;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

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

/// A connection to one address that is made when it is needed and made again when it is lost.
pub(crate) struct Subchannel {
    shared: Arc<Shared>,
}

struct Shared {
    config: ClientConfig,
    tls: Option<Tls>,
    inner: Mutex<Inner>,
    state: watch::Sender<ConnectionState>,
    /// Held by whoever is closing.
    closing: tokio::sync::Mutex<()>,
}

struct Inner {
    slot: Slot,
    next_id: u64,
    /// Failed dials in a row.
    failures: u32,
    /// Connections in a row that ended before they served a call.
    fruitless: u32,
    /// The connection that ended last, until it is judged.
    last: Option<Lost>,
    /// The dials and connections. Dropping it ends them all.
    tasks: JoinSet<()>,
}

/// A connection that ended.
struct Lost {
    link: Link,
    error: Option<h2::Error>,
}

enum Slot {
    /// By the dial of that number.
    Connecting(u64),
    Failed {
        error: Error,
        retry_at: Instant,
    },
    Idle,
    Ready(Link),
    Shutdown,
}

/// A stream's place among those that the peer takes, free again when it drops.
pub(crate) type Slotted = Option<OwnedSemaphorePermit>;

/// What a caller that wants a link does next.
enum Next {
    Fail(Error),
    Try(Link),
    Wait { until: Option<Instant> },
}

impl Subchannel {
    pub(crate) fn new(config: ClientConfig, tls: Option<Tls>) -> Self {
        let inner = Inner {
            slot: Slot::Idle,
            next_id: 0,
            failures: 0,
            fruitless: 0,
            last: None,
            tasks: JoinSet::new(),
        };
        let shared = Shared {
            config,
            tls,
            inner: Mutex::new(inner),
            state: watch::Sender::new(ConnectionState::Idle),
            closing: tokio::sync::Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.shared.config.address
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.shared.tls.as_ref()
    }

    pub(crate) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.subscribe()
    }

    /// A link to a connection and a place on it, dialling when there is none. While the last dial's backoff runs it
    /// fails with that dial's error, or waits when asked to.
    ///
    /// Cancel safe: the dial goes on in its own task, for the next caller.
    pub(crate) async fn ready(&self, wait_for_ready: bool) -> Result<(Link, Slotted), Error> {
        let mut state = self.shared.state.subscribe();
        let mut waited = false;
        loop {
            state.borrow_and_update();
            match self.shared.next(wait_for_ready, waited) {
                Next::Fail(error) => return Err(error),
                Next::Try(mut link) => {
                    let Ok(slot) = link.slot().await else {
                        continue;
                    };
                    match link.requests.clone().ready().await {
                        Ok(requests) => {
                            link.requests = requests;
                            return Ok((link, slot));
                        }
                        // It went away, or is going: nothing was sent, so another connection will do.
                        Err(error) => self.lost(&link, error),
                    }
                }
                Next::Wait { until: None } => {
                    waited = true;
                    drop(state.changed().await);
                }
                Next::Wait {
                    until: Some(instant),
                } => drop(timeout_at(instant, state.changed()).await),
            }
        }
    }

    /// Gives up a link whose connection takes no more streams.
    pub(crate) fn lost(&self, link: &Link, error: h2::Error) {
        self.shared.lost(link.id, Some(error));
    }

    /// Takes no more calls, and returns when those in flight have ended; after the grace they are cut. A second call waits
    /// for the first. Dropping the future cuts them at once.
    pub(crate) async fn close(&self, grace: Duration) {
        let _closing = self.shared.closing.lock().await;
        let mut tasks = {
            let mut inner = self.shared.lock();
            if let Slot::Ready(link) = &inner.slot {
                link.close();
            }
            // Without a handle to send requests, `h2` closes the connection after its last stream.
            inner.slot = Slot::Shutdown;
            self.shared.state.send_replace(ConnectionState::Shutdown);
            std::mem::take(&mut inner.tasks)
        };
        let all = async { while tasks.join_next().await.is_some() {} };
        // What is left after the grace is aborted when `tasks` drops.
        let _ = timeout(grace, all).await;
    }
}

impl fmt::Debug for Subchannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = *self.shared.state.borrow();
        write!(f, "Subchannel({}, {state:?})", self.address())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a caller does. One that has `waited` for a dial has its answer by that, however long ago the dial began.
    fn next(self: &Arc<Self>, wait_for_ready: bool, waited: bool) -> Next {
        let mut inner = self.lock();
        self.judge_last(&mut inner);
        match &inner.slot {
            Slot::Connecting(_) => Next::Wait { until: None },
            Slot::Failed { error, .. } if waited && !wait_for_ready => Next::Fail(error.clone()),
            Slot::Failed { error, retry_at } if *retry_at > Instant::now() => {
                if wait_for_ready {
                    Next::Wait {
                        until: Some(*retry_at),
                    }
                } else {
                    Next::Fail(error.clone())
                }
            }
            Slot::Failed { .. } | Slot::Idle => {
                self.start(&mut inner);
                Next::Wait { until: None }
            }
            Slot::Ready(link) => Next::Try(link.clone()),
            Slot::Shutdown => Next::Fail(closed(&self.config.address)),
        }
    }

    /// Dials in a task of its own. The task holds no strong reference while it carries the connection, so that dropping
    /// the last client ends it.
    fn start(self: &Arc<Self>, inner: &mut Inner) {
        inner.next_id += 1;
        let id = inner.next_id;
        self.set(inner, Slot::Connecting(id));
        while inner.tasks.try_join_next().is_some() {}
        inner
            .tasks
            .spawn(carry(Arc::downgrade(self), self.config.clone(), id));
    }

    fn set(&self, inner: &mut Inner, slot: Slot) {
        let state = match slot {
            Slot::Connecting(_) => ConnectionState::Connecting,
            Slot::Failed { .. } => ConnectionState::TransientFailure,
            Slot::Idle => ConnectionState::Idle,
            Slot::Ready(_) => ConnectionState::Ready,
            Slot::Shutdown => ConnectionState::Shutdown,
        };
        inner.slot = slot;
        self.state.send_replace(state);
    }

    fn connected(&self, link: Link) {
        let mut inner = self.lock();
        if matches!(inner.slot, Slot::Connecting(id) if id == link.id) {
            tracing::debug!(address = %self.config.address, "connected");
            // The settings have arrived, which is what resets the backoff, unless the last connections were in vain.
            inner.failures = inner.fruitless.saturating_sub(1);
            self.set(&mut inner, Slot::Ready(link));
        }
    }

    /// The dial `id` made no connection.
    fn refused(&self, id: u64, error: Error, dialled: Instant) {
        let mut inner = self.lock();
        if matches!(inner.slot, Slot::Connecting(dial) if dial == id) {
            self.failed(&mut inner, error, dialled);
        }
    }

    fn failed(&self, inner: &mut Inner, error: Error, dialled: Instant) {
        inner.failures = inner.failures.saturating_add(1);
        let delay = self.config.backoff.delay(inner.failures, fastrand::f64());
        tracing::warn!(address = %self.config.address, %error, ?delay, "no connection");
        // A wait beyond the clock's end is one of a month.
        let month = Duration::from_secs(30 * 24 * 3600);
        let retry_at = dialled
            .checked_add(delay)
            .unwrap_or_else(|| dialled + month);
        self.set(inner, Slot::Failed { error, retry_at });
    }

    /// The connection `id` takes no more streams.
    fn lost(&self, id: u64, error: Option<h2::Error>) {
        let mut inner = self.lock();
        let Slot::Ready(link) = &inner.slot else {
            return;
        };
        if link.id != id {
            return;
        }
        tracing::debug!(address = %self.config.address, ?error, "connection lost");
        link.close();
        inner.last = Some(Lost {
            link: link.clone(),
            error,
        });
        self.set(&mut inner, Slot::Idle);
    }

    /// Judges the last connection when the next is wanted; earlier, its calls may not have seen their replies yet. A
    /// server that takes connections and hangs up on all of them before a call is dialled as slowly as one that refuses
    /// them. One that dies with calls on it is not: each of them failed, and was one dial at the most.
    fn judge_last(&self, inner: &mut Inner) {
        let Some(last) = inner.last.take() else {
            return;
        };
        if last.link.has_served() {
            inner.fruitless = 0;
            return;
        }
        if last.link.is_used() {
            return;
        }
        inner.fruitless = inner.fruitless.saturating_add(1);
        if inner.fruitless >= 2 {
            let address = &self.config.address;
            let text = format!("{address} accepts connections and ends them before any call");
            let cause: Box<dyn std::error::Error + Send + Sync> = match last.error {
                Some(error) => error.into(),
                None => "it closed the connection".into(),
            };
            self.failed(
                inner,
                dial::connect_error(text).caused_by(cause),
                last.link.dialled,
            );
        }
    }
}

/// One dial, and the connection that it makes, to its end.
async fn carry(shared: Weak<Shared>, config: ClientConfig, id: u64) {
    let dialled = Instant::now();
    let dialling = Dialling {
        shared: &shared,
        id,
    };
    let Some((mut state, tls)) = shared.upgrade().map(|shared| {
        let tls = shared.tls.as_ref().map(Tls::for_dial);
        (shared.state.subscribe(), tls)
    }) else {
        return;
    };
    let established = tokio::select! {
        established = caught_async(dial::establish(&config, tls.as_deref())) => established,
        // Nobody waits for it any more.
        _ = state.wait_for(|state| *state == ConnectionState::Shutdown) => return,
    };
    let established = established.unwrap_or_else(|panic| {
        // It is a mistake of ours, and no reason to dial again at once.
        Err(dial::connect_error(format!(
            "the dial of {} panicked: {panic}",
            config.address
        )))
    });
    let connection = match (shared.upgrade(), established) {
        (None, _) => return,
        (Some(shared), Err(error)) => return shared.refused(id, error, dialled),
        (Some(shared), Ok((requests, connection))) => {
            shared.connected(Link::new(id, requests, dialled));
            connection
        }
    };
    drop(dialling);
    let ended = connection.await;
    if let Some(shared) = shared.upgrade() {
        shared.lost(id, ended.err());
    }
}

/// Undoes a dial that is dropped under way, as when its runtime ends: the next call dials again.
struct Dialling<'a> {
    shared: &'a Weak<Shared>,
    id: u64,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut inner = shared.lock();
            if matches!(inner.slot, Slot::Connecting(id) if id == self.id) {
                shared.set(&mut inner, Slot::Idle);
            }
        }
    }
}

pub(crate) fn closed(address: &Address) -> Error {
    Error::new(Kind::Closed, format!("the client of {address} is closed"))
}
