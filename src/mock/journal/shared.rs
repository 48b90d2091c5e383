//! What all records of one journal share.

use crate::mock::journal::messages::Pages;
use crate::mock::journal::redact::Redaction;
use crate::mock::journal::store::Log;
use std::sync::{
    Arc, Weak,
    atomic::{AtomicI64, Ordering},
};
use tokio::sync::Notify;

/// The news, the size and the secrets of a journal. Its records hold it, and it does not hold them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Told of every new call and of everything that happens to one. The servers of a cluster tell theirs together.
    pub(crate) news: Arc<Notify>,
    pub(crate) redaction: Redaction,
    /// About how many bytes the kept calls take. A call that goes while it grows makes it too small for a moment, even
    /// negative.
    bytes: AtomicI64,
    limit: usize,
    pub(super) pages: Pages,
    log: Weak<Log>,
}

impl Shared {
    pub(super) fn new(
        limit: usize,
        redaction: Redaction,
        news: Arc<Notify>,
        log: Weak<Log>,
    ) -> Self {
        Self {
            news,
            redaction,
            bytes: AtomicI64::new(0),
            limit,
            pages: Pages::default(),
            log,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn is_over(&self) -> bool {
        usize::try_from(self.bytes.load(Ordering::Relaxed)).is_ok_and(|bytes| bytes > self.limit)
    }

    /// Counts bytes of a call. What is over the limit costs the oldest calls their place. No lock may be held.
    pub(super) fn grow(&self, bytes: usize) {
        self.bytes.fetch_add(signed(bytes), Ordering::Relaxed);
        if self.is_over()
            && let Some(log) = self.log.upgrade()
        {
            log.evict();
        }
    }

    pub(super) fn shrink(&self, bytes: usize) {
        self.bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
