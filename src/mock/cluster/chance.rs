//! Servers that are chosen by chance, and the seed that chooses the same again.

use fastrand::Rng;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// Chooses, one after another.
#[derive(Debug)]
pub(super) struct Chance {
    pub(super) seed: u64,
    rng: Mutex<Rng>,
    used: AtomicBool,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rng: Mutex::new(Rng::with_seed(seed)),
            used: AtomicBool::new(false),
        }
    }

    /// One of these, `None` of none.
    pub(super) fn one_of(&self, numbers: &[usize]) -> Option<usize> {
        if numbers.is_empty() {
            return None;
        }
        self.used.store(true, Ordering::Relaxed);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Some(numbers[rng.usize(..numbers.len())])
    }

    /// Whether anything was chosen.
    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}
