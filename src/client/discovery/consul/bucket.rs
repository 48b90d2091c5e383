//! How often something may be done: a token bucket.

use std::time::Duration;
use tokio::time::Instant;

/// As many times at once, and then once per interval.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    burst: u32,
    interval: Duration,
    /// When the bucket would be full again, if nothing more were taken.
    full_at: Instant,
}

impl Bucket {
    pub(super) fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self {
            burst,
            interval,
            full_at: now,
        }
    }

    /// Takes one, and tells from when on.
    pub(super) fn take(&mut self, now: Instant) -> Instant {
        self.full_at = self.full_at.max(now) + self.interval;
        let room = self.interval * self.burst;
        // One that cannot be told is long past.
        self.full_at.checked_sub(room).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::consul::bucket::Bucket;
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn two_at_once_and_then_one_in_a_second() {
        let now = Instant::now() + 60 * SECOND;
        let mut bucket = Bucket::new(2, SECOND, now);
        let taken: Vec<_> = (0..4).map(|_| bucket.take(now) - now).collect();
        let zero = Duration::ZERO;
        assert_eq!(taken, [zero, zero, SECOND, 2 * SECOND]);
    }

    #[test]
    fn it_fills_with_time_and_not_beyond_its_brim() {
        let start = Instant::now() + 60 * SECOND;
        let mut bucket = Bucket::new(2, SECOND, start);
        bucket.take(start);
        bucket.take(start);
        let later = start + SECOND;
        assert_eq!(bucket.take(later), later);
        assert_eq!(bucket.take(later), later + SECOND);
        let much_later = start + 100 * SECOND;
        let taken: Vec<_> = (0..3)
            .map(|_| bucket.take(much_later) - much_later)
            .collect();
        assert_eq!(taken, [Duration::ZERO, Duration::ZERO, SECOND]);
    }
}
