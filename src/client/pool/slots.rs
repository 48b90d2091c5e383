//! Which connections there are, who has them, and which is dialled next.

use crate::client::pool::pace::Pace;
use crate::client::pool::stats::{ClosedConnections, PoolStats, Reason};
use std::time::Duration;
use tokio::time::Instant;

/// How many, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections that are kept.
    pub(super) size: usize,
    /// Connections that there may be.
    pub(super) max: usize,
    /// Leases on one connection.
    pub(super) leases: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
}

/// The connections of a pool, the oldest first. What a connection is (`M`) it does not know.
#[derive(Debug)]
pub(super) struct Slots<M> {
    limits: Limits,
    pace: Pace,
    slots: Vec<Slot<M>>,
    next_id: u64,
    created: u64,
    closed: ClosedConnections,
}

#[derive(Debug)]
struct Slot<M> {
    id: u64,
    member: M,
    phase: Phase,
    leases: usize,
    /// Whether anybody had this connection.
    used: bool,
    /// When it was dialled, and in which round of the pace.
    dialled: Instant,
    round: u64,
    idle_since: Instant,
    ends_at: Option<Instant>,
}

/// ```text
///   Dialling ──▶ Ready ──▶ Retiring ──▶ (gone with its last lease)
///      ▲ │         │
///      │ ▼         ▼
///      └ Lost (stays for its leases, else gone at once)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dialling,
    Lost,
    Ready,
    /// With what is to be counted when it goes.
    Retiring(Option<Reason>),
}

/// What is to be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The connection of that number, which was lost and still has leases.
    Again(u64),
    /// One more.
    New,
    /// Something, but not before.
    NotBefore(Instant),
    Nothing,
}

impl<M> Slots<M> {
    pub(super) fn new(limits: Limits, pace: Pace) -> Self {
        Self {
            limits,
            pace,
            slots: Vec::new(),
            next_id: 0,
            created: 0,
            closed: ClosedConnections::default(),
        }
    }

    /// A place on the oldest connection that has one; `places` tells how many leases it may have, 0 for one that is of no use.
    pub(super) fn grant(&mut self, places: impl Fn(&M) -> usize) -> Option<(u64, &M)> {
        let most = self.limits.leases;
        // Asking a connection comes last: it takes locks.
        let has_place = |slot: &&mut Slot<M>| {
            slot.is_ready() && slot.leases < most && slot.leases < places(&slot.member)
        };
        let slot = self.slots.iter_mut().find(has_place)?;
        slot.leases += 1;
        slot.used = true;
        self.pace.used();
        Some((slot.id, &slot.member))
    }

    /// A lease is over. What comes back is to be closed.
    pub(super) fn give_back(&mut self, id: u64, now: Instant) -> Option<M> {
        let at = self.position(id)?;
        let slot = &mut self.slots[at];
        slot.leases = slot.leases.saturating_sub(1);
        slot.idle_since = now;
        self.remove_if_over(at)
    }

    /// What to dial. One dial at a time: for those who wait, whom no connection has a place for, and up to `size`.
    pub(super) fn wanted(&self, somebody_waits: bool, now: Instant) -> Wanted {
        let is_dialling = self.slots.iter().any(|slot| slot.phase == Phase::Dialling);
        if is_dialling || !(somebody_waits || self.ready() < self.limits.size) {
            return Wanted::Nothing;
        }
        let lost = self.slots.iter().find(|slot| slot.phase == Phase::Lost);
        let wanted = match lost {
            Some(slot) => Wanted::Again(slot.id),
            None if self.slots.len() < self.limits.max => Wanted::New,
            None => return Wanted::Nothing,
        };
        self.pace.wait(now).map_or(wanted, Wanted::NotBefore)
    }

    /// Whether nobody can be served before the next dial, which has to wait.
    pub(super) fn is_hopeless(&self, now: Instant) -> bool {
        let useful = |slot: &Slot<M>| matches!(slot.phase, Phase::Dialling | Phase::Ready);
        self.pace.wait(now).is_some() && !self.slots.iter().any(useful)
    }

    /// A dial of one more begins.
    pub(super) fn dial(&mut self, member: M, now: Instant) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.slots.push(Slot {
            id,
            member,
            phase: Phase::Dialling,
            leases: 0,
            used: false,
            dialled: now,
            round: 0,
            idle_since: now,
            ends_at: None,
        });
        id
    }

    /// A dial of one that was lost begins.
    pub(super) fn dial_again(&mut self, id: u64, now: Instant) -> Option<&M> {
        let slot = self.slots.iter_mut().find(|slot| slot.id == id)?;
        slot.phase = Phase::Dialling;
        slot.dialled = now;
        Some(&slot.member)
    }

    /// No dial of one more could even begin.
    pub(super) fn cannot_dial(&mut self, now: Instant, dice: f64) {
        self.pace.failed(now, dice);
    }

    /// The dial made a connection.
    pub(super) fn connected(&mut self, id: u64, now: Instant, dice: f64) {
        let Some(at) = self.position(id) else {
            return;
        };
        let lifetime = self.limits.max_lifetime;
        let slot = &mut self.slots[at];
        if slot.phase != Phase::Dialling {
            return;
        }
        let round = self.pace.connected();
        slot.phase = Phase::Ready;
        slot.used = slot.leases > 0;
        slot.round = round;
        slot.idle_since = now;
        slot.ends_at = lifetime.and_then(|lifetime| now.checked_add(jittered(lifetime, dice)));
        self.created += 1;
    }

    /// The dial failed. What comes back is to be closed. `None`, when nobody waits for this dial any more.
    pub(super) fn unconnected(&mut self, id: u64, dice: f64) -> Option<Option<M>> {
        let at = self.position(id)?;
        let slot = &mut self.slots[at];
        if slot.phase != Phase::Dialling {
            return None;
        }
        self.pace.failed(slot.dialled, dice);
        slot.phase = Phase::Lost;
        Some(self.remove_if_over(at))
    }

    /// A connection is ready or not, by itself.
    pub(super) fn observe(&mut self, id: u64, ready: bool, now: Instant, dice: f64) -> Observed<M> {
        let Some(at) = self.position(id) else {
            return Observed::Gone;
        };
        match (self.slots[at].phase, ready) {
            (Phase::Ready, false) => {
                let slot = &mut self.slots[at];
                slot.phase = Phase::Lost;
                let in_vain = !slot.used && self.pace.in_vain(slot.round, slot.dialled, dice);
                self.closed.count(Reason::Lost);
                Observed::Lost {
                    in_vain,
                    close: self.remove_if_over(at),
                }
            }
            (Phase::Lost, true) => {
                // Who has a lease on it has called, and so it was dialled.
                self.slots[at].phase = Phase::Dialling;
                self.connected(id, now, dice);
                Observed::Nothing
            }
            _ => Observed::Nothing,
        }
    }

    /// Retires what is over by now. What comes back is to be closed.
    pub(super) fn retire_due(&mut self, now: Instant) -> Vec<M> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut due = Vec::new();
        for at in (0..self.slots.len()).rev() {
            let slot = &self.slots[at];
            let reason = if slot.is_ready() && is_due(slot.ends_at) {
                Reason::Lifetime
            } else if self.ready() > self.limits.size && is_due(self.idle_until(slot)) {
                Reason::Idle
            } else {
                continue;
            };
            due.extend(self.retire(at, reason));
        }
        due
    }

    /// When something is over next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let surplus = self.limits.max > self.limits.size && self.ready() > self.limits.size;
        if !surplus && self.limits.max_lifetime.is_none() {
            return None;
        }
        let ready = self.slots.iter().filter(|slot| slot.is_ready());
        let due = |slot: &Slot<M>| {
            let idle_until = self.idle_until(slot).filter(|_| surplus);
            [slot.ends_at, idle_until].into_iter().flatten().min()
        };
        ready.filter_map(due).min()
    }

    /// Retires everything. What comes back is to be closed.
    pub(super) fn retire_all(&mut self) -> Vec<M> {
        let all = (0..self.slots.len()).rev();
        all.filter_map(|at| self.retire(at, Reason::Closed))
            .collect()
    }

    /// Gives everything up that has leases still.
    pub(super) fn take_all(&mut self) -> Vec<M> {
        let slots = std::mem::take(&mut self.slots);
        let closed = &mut self.closed;
        let taken = slots.into_iter().map(|slot| {
            if let Phase::Retiring(Some(reason)) = slot.phase {
                closed.count(reason);
            }
            slot.member
        });
        taken.collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (u64, &M)> {
        self.slots.iter().map(|slot| (slot.id, &slot.member))
    }

    pub(super) fn member(&self, id: u64) -> Option<&M> {
        self.position(id).map(|at| &self.slots[at].member)
    }

    /// Everything but who waits.
    pub(super) fn stats(&self) -> PoolStats {
        let is_new = |slot: &&Slot<M>| slot.phase == Phase::Dialling && slot.leases == 0;
        let dialling = self.slots.iter().filter(is_new).count();
        let size = self.slots.len() - dialling;
        let in_use = self.slots.iter().filter(|slot| slot.leases > 0).count();
        PoolStats {
            size,
            max: self.limits.max,
            idle: size - in_use,
            in_use,
            leases: self.slots.iter().map(|slot| slot.leases).sum(),
            dialling,
            created: self.created,
            closed: self.closed,
            ..PoolStats::default()
        }
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.slots.binary_search_by_key(&id, |slot| slot.id).ok()
    }

    fn ready(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_ready()).count()
    }

    fn idle_until(&self, slot: &Slot<M>) -> Option<Instant> {
        let is_idle = slot.is_ready() && slot.leases == 0;
        let limit = self.limits.idle_timeout.filter(|_| is_idle)?;
        slot.idle_since.checked_add(limit)
    }

    /// No more leases on this one.
    fn retire(&mut self, at: usize, reason: Reason) -> Option<M> {
        let slot = &mut self.slots[at];
        slot.phase = match slot.phase {
            Phase::Ready => Phase::Retiring(Some(reason)),
            Phase::Retiring(reason) => Phase::Retiring(reason),
            // It is no connection, and was counted when it ceased to be one.
            Phase::Dialling | Phase::Lost => Phase::Retiring(None),
        };
        self.remove_if_over(at)
    }

    fn remove_if_over(&mut self, at: usize) -> Option<M> {
        let slot = &self.slots[at];
        match slot.phase {
            _ if slot.leases > 0 => return None,
            Phase::Dialling | Phase::Ready => return None,
            Phase::Lost | Phase::Retiring(None) => {}
            Phase::Retiring(Some(reason)) => self.closed.count(reason),
        }
        Some(self.slots.remove(at).member)
    }
}

impl<M> Slot<M> {
    fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }
}

/// What became of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Observed<M> {
    Gone,
    /// It was lost; `in_vain`, when that is as good as a failed dial.
    Lost {
        in_vain: bool,
        close: Option<M>,
    },
    Nothing,
}

/// That long, plus or minus a tenth: connections that were made together do not end together.
fn jittered(lifetime: Duration, dice: f64) -> Duration {
    let factor = 0.9 + 0.2 * dice.clamp(0.0, 1.0);
    Duration::try_from_secs_f64(lifetime.as_secs_f64() * factor).unwrap_or(lifetime)
}

#[cfg(test)]
mod tests;
