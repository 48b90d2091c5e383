//! Holding up all that a server reads and writes.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

/// What the streams and the listener of one server ask before they read, write or accept.
#[derive(Debug, Default)]
pub(crate) struct Freezer {
    frozen: AtomicBool,
    /// Who is held up.
    waiting: Mutex<Vec<Waker>>,
}

impl Freezer {
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
    }

    pub(crate) fn thaw(&self) {
        let mut waiting = self.lock();
        self.frozen.store(false, Ordering::Release);
        let waiting = std::mem::take(&mut *waiting);
        for waker in waiting {
            waker.wake();
        }
    }

    /// Whether to wait. Who has to is woken by the thaw.
    pub(crate) fn is_frozen(&self, cx: &Context<'_>) -> bool {
        if !self.frozen.load(Ordering::Acquire) {
            return false;
        }
        let mut waiting = self.lock();
        // It may have thawed meanwhile, which the lock tells for sure.
        let frozen = self.frozen.load(Ordering::Acquire);
        if frozen && !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        frozen
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
