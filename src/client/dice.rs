//! The random numbers of a client.

use fastrand::Rng;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The random numbers of a client, all of which follow from its seed in the order in which they are drawn. Cloning it gives
/// another hand on the same.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    seed: u64,
    drawn: Arc<AtomicU64>,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: Arc::default(),
        }
    }

    /// A number from 0 to 1.
    pub(crate) fn roll(&self) -> f64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        // Neighbouring seeds of the generator give numbers that have nothing to do with each other.
        Rng::with_seed(self.seed ^ drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15)).f64()
    }
}

#[cfg(test)]
mod tests {
    use crate::client::dice::Dice;

    #[test]
    fn the_numbers_follow_from_the_seed_and_are_spread() {
        let draw = |seed| -> Vec<f64> {
            let dice = Dice::new(seed);
            (0..1000).map(|_| dice.roll()).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for tenth in 0..10 {
            let within =
                |roll: &&f64| (roll.floor(), (*roll * 10.0).floor()) == (0.0, f64::from(tenth));
            let count = draw(7).iter().filter(within).count();
            assert!((60..140).contains(&count), "{tenth}: {count}");
        }
    }
}
