//! Holding up all that goes through one address of a server.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Waker},
};

/// What the streams and the listener of one address ask before they read, write or accept.
#[derive(Debug, Default)]
pub(crate) struct Freezer {
    /// Whether there are reasons, for those that have no time to lock.
    frozen: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For how many reasons it is frozen.
    reasons: usize,
    /// Who is held up.
    waiting: Vec<Waker>,
}

impl Freezer {
    /// One more reason to wait.
    pub(crate) fn freeze(&self) {
        let mut state = self.lock();
        state.reasons += 1;
        self.frozen.store(true, Ordering::Release);
    }

    /// One reason less. With the last of them all go on.
    pub(crate) fn thaw(&self) {
        let mut state = self.lock();
        state.reasons = state.reasons.saturating_sub(1);
        if state.reasons > 0 {
            return;
        }
        self.frozen.store(false, Ordering::Release);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waker in waiting {
            waker.wake();
        }
    }

    /// Whether to wait. Who has to is woken by the last thaw.
    pub(crate) fn is_frozen(&self, cx: &Context<'_>) -> bool {
        if !self.frozen.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.lock();
        // It may have thawed meanwhile, which the lock tells for sure.
        let frozen = state.reasons > 0;
        let waiting = &mut state.waiting;
        if frozen && !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        frozen
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
