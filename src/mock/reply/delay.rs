//! How long a reply waits.

use fastrand::Rng;
use std::{future::pending, ops::RangeInclusive, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long a reply waits, on tokio's clock: always the same, by a distribution, or attempt by attempt.
///
/// A `Duration` converts into one. What is random is drawn from the server's
/// [seed](crate::mock::MockServerBuilder::seed), so that a run can be repeated: the nth call of a stub waits the same again.
///
/// ```
/// use rpcplugin_testkit::{Delay, Reply, json};
/// use std::time::Duration;
///
/// const MS: Duration = Duration::from_millis(1);
/// Reply::json(json!({})).delay(5 * MS);
/// Reply::json(json!({})).delay(Delay::uniform(5 * MS..=20 * MS));
/// Reply::json(json!({})).delay(Delay::log_normal(20 * MS, 0.5));
/// Reply::json(json!({})).delay(Delay::per_attempt([100 * MS, 10 * MS]));
/// ```
#[derive(Clone, Debug)]
pub struct Delay(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Attempts(Arc<[Duration]>),
    Fixed(Duration),
    LogNormal { median: Duration, sigma: f64 },
    Uniform(RangeInclusive<Duration>),
}

impl Delay {
    /// Any delay in the range, all with the same probability.
    ///
    /// # Panics
    ///
    /// When the range is empty.
    #[must_use]
    #[track_caller]
    pub fn uniform(range: RangeInclusive<Duration>) -> Self {
        assert!(!range.is_empty(), "no delay is within {range:?}");
        Self(Kind::Uniform(range))
    }

    /// [Log-normal](https://en.wikipedia.org/wiki/Log-normal_distribution), as real latencies are: half the calls wait
    /// longer than the median, few much longer. `sigma` is the deviation of the logarithm; 0.5 gives a 99th percentile of
    /// about three medians, 1.0 of ten.
    ///
    /// # Panics
    ///
    /// When `sigma` is negative or not a number.
    #[must_use]
    #[track_caller]
    pub fn log_normal(median: Duration, sigma: f64) -> Self {
        assert!(sigma >= 0.0, "no distribution has the sigma {sigma}");
        Self(Kind::LogNormal { median, sigma })
    }

    /// The first delay for the stub's first call, the second for its second, and so on; the last for all others.
    #[must_use]
    pub fn per_attempt(delays: impl IntoIterator<Item = Duration>) -> Self {
        Self(Kind::Attempts(delays.into_iter().collect()))
    }

    pub(crate) fn is_random(&self) -> bool {
        matches!(self.0, Kind::LogNormal { .. } | Kind::Uniform(_))
    }

    /// The delay of the nth call, from 0.
    pub(crate) fn of(&self, attempt: u64, dice: &mut Rng) -> Duration {
        match &self.0 {
            Kind::Attempts(delays) => {
                let last = delays.len().saturating_sub(1);
                let index = usize::try_from(attempt).unwrap_or(last).min(last);
                delays.get(index).copied().unwrap_or_default()
            }
            Kind::Fixed(delay) => *delay,
            Kind::LogNormal { median, sigma } => {
                let factor = (sigma * normal(dice)).exp();
                Duration::try_from_secs_f64(median.as_secs_f64() * factor).unwrap_or(Duration::MAX)
            }
            Kind::Uniform(range) => {
                let width = *range.end() - *range.start();
                *range.start() + width.mul_f64(dice.f64())
            }
        }
    }
}

/// Waits on tokio's clock, also for longer than it can count.
pub(crate) async fn wait(delay: Duration) {
    match Instant::now().checked_add(delay) {
        Some(end) => sleep_until(end).await,
        None => pending().await,
    }
}

/// A normally distributed number, by
/// [Box and Muller](https://en.wikipedia.org/wiki/Box%E2%80%93Muller_transform).
fn normal(dice: &mut Rng) -> f64 {
    // Its logarithm must be finite.
    let radius = (-2.0 * (1.0 - dice.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * dice.f64()).cos()
}

impl From<Duration> for Delay {
    fn from(delay: Duration) -> Self {
        Self(Kind::Fixed(delay))
    }
}

#[cfg(test)]
mod tests {
    use crate::mock::reply::delay::Delay;
    use fastrand::Rng;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    fn drawn(delay: &Delay, seed: u64) -> Vec<Duration> {
        let mut dice = Rng::with_seed(seed);
        (0..2001).map(|n| delay.of(n, &mut dice)).collect()
    }

    #[test]
    fn a_seed_repeats_what_is_drawn() {
        for delay in [Delay::uniform(MS..=9 * MS), Delay::log_normal(MS, 1.0)] {
            assert_eq!(drawn(&delay, 7), drawn(&delay, 7));
            assert_ne!(drawn(&delay, 7), drawn(&delay, 8));
        }
    }

    #[test]
    fn distributions_are_what_they_say() {
        let uniform = drawn(&Delay::uniform(10 * MS..=20 * MS), 1);
        assert!(
            uniform
                .iter()
                .all(|delay| (10 * MS..=20 * MS).contains(delay))
        );
        let mut skewed = drawn(&Delay::log_normal(20 * MS, 0.5), 1);
        skewed.sort();
        let (median, p99) = (skewed[1000].as_secs_f64(), skewed[1980].as_secs_f64());
        assert!((0.018..0.022).contains(&median), "{median}");
        assert!((0.05..0.08).contains(&p99), "{p99}");
        assert_eq!(drawn(&Delay::log_normal(MS, 0.0), 1)[0], MS);
    }

    #[test]
    fn attempts_end_with_the_last() {
        let delay = Delay::per_attempt([3 * MS, 2 * MS]);
        assert_eq!(drawn(&delay, 1)[..3], [3 * MS, 2 * MS, 2 * MS]);
        assert_eq!(drawn(&Delay::per_attempt([]), 1)[0], Duration::ZERO);
        assert_eq!(drawn(&MS.into(), 1)[5], MS);
    }
}
