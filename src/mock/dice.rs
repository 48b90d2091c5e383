//! What is random, and the seed that repeats it.

use crate::mock::reply::Delay;
use fastrand::Rng;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Where everything random comes from.
#[derive(Debug)]
pub(crate) struct Seed {
    value: u64,
    used: AtomicBool,
}

impl Seed {
    pub(crate) fn new(value: u64) -> Self {
        let used = AtomicBool::new(false);
        Self { value, used }
    }

    /// Dice of its own for whoever has this number.
    pub(crate) fn dice(&self, id: u64) -> Rng {
        self.used.store(true, Ordering::Relaxed);
        Rng::with_seed(self.value ^ id.wrapping_mul(SPREAD))
    }

    /// The seed, if anything was drawn from it.
    pub(crate) fn used(&self) -> Option<u64> {
        self.used.load(Ordering::Relaxed).then_some(self.value)
    }
}

/// Makes seeds that differ by one differ in all bits.
pub(crate) const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// What is random in the answer to one call, the same whenever the test is run with the same seed.
pub(crate) struct Dice<'a> {
    seed: &'a Seed,
    attempt: u64,
    rng: Rng,
}

impl<'a> Dice<'a> {
    /// For what the one with this number does for the `attempt`th time.
    pub(crate) fn new(seed: &'a Seed, id: u64, attempt: u64) -> Self {
        let stub = id.wrapping_mul(SPREAD);
        let call = attempt.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Self {
            seed,
            attempt,
            rng: Rng::with_seed(seed.value ^ stub ^ call.rotate_left(32)),
        }
    }

    pub(crate) fn roll(&mut self, delay: &Delay) -> Duration {
        if delay.is_random() {
            self.seed.used.store(true, Ordering::Relaxed);
        }
        delay.of(self.attempt, &mut self.rng)
    }
}
