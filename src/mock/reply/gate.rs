//! Replies that wait until the test lets them go.

use std::{fmt, panic::Location, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

/// The test's hand on the replies of a [`Reply::gate`](crate::Reply::gate). Dropping it opens the gate.
///
/// Calls pass in the order in which they came.
#[must_use = "dropping it opens the gate"]
pub struct Gate(Arc<Inner>);

/// The gate as a reply has it.
#[derive(Clone)]
pub(crate) struct Gated(Arc<Inner>);

struct Inner {
    passes: Semaphore,
    /// How many calls came to the gate so far.
    came: watch::Sender<usize>,
    /// How many of them went through, or were given up by their client.
    left: watch::Sender<usize>,
}

/// How long `arrived` waits before it gives up on the test.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn gate() -> (Gate, Gated) {
    let inner = Arc::new(Inner {
        passes: Semaphore::new(0),
        came: watch::Sender::new(0),
        left: watch::Sender::new(0),
    });
    (Gate(Arc::clone(&inner)), Gated(inner))
}

impl Gate {
    /// Lets `n` calls through: those that wait, then those that come.
    pub fn release(&self, n: usize) {
        // So many that they never end: the semaphore would panic.
        if n > Semaphore::MAX_PERMITS - self.0.passes.available_permits() {
            self.open();
        } else {
            self.0.passes.add_permits(n);
        }
    }

    /// Lets all calls through, also those that come later.
    pub fn open(&self) {
        self.0.passes.close();
    }

    /// How many calls wait at the gate.
    #[must_use]
    pub fn held(&self) -> usize {
        let left = *self.0.left.borrow();
        self.0.came.borrow().saturating_sub(left)
    }

    /// Waits until `n` calls came to the gate since it was made.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When they do not come within 10 s.
    #[track_caller]
    pub fn arrived(&self, n: usize) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        let mut came = self.0.came.subscribe();
        async move {
            let waited = timeout(PATIENCE, came.wait_for(|came| *came >= n)).await;
            let Ok(_) = waited else {
                let came = *self.0.came.borrow();
                panic!("waited {PATIENCE:?} at {place} for {n} calls at a gate, and {came} came");
            };
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Gated {
    /// Waits to be let through.
    pub(crate) async fn pass(&self) {
        self.0.came.send_modify(|came| *came += 1);
        let _leaving = Leaving(&self.0);
        // It fails when the gate is open.
        if let Ok(pass) = self.0.passes.acquire().await {
            pass.forget();
        }
    }
}

struct Leaving<'a>(&'a Inner);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.left.send_modify(|left| *left += 1);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({} held)", self.held())
    }
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gated")
    }
}
