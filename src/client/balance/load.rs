//! What one endpoint carries just now.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// After this time half of the penalty for a failure is left.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(1);

/// Of a penalty below this nothing is left: an idle endpoint that failed once is the equal of the others again after
/// seven half lives, not when the last bit is gone.
const FORGOTTEN: f64 = 1.0 / 128.0;

/// The requests in flight to an endpoint, and those that failed a short while ago.
///
/// A request that failed counts as one more in flight, less and less of it as time passes. Without that, an endpoint that
/// refuses fast is the least loaded one and attracts everything (linkerd2-proxy #4537, brpc #3367). With it, beside
/// endpoints that have n requests in flight, it is sent about 0.7 n requests a second that fail.
#[derive(Debug)]
pub(crate) struct Load {
    base: Instant,
    in_flight: AtomicUsize,
    /// The bits of an `f64`: log2 of the sum of all penalties, each grown to what it would have had to be at `base`. As
    /// all decay alike, that one number is the penalty at all times, and needs no time of its own beside it.
    penalty: AtomicU64,
}

impl Load {
    /// Nothing in flight, nothing failed. Times are counted from `base`.
    pub(crate) fn new(base: Instant) -> Self {
        Self {
            base,
            in_flight: AtomicUsize::new(0),
            penalty: AtomicU64::new(f64::NEG_INFINITY.to_bits()),
        }
    }

    /// A request is sent. It is in flight until its [`end`](Self::end): that of the response's body, or a cancellation.
    pub(crate) fn start(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that was started is over, however it ended.
    pub(crate) fn end(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a request ends once");
    }

    /// A request failed.
    pub(crate) fn failed(&self, now: Instant) {
        let added = self.half_lives(now);
        let add = |bits| Some(log2_of_sum(f64::from_bits(bits), added).to_bits());
        // It never gives up: `add` always has an answer.
        _ = self
            .penalty
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// How many requests were started and have not ended.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The requests in flight and what is left of the penalties.
    pub(crate) fn value(&self, now: Instant) -> f64 {
        let penalty = f64::from_bits(self.penalty.load(Ordering::Relaxed));
        let left = (penalty - self.half_lives(now)).exp2();
        let left = if left < FORGOTTEN { 0.0 } else { left };
        #[expect(
            clippy::cast_precision_loss,
            reason = "nobody has 2^52 requests in flight"
        )]
        let in_flight = self.in_flight() as f64;
        in_flight + left
    }

    fn half_lives(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.base).as_secs_f64() / HALF_LIFE.as_secs_f64()
    }
}

/// log2(2^a + 2^b), where the powers themselves may be out of range. `b` is finite.
fn log2_of_sum(a: f64, b: f64) -> f64 {
    a.max(b) + (-(a - b).abs()).exp2().ln_1p() / std::f64::consts::LN_2
}
#[cfg(test)]
mod tests {
    use crate::client::balance::load::{HALF_LIFE, Load};
    use proptest::{collection, prelude::*};
    use std::time::Duration;
    use tokio::time::Instant;

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value}, not {expected}");
    }

    #[test]
    fn requests_count_from_their_start_to_their_end() {
        let base = Instant::now();
        let load = Load::new(base);
        assert_near(load.value(base), 0.0);
        load.start();
        load.start();
        assert_eq!(load.in_flight(), 2);
        assert_near(load.value(base), 2.0);
        load.end();
        assert_near(load.value(base + Duration::from_secs(100)), 1.0);
    }

    #[test]
    fn a_failure_counts_as_one_request_and_half_of_it_after_each_half_life() {
        let base = Instant::now();
        let load = Load::new(base);
        let failed = base + Duration::from_millis(1234);
        load.failed(failed);
        load.start();
        let expected = [
            1.0,
            0.5,
            0.25,
            0.125,
            0.0625,
            0.03125,
            0.015_625,
            0.007_812_5,
        ];
        for (lives, expected) in (0..).zip(expected) {
            assert_near(load.value(failed + HALF_LIFE * lives), 1.0 + expected);
        }
    }

    #[test]
    fn a_failure_is_forgotten_in_the_end() {
        let base = Instant::now();
        let load = Load::new(base);
        load.failed(base);
        let value = load.value(base + HALF_LIFE * 71 / 10);
        assert!(value.abs() < f64::EPSILON, "{value}");
        load.failed(base + Duration::from_secs(40 * 365 * 86400));
        assert_near(
            load.value(base + Duration::from_secs(40 * 365 * 86400)),
            1.0,
        );
    }

    #[test]
    fn failures_at_the_same_time_are_all_counted() {
        let base = Instant::now();
        let load = Load::new(base);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| load.failed(base)));
            }
        });
        let value = load.value(base);
        assert!((value - 4000.0).abs() < 1e-6, "{value}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_penalty_is_the_sum_of_all_that_decayed(mut at in collection::vec(0_u64..20_000, 1..50)) {
            let base = Instant::now();
            let load = Load::new(base);
            for millis in &at {
                load.failed(base + Duration::from_millis(*millis));
            }
            at.sort_unstable();
            let now = at[at.len() - 1];
            let left = |failed: &u64| (-((now - failed) as f64) / 1000.0).exp2();
            let expected: f64 = at.iter().map(left).sum();
            let value = load.value(base + Duration::from_millis(now));
            prop_assert!((value - expected).abs() < 1e-9 * expected, "{} {}", value, expected);
        }
    }
}
