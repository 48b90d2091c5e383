//! What all records of one journal share.

use crate::mock::journal::redact::Redaction;
use crate::mock::journal::store::Log;
use std::sync::{
    Weak,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// The news, the size and the secrets of a journal. Its records hold it, and it does not hold them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Told of every new call and of everything that happens to one.
    pub(crate) news: Notify,
    pub(crate) redaction: Redaction,
    /// About how many bytes the kept calls take.
    bytes: AtomicUsize,
    limit: usize,
    log: Weak<Log>,
}

impl Shared {
    pub(super) fn new(limit: usize, redaction: Redaction, log: Weak<Log>) -> Self {
        Self {
            news: Notify::new(),
            redaction,
            bytes: AtomicUsize::new(0),
            limit,
            log,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.limit
    }

    /// Counts bytes of a call. What is over the limit costs the oldest calls their place. No lock may be held.
    pub(super) fn grow(&self, bytes: usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit
            && let Some(log) = self.log.upgrade()
        {
            log.evict();
        }
    }

    pub(super) fn shrink(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
