//! A mounted stub in the test's hands.

use crate::mock::journal::{Call, Journal};
use crate::mock::mounted::Mounted;
use crate::mock::registry::Registry;
use std::{fmt, ops::Deref, panic::Location, sync::Arc, thread, time::Duration};

/// A stub that was [mounted](crate::MockServer::mount), on one server or on [all of a cluster](crate::MockCluster::mount): count its calls, read them, wait for them, take it away.
///
/// ```
/// # use rpcplugin_testkit::{MockServer, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// let get = server.mount(Stub::method("Get").reply(json!({"value": 1})).times(1..));
/// let client = server.client().await;
/// tokio::spawn(async move { client.call("Get", json!({"key": "a"})).await });
///
/// get.satisfied().await;
/// assert_eq!(get.calls()[0].request()["key"], "a");
/// get.unmount();
/// # }
/// ```
#[derive(Clone)]
pub struct MountedStub {
    stub: Arc<Mounted>,
    /// Everywhere that it is mounted.
    registries: Arc<[Arc<Registry>]>,
    journal: Journal,
    patience: Duration,
}

impl MountedStub {
    pub(super) fn new(
        stub: Arc<Mounted>,
        registries: impl IntoIterator<Item = Arc<Registry>>,
        journal: Journal,
        patience: Duration,
    ) -> Self {
        Self {
            stub,
            registries: registries.into_iter().collect(),
            journal,
            patience,
        }
    }

    /// The calls that it served, in the order of arrival, as far as the journal has room for them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = self.journal.calls();
        calls.retain(|call| call.server_id() == Some(self.stub.server.id));
        calls
    }

    /// How many calls it served.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.stub.served()
    }

    /// Waits until it has had [as many calls as it expects](crate::Stub::times) at least; without an expectation, one.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When they do not come in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists
    /// those that did.
    #[track_caller]
    pub fn satisfied(&self) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            let times = self.stub.times.unwrap_or_else(|| (1..).into());
            let enough = || times.has_enough(self.count()).then_some(());
            let satisfied = self.journal.waited(self.patience, enough).await;
            satisfied.unwrap_or_else(|listing| {
                let (label, patience, got) = (self.stub.label(), self.patience, self.count());
                panic!(
                    "waited {patience:?} at {place} for {times} to {label}, and {got} came{listing}"
                );
            });
        }
    }

    /// Takes the stub away. What it expects is not verified any more.
    pub fn unmount(&self) {
        for registry in &*self.registries {
            registry.unmount(&self.stub);
        }
    }
}

impl fmt::Debug for MountedStub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MountedStub({}, {} calls)",
            self.stub.label(),
            self.count()
        )
    }
}

/// A stub that was mounted for a while, by [`mount_scoped`](crate::MockServer::mount_scoped): dropping this takes it away
/// and verifies its count.
#[derive(Debug)]
#[must_use = "the stub is taken away when this is dropped: bind it to a name, not to `_`"]
pub struct ScopedStub(pub(super) MountedStub);

impl Deref for ScopedStub {
    type Target = MountedStub;

    fn deref(&self) -> &MountedStub {
        &self.0
    }
}

impl Drop for ScopedStub {
    /// # Panics
    ///
    /// When the stub did not get the calls that it expects, unless the thread is panicking already.
    fn drop(&mut self) {
        self.unmount();
        if let Some(unmet) = self.stub.unmet().filter(|_| !thread::panicking()) {
            panic!("{unmet}{}", self.journal.listing());
        }
    }
}
