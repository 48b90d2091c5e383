//! Where faults are counted, awaited, held and taken away.

use crate::mock::reply::{Gate, Gated, gate};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// One fault's counts, and where it waits.
#[derive(Debug)]
pub(crate) struct Barrier {
    /// How many times it happened.
    hits: watch::Sender<u64>,
    /// How many of those were awaited.
    awaited: AtomicU64,
    /// How many calls or connections it has its hand on.
    active: AtomicU64,
    removed: watch::Sender<bool>,
    gate: Gate,
    gated: Gated,
}

impl Barrier {
    pub(super) fn new() -> Self {
        let (gate, gated) = gate();
        Self {
            hits: watch::Sender::new(0),
            awaited: AtomicU64::new(0),
            active: AtomicU64::new(0),
            removed: watch::Sender::new(false),
            gate,
            gated,
        }
    }

    pub(super) fn hit(&self) {
        self.active.fetch_add(1, Ordering::AcqRel);
        self.hits.send_modify(|hits| *hits += 1);
    }

    pub(super) fn let_go(&self) {
        self.active.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn hits(&self) -> u64 {
        *self.hits.borrow()
    }

    pub(super) fn active(&self) -> u64 {
        self.active.load(Ordering::Acquire)
    }

    /// Waits for the first hit that this has not told of.
    pub(super) async fn next_hit(&self) {
        let awaited = |awaited| (self.hits() > awaited).then_some(awaited + 1);
        let mut hits = self.hits.subscribe();
        while self
            .awaited
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, awaited)
            .is_err()
        {
            // The sender is ours.
            let _ = hits.changed().await;
        }
    }

    pub(super) async fn has_hits(&self, n: u64) {
        let mut hits = self.hits.subscribe();
        // The sender is ours.
        let _ = hits.wait_for(|hits| *hits >= n).await;
    }

    /// The hand that lets go what is held.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Waits until it is released, or taken away.
    pub(crate) async fn hold(&self) {
        self.gated.pass().await;
    }

    /// It is taken away for good: what waits for it goes on.
    pub(crate) fn remove(&self) {
        self.removed.send_replace(true);
        self.gate.open();
    }

    pub(crate) fn is_removed(&self) -> bool {
        *self.removed.borrow()
    }

    /// Waits until it is taken away.
    pub(crate) async fn removed(&self) {
        let mut removed = self.removed.subscribe();
        // The sender is ours.
        let _ = removed.wait_for(|removed| *removed).await;
    }
}
