//! What goes wrong with an agent.

use std::{
    ops::Deref,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// What goes wrong with the requests to a [`MockConsul`](crate::MockConsul), for
/// [`inject`](crate::MockConsul::inject).
///
/// ```
/// use rpcplugin_testkit::{Consul, MockConsul, mock::ConsulFault};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let registry = MockConsul::start().await;
/// registry.inject(ConsulFault::status(500, "No cluster leader").times(1));
///
/// let service = registry.agent().service("kv");
/// let error = service.endpoints().await.unwrap_err();
/// assert!(error.to_string().ends_with("with 500: No cluster leader"));
/// assert!(service.endpoints().await.unwrap().is_empty());
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until it is injected"]
pub struct ConsulFault {
    pub(super) effect: Effect,
    path: Option<String>,
    times: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The connection breaks in the middle of the answer.
    Cut,
    /// An answer of success that says there is nothing.
    Empty,
    Garbage(String),
    /// The answer has this index.
    Index(u64),
    Slow(Duration),
    Stall,
    Status(u16, String),
}

impl ConsulFault {
    fn new(effect: Effect) -> Self {
        Self {
            effect,
            path: None,
            times: None,
        }
    }

    /// Answers with this status and this body.
    pub fn status(code: u16, body: impl Into<String>) -> Self {
        Self::new(Effect::Status(code, body.into()))
    }

    /// Accepts, and says nothing until the fault is removed.
    pub fn stall() -> Self {
        Self::new(Effect::Stall)
    }

    /// Answers so much later.
    pub fn slow(delay: Duration) -> Self {
        Self::new(Effect::Slow(delay))
    }

    /// Says that there are no instances.
    pub fn empty() -> Self {
        Self::new(Effect::Empty)
    }

    /// Answers with something else than JSON.
    pub fn garbage(text: impl Into<String>) -> Self {
        Self::new(Effect::Garbage(text.into()))
    }

    /// Tells this index with the answer, whatever it is: 0, or one that goes backwards.
    pub fn index(index: u64) -> Self {
        Self::new(Effect::Index(index))
    }

    /// Breaks the connection in the middle of the answer.
    pub fn cut() -> Self {
        Self::new(Effect::Cut)
    }

    /// Only for paths that begin like this, such as `/v1/health`.
    pub fn path(mut self, prefix: impl Into<String>) -> Self {
        self.path = Some(prefix.into());
        self
    }

    /// So many times, and no more.
    pub fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }
}

/// A fault in its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) fault: ConsulFault,
    hits: watch::Sender<u64>,
    left: AtomicU64,
    removed: watch::Sender<bool>,
}

impl Placed {
    pub(super) fn new(fault: ConsulFault) -> Self {
        Self {
            left: AtomicU64::new(fault.times.unwrap_or(u64::MAX)),
            fault,
            hits: watch::Sender::new(0),
            removed: watch::Sender::new(false),
        }
    }

    /// Whether it strikes a request to this path, which takes one of its times.
    pub(super) fn strikes(&self, path: &str) -> bool {
        let is_meant = self
            .fault
            .path
            .as_ref()
            .is_none_or(|prefix| path.starts_with(prefix));
        if !is_meant || self.is_removed() {
            return false;
        }
        let take = |left: u64| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        if taken.is_ok() {
            self.hits.send_modify(|hits| *hits += 1);
        }
        taken.is_ok()
    }

    pub(super) fn is_removed(&self) -> bool {
        *self.removed.borrow()
    }

    /// Waits until it is taken away.
    pub(super) async fn removed(&self) {
        let mut removed = self.removed.subscribe();
        // Its sender is here.
        let _ = removed.wait_for(|removed| *removed).await;
    }
}

/// A fault of a [`MockConsul`](crate::MockConsul) in the test's hands.
#[derive(Clone, Debug)]
pub struct InjectedConsulFault(pub(super) Arc<Placed>);

/// How long a test waits for something that does not come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

impl InjectedConsulFault {
    /// How many requests it struck.
    #[must_use]
    pub fn hits(&self) -> u64 {
        *self.0.hits.borrow()
    }

    /// Waits until it struck `n` requests or more.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When it does not within 10 s.
    #[track_caller]
    pub fn wait_for_hits(&self, n: u64) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            let mut hits = self.0.hits.subscribe();
            let waited = timeout(PATIENCE, hits.wait_for(|hits| *hits >= n)).await;
            if waited.is_err() {
                let (hits, fault) = (self.hits(), &self.0.fault.effect);
                panic!("{fault:?} struck {hits} requests of {n} within {PATIENCE:?} at {place}");
            }
        }
    }

    /// Takes it away. What it held up goes on.
    pub fn remove(&self) {
        self.0.removed.send_replace(true);
    }
}

/// A fault that is taken away when this is dropped.
#[derive(Debug)]
#[must_use = "the fault is taken away when it is dropped: bind it to a name, not to `_`"]
pub struct ScopedConsulFault(pub(super) InjectedConsulFault);

impl Deref for ScopedConsulFault {
    type Target = InjectedConsulFault;

    fn deref(&self) -> &InjectedConsulFault {
        &self.0
    }
}

impl Drop for ScopedConsulFault {
    fn drop(&mut self) {
        self.0.remove();
    }
}
