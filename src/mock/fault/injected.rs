//! An injected fault in the test's hands.

use crate::mock::fault::placed::Placed;
use std::{fmt, ops::Deref, panic::Location, sync::Arc, time::Duration};
use tokio::time::timeout;

/// A fault that was injected into [a server](crate::MockServer::inject) or [a cluster](crate::MockCluster::inject): count its hits, wait for them, let go what it holds, take it away.
///
/// ```
/// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// server.mount(Stub::method("Get").reply(json!({"value": 1})));
/// let cut = server.inject(Fault::cut().method("Get").held());
/// let client = server.client().await;
/// let call = tokio::spawn(async move { client.call("Get", json!({})).await });
///
/// // The call is in flight, and stays so until it is cut.
/// cut.hit().await;
/// assert_eq!(cut.held(), 1);
/// cut.release(1);
///
/// let error = call.await.unwrap().unwrap_err();
/// assert_eq!(error.code(), Some(Code::Unavailable));
/// # }
/// ```
#[derive(Clone)]
pub struct InjectedFault {
    fault: Arc<Placed>,
    /// Takes it away from wherever it is.
    remove: Arc<dyn Fn(&Placed) + Send + Sync>,
    patience: Duration,
}

impl InjectedFault {
    pub(crate) fn new(
        fault: Arc<Placed>,
        patience: Duration,
        remove: impl Fn(&Placed) + Send + Sync + 'static,
    ) -> Self {
        Self {
            fault,
            remove: Arc::new(remove),
            patience,
        }
    }

    /// How many times it happened: to how many calls, or to how many connections. One that is held has happened when it comes
    /// up to the moment.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.fault.barrier.hits()
    }

    /// Waits for the first hit that this method has not returned for yet.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When none comes in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)).
    #[track_caller]
    pub fn hit(&self) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            if timeout(self.patience, self.fault.barrier.next_hit())
                .await
                .is_err()
            {
                self.give_up("another hit", place);
            }
        }
    }

    /// Waits until there were `n` hits or more.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When they do not come in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)).
    #[track_caller]
    pub fn wait_for_hits(&self, n: u64) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            if timeout(self.patience, self.fault.barrier.has_hits(n))
                .await
                .is_err()
            {
                let s = if n == 1 { "" } else { "s" };
                self.give_up(&format!("{n} hit{s}"), place);
            }
        }
    }

    fn give_up(&self, what: &str, place: &Location<'_>) -> ! {
        let (patience, label, hits) = (self.patience, &self.fault.label, self.hits());
        panic!("waited {patience:?} at {place} for {what} of {label}, and {hits} came");
    }

    /// How many calls or connections it has its hand on now. It is zero again when they have ended, or it was taken away and
    /// they have noticed.
    #[must_use]
    pub fn active(&self) -> u64 {
        self.fault.barrier.active()
    }

    /// How many are [held](crate::Fault::held) now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.fault.barrier.gate().held()
    }

    /// Lets `n` go on into the fault: those that are held, then those that come.
    pub fn release(&self, n: usize) {
        self.fault.barrier.gate().release(n);
    }

    /// Lets all go on into the fault, also those that come later.
    pub fn open(&self) {
        self.fault.barrier.gate().open();
    }

    /// Takes it away. What is held, delayed or withheld by it goes on as if it had not been; what it has broken stays broken. What
    /// it [expects](crate::Fault::times) is not verified any more.
    pub fn remove(&self) {
        self.fault.barrier.remove();
        (self.remove)(&self.fault);
    }
}

impl fmt::Debug for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.hits() == 1 { "" } else { "s" };
        write!(
            f,
            "InjectedFault({}, {} hit{s})",
            self.fault.label,
            self.hits()
        )
    }
}

/// A fault that was injected for a while, by [`inject_scoped`](crate::MockServer::inject_scoped): dropping this takes it away
/// and verifies [its count](crate::Fault::times).
#[derive(Debug)]
#[must_use = "the fault is taken away when this is dropped: bind it to a name, not to `_`"]
pub struct ScopedFault(pub(crate) InjectedFault);

impl Deref for ScopedFault {
    type Target = InjectedFault;

    fn deref(&self) -> &InjectedFault {
        &self.0
    }
}

impl Drop for ScopedFault {
    /// # Panics
    ///
    /// When the fault did not happen as many times as it is expected to, unless the thread is panicking already.
    fn drop(&mut self) {
        self.remove();
        if let Some(unmet) = self.fault.unmet().filter(|_| !std::thread::panicking()) {
            panic!("{unmet}");
        }
    }
}
