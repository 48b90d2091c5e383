//! All faults of a server, and which of them strike.

use crate::address::Address;
use crate::mock::fault::placed::{ConnectionKey, Placed, Strike};
use crate::mock::fault::plan::Plan;
use crate::mock::journal::Call;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// The faults that are injected into a server, in that order.
pub(crate) struct Faults {
    server: Arc<Address>,
    placed: Mutex<Arc<[Arc<Placed>]>>,
    /// Whether there are any, and any that calls decide about.
    any: AtomicBool,
    any_of_calls: AtomicBool,
}

impl Faults {
    pub(crate) fn new(server: Address) -> Self {
        Self {
            server: Arc::new(server),
            placed: Mutex::default(),
            any: AtomicBool::new(false),
            any_of_calls: AtomicBool::new(false),
        }
    }

    pub(crate) fn add(&self, fault: Arc<Placed>) {
        let mut placed = self.lock();
        let all = placed.iter().cloned().chain([fault]).collect();
        self.replace(&mut placed, all);
    }

    /// Whether it was there.
    pub(crate) fn remove(&self, id: u64) -> bool {
        let mut placed = self.lock();
        let before = placed.len();
        let rest = placed.iter().filter(|fault| fault.id != id).cloned();
        let rest = rest.collect();
        self.replace(&mut placed, rest);
        placed.len() < before
    }

    fn replace(&self, placed: &mut Arc<[Arc<Placed>]>, all: Arc<[Arc<Placed>]>) {
        let of_calls = all.iter().any(|fault| fault.is_about_calls());
        self.any.store(!all.is_empty(), Ordering::Release);
        self.any_of_calls.store(of_calls, Ordering::Release);
        *placed = all;
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<[Arc<Placed>]> {
        Arc::clone(&self.lock())
    }

    fn of_calls(&self) -> Option<Arc<[Arc<Placed>]>> {
        let any = self.any_of_calls.load(Ordering::Acquire);
        any.then(|| self.all())
    }

    /// Whether the messages of this call decide about a fault.
    pub(crate) fn need_messages(&self, call: &Call) -> bool {
        let faults = self.of_calls();
        faults.is_some_and(|faults| faults.iter().any(|fault| fault.needs_messages(call)))
    }

    /// What was expected of them and did not come: of the server's own, or of those that it shares with its cluster.
    pub(crate) fn unmet(&self, shared: bool) -> Vec<String> {
        let all = self.all();
        let judged = all.iter().filter(|fault| fault.shared == shared);
        judged.filter_map(|fault| fault.unmet()).collect()
    }

    /// A connection, told apart from those of other servers.
    pub(crate) fn key(&self, connection: u64) -> ConnectionKey {
        ConnectionKey {
            server: Arc::clone(&self.server),
            id: connection,
        }
    }

    /// What happens to a call. It runs the test's own matchers.
    pub(crate) fn plan(&self, call: &Call) -> Option<Box<Plan>> {
        let faults = self.of_calls()?;
        let connection = self.key(call.connection_id());
        let mut strikes = Vec::new();
        let mut broken = false;
        for fault in faults.iter() {
            if !fault.strikes_call(call, &connection) || (broken && fault.breaks_answers()) {
                continue;
            }
            if let Some(strike) = fault.take(connection.clone()) {
                broken |= fault.breaks_answers();
                strikes.push(strike);
            }
        }
        (!strikes.is_empty()).then(|| Box::new(Plan::new(strikes)))
    }

    /// What strikes a connection that has come, before any call decides.
    pub(crate) fn of_connection(&self, id: u64) -> Vec<Strike> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let all = self.all();
        let struck = all.iter().filter(|fault| fault.strikes_connection(id));
        struck
            .filter_map(|fault| fault.take(self.key(id)))
            .collect()
    }

    pub(crate) fn forget(&self, connection: u64) {
        if self.any.load(Ordering::Acquire) {
            let connection = self.key(connection);
            for fault in self.all().iter() {
                fault.forget(&connection);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<[Arc<Placed>]>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
