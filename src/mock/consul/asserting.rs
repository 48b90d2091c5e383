//! What goes wrong with an agent, and what it was asked, in the test's hands.

use crate::mock::consul::fault::{
    ConsulFault, InjectedConsulFault, PATIENCE, Placed, ScopedConsulFault,
};
use crate::mock::consul::request::ConsulRequest;
use crate::mock::consul::server::MockConsul;
use std::{panic::Location, sync::Arc};
use tokio::{sync::watch, time::timeout};

/// What goes wrong, and what it was asked.
impl MockConsul {
    /// Makes requests fail, from now on and until the fault is removed. Of several the last one strikes.
    pub fn inject(&self, fault: ConsulFault) -> InjectedConsulFault {
        let placed = Arc::new(Placed::new(fault));
        self.state.place(Arc::clone(&placed));
        InjectedConsulFault(placed)
    }

    /// [`inject`](Self::inject) until the guard is dropped.
    pub fn inject_scoped(&self, fault: ConsulFault) -> ScopedConsulFault {
        ScopedConsulFault(self.inject(fault))
    }

    /// What it was asked, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<ConsulRequest> {
        self.state.requests()
    }

    /// Waits until it was asked `n` times or more.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When it is not within 10 s; the text lists what came.
    #[track_caller]
    pub fn wait_for_requests(&self, n: usize) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            let is_there = |came: &u64| usize::try_from(*came).is_ok_and(|came| came >= n);
            if !within(&self.state.came, is_there).await {
                let came = self.requests();
                let lines: String = came.iter().map(|one| format!("\n  {one:?}")).collect();
                panic!(
                    "{} requests of {n} came within {PATIENCE:?} at {place}:{lines}",
                    came.len()
                );
            }
        }
    }

    /// How many blocking queries wait for a change now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        *self.state.waiting.borrow()
    }

    /// Waits until `n` blocking queries or more wait for a change.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When they do not within 10 s.
    #[track_caller]
    pub fn wait_for_waiting(&self, n: usize) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            if !within(&self.state.waiting, |waiting| *waiting >= n).await {
                let waiting = self.waiting();
                panic!("{waiting} queries of {n} waited within {PATIENCE:?} at {place}");
            }
        }
    }
}

async fn within<T>(value: &watch::Sender<T>, is_so: impl FnMut(&T) -> bool) -> bool {
    let mut value = value.subscribe();
    timeout(PATIENCE, value.wait_for(is_so)).await.is_ok()
}
