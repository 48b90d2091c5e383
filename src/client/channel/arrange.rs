//! Endpoints become ready or not.

use crate::client::balance::Candidate as _;
use crate::client::channel::set::{Channel, Set};
use crate::client::channel::snapshot::Snapshot;
use crate::client::connection::Report;
use crate::client::events::ClientEvent;
use crate::client::telemetry::{self, ConnectionEvent};
use std::sync::{Arc, PoisonError, atomic::Ordering};

impl Channel {
    /// What became of the connection of a member.
    pub(super) fn reported(self: &Arc<Self>, key: u64, report: Report) {
        let member = self
            .set()
            .members
            .iter()
            .find(|member| member.key() == key)
            .cloned();
        let Some(member) = member else {
            return;
        };
        let address = || member.endpoint.address.clone();
        match report {
            Report::Connected => {
                member.counters.connected();
                telemetry::connection(member.transport.target(), ConnectionEvent::Connected);
                self.events.tell(ClientEvent::Connected(address()));
                self.watch_health(&member);
            }
            Report::DialFailed { error, next } => {
                member.counters.dial_failed();
                telemetry::connection(member.transport.target(), ConnectionEvent::DialFailed);
                self.refresh.ask();
                self.events.tell(ClientEvent::DialFailed {
                    address: address(),
                    error,
                    next,
                });
            }
            Report::Lost { why, kind } => {
                member.counters.lost();
                telemetry::connection(member.transport.target(), ConnectionEvent::Lost(&kind));
                self.unwatch_health(&member);
                self.refresh.ask();
                self.events.tell(ClientEvent::Lost {
                    address: address(),
                    why,
                });
            }
            Report::State if self.is_left_to_others() => return,
            Report::State => {}
        }
        self.arrange();
    }

    /// Looks at all members anew, for the calls that come.
    pub(super) fn arrange(&self) {
        self.change(|_| Some(()));
    }

    /// Changes something that calls are chosen by, with what they were chosen by so far, while nobody else does. `None`,
    /// when nothing is changed by it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&Snapshot) -> Option<T>) -> Option<T> {
        let set = self.set();
        let changed = change(&self.snapshot())?;
        self.renew(&set);
        drop(set);
        self.connect();
        Some(changed)
    }

    /// Makes the snapshot anew.
    fn renew(&self, set: &Set) {
        let watches_health = self.config.health.is_some();
        let snapshot = match set.is_closed {
            true => Snapshot::closed(&self.balance),
            false => {
                let snapshot = Snapshot::of(&set.members, &self.balance, watches_health);
                snapshot.by(set.found.clone())
            }
        };
        let state = snapshot.state();
        let mut kept = self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *kept, Arc::new(snapshot));
        drop(kept);
        // It may have the last members that were taken out.
        drop(before);
        self.state
            .send_if_modified(|before| std::mem::replace(before, state) != state);
        self.version.send_modify(|version| *version += 1);
    }

    /// Connects those members that ought to be. Each of them reports at once, which leads back here: then whoever is at it
    /// goes on with what has changed, so that a thousand members are not a thousand calls deep.
    fn connect(&self) {
        if self.connecting.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let watches_health = self.config.health.is_some();
        loop {
            let seen = self.connecting.load(Ordering::Acquire);
            let snapshot = self.snapshot();
            for member in snapshot.wanted(self.balance.strategy(), watches_health) {
                member.transport.subchannel.keep_connected();
            }
            let done =
                self.connecting
                    .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire);
            if done.is_ok() {
                return;
            }
            self.renew(&self.set());
        }
    }

    /// Leaves what has changed to whoever connects members now, if somebody does.
    fn is_left_to_others(&self) -> bool {
        let add = |count| (count > 0).then(|| count + 1);
        self.connecting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .is_ok()
    }
}
