//! How long to wait between two dials.

use std::time::Duration;

/// [gRPC's connection backoff](https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md).
///
/// The n-th failed dial in a row is followed by `initial · multiplier^(n-1)`, at most `max`, plus or minus `jitter`, all
/// of it counted from the start of that dial. The first wait has jitter too, so that clients which lost one server
/// together do not come back together.
///
/// ```
/// use rpcplugin_testkit::client::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
/// assert_eq!(backoff.delay(1, 0.5), Duration::from_secs(1));
/// assert_eq!(backoff.delay(2, 0.5), Duration::from_millis(1600));
/// assert_eq!(backoff.delay(99, 0.5), Duration::from_secs(120));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the four numbers of the specification, written as a literal"
)]
pub struct Backoff {
    /// The wait after the first failure. Default: 1 s.
    pub initial: Duration,
    /// What each further failure multiplies it by. Default: 1.6.
    pub multiplier: f64,
    /// The part of the wait that is random, to both sides. Default: 0.2.
    pub jitter: f64,
    /// The longest wait, before the jitter. Default: 120 s.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(120),
        }
    }
}

impl Backoff {
    /// The wait after that many failures in a row (from 1), for a random number `dice` from 0 to 1.
    #[must_use]
    pub fn delay(&self, failures: u32, dice: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.multiplier.max(1.0).powi(exponent);
        let capped = grown.min(self.max.as_secs_f64());
        let jitter = self.jitter.clamp(0.0, 1.0) * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
        Duration::try_from_secs_f64(capped * (1.0 + jitter)).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use crate::client::backoff::Backoff;

    #[test]
    fn the_waits_are_those_of_the_specification() {
        let backoff = Backoff::default();
        let middle: Vec<_> = (1..=12)
            .map(|n| backoff.delay(n, 0.5).as_secs_f64())
            .collect();
        let expected = [
            1.0, 1.6, 2.56, 4.1, 6.55, 10.5, 16.8, 26.8, 42.9, 68.7, 110.0, 120.0,
        ];
        for (wait, expected) in middle.iter().zip(expected) {
            assert!((wait - expected).abs() < 0.1, "{middle:?}");
        }
    }

    #[test]
    fn the_jitter_stays_within_its_part_from_the_first_wait_on() {
        let backoff = Backoff::default();
        for failures in 1..40 {
            let (low, high) = (backoff.delay(failures, 0.0), backoff.delay(failures, 1.0));
            let middle = backoff.delay(failures, 0.5);
            assert!((low.as_secs_f64() / middle.as_secs_f64() - 0.8).abs() < 1e-6);
            assert!((high.as_secs_f64() / middle.as_secs_f64() - 1.2).abs() < 1e-6);
        }
    }
}
