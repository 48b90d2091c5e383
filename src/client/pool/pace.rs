//! When a pool may dial again.

use crate::client::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// One backoff for all connections of a pool: they have one server, which is away for all of them.
#[derive(Debug)]
pub(super) struct Pace {
    backoff: Backoff,
    /// Failed dials in a row.
    failures: u32,
    /// Connections in a row that ended before anybody had them, each dialled after the one before it had ended.
    fruitless: u32,
    /// How often connections have ended in vain. One that was dialled in an earlier round tells nothing new.
    round: u64,
    retry_at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
            fruitless: 0,
            round: 0,
            retry_at: None,
        }
    }

    /// When the next dial may be, if it has to wait.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.retry_at.filter(|retry_at| *retry_at > now)
    }

    /// The dial of that moment failed.
    pub(super) fn failed(&mut self, dialled: Instant, dice: f64) {
        self.failures = self.failures.saturating_add(1);
        let delay = self.backoff.delay(self.failures, dice);
        // A wait beyond the clock's end is one of a month.
        let month = Duration::from_secs(30 * 24 * 3600);
        let retry_at = dialled.checked_add(delay);
        self.retry_at = Some(retry_at.unwrap_or_else(|| dialled + month));
    }

    /// A dial made a connection, in this round.
    pub(super) fn connected(&mut self) -> u64 {
        self.failures = self.fruitless.saturating_sub(1);
        self.retry_at = None;
        self.round
    }

    /// Somebody has a connection.
    pub(super) fn used(&mut self) {
        self.fruitless = 0;
    }

    /// A connection of that round, dialled at that moment, ended before anybody had it. The second in a row is as good
    /// as a failed dial, and tells so: a server that hangs up on everybody is not dialled in a loop.
    pub(super) fn in_vain(&mut self, round: u64, dialled: Instant, dice: f64) -> bool {
        if round != self.round {
            return false;
        }
        self.round += 1;
        self.fruitless = self.fruitless.saturating_add(1);
        let failed = self.fruitless >= 2;
        if failed {
            self.failed(dialled, dice);
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use crate::client::backoff::Backoff;
    use crate::client::pool::pace::Pace;
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(Backoff::default())
    }

    #[test]
    fn each_failed_dial_is_waited_for_longer_and_a_connection_ends_that() {
        let (mut pace, now) = (pace(), Instant::now());
        assert_eq!(pace.wait(now), None);
        pace.failed(now, 0.5);
        assert_eq!(pace.wait(now), Some(now + SECOND));
        assert_eq!(pace.wait(now + SECOND), None);
        pace.failed(now + SECOND, 0.5);
        assert_eq!(pace.wait(now + SECOND), Some(now + SECOND + SECOND * 8 / 5));
        pace.connected();
        assert_eq!(pace.wait(now + SECOND), None);
        pace.failed(now, 0.5);
        assert_eq!(pace.wait(now), Some(now + SECOND));
    }

    #[test]
    fn connections_that_end_unused_one_after_the_other_slow_it_down() {
        let (mut pace, now) = (pace(), Instant::now());
        let waits: Vec<_> = (0..5)
            .map(|_| {
                let round = pace.connected();
                let failed = pace.in_vain(round, now, 0.5);
                assert_eq!(failed, pace.wait(now).is_some());
                pace.wait(now).map(|until| (until - now).as_millis())
            })
            .collect();
        assert_eq!(
            waits,
            [None, Some(1000), Some(1600), Some(2560), Some(4096)]
        );
        pace.connected();
        pace.used();
        let round = pace.connected();
        assert!(!pace.in_vain(round, now, 0.5));
    }

    #[test]
    fn connections_that_end_together_count_once() {
        let (mut pace, now) = (pace(), Instant::now());
        let rounds: Vec<_> = (0..5).map(|_| pace.connected()).collect();
        for round in rounds {
            assert!(!pace.in_vain(round, now, 0.5));
        }
        assert_eq!(pace.wait(now), None);
    }
}
