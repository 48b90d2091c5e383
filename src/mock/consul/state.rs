//! What an agent knows and has seen, shared by its connections and the test.

use crate::mock::consul::catalog::{Catalog, Check};
use crate::mock::consul::fault::Placed;
use crate::mock::consul::instance::ServiceInstance;
use crate::mock::consul::request::ConsulRequest;
use crate::mock::consul::tokens::Tokens;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

#[derive(Debug)]
pub(super) struct State {
    catalog: Mutex<Catalog>,
    tokens: Mutex<Tokens>,
    faults: Mutex<Vec<Arc<Placed>>>,
    requests: Mutex<Vec<ConsulRequest>>,
    /// Counts changes of the catalog.
    pub(super) changes: watch::Sender<u64>,
    /// Counts how often those that wait were woken without one.
    pub(super) wakes: watch::Sender<u64>,
    /// Counts requests.
    pub(super) came: watch::Sender<u64>,
    /// How many wait for a change.
    pub(super) waiting: watch::Sender<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            catalog: Mutex::new(Catalog::new()),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            changes: watch::Sender::new(0),
            wakes: watch::Sender::new(0),
            came: watch::Sender::new(0),
            waiting: watch::Sender::new(0),
        }
    }

    pub(super) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        lock(&self.catalog)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }

    /// Changes the catalog, and tells those that wait for it.
    pub(super) fn edit<T>(&self, edit: impl FnOnce(&mut Catalog) -> T) -> T {
        let edited = edit(&mut self.catalog());
        self.changes.send_modify(|changes| *changes += 1);
        edited
    }

    pub(super) fn place(&self, fault: Arc<Placed>) {
        lock(&self.faults).push(fault);
    }

    /// The fault that strikes a request to this path: the one that was injected last.
    pub(super) fn strike(&self, path: &str) -> Option<Arc<Placed>> {
        let faults = lock(&self.faults);
        faults
            .iter()
            .rev()
            .find(|fault| fault.strikes(path))
            .cloned()
    }

    pub(super) fn record(&self, request: ConsulRequest) {
        lock(&self.requests).push(request);
        self.came.send_modify(|came| *came += 1);
    }

    pub(super) fn requests(&self) -> Vec<ConsulRequest> {
        lock(&self.requests).clone()
    }

    /// Registers what a test has written down, with the one check that its status is of.
    pub(super) fn register(catalog: &mut Catalog, instance: ServiceInstance) {
        let check = Check {
            name: format!("Service '{}' check", instance.service),
            status: instance.status,
            output: String::new(),
            ttl: None,
            deregister_after: None,
            critical_since: None,
        };
        let checks = BTreeMap::from([(format!("service:{}", instance.id), check)]);
        catalog.register(instance, checks);
    }

    /// Lets checks run out when their time has come, for ever.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let due = self.catalog().due();
            let changed = async { drop(changes.changed().await) };
            match due {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(at) => {
                        let now = Instant::now();
                        self.edit(|catalog| catalog.pass(now));
                    }
                },
            }
        }
    }
}
