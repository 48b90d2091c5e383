//! When to ask again.

use crate::client::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// How often may be asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// After an answer that does not say how long it is good.
    pub(super) every: Duration,
    /// After an answer, when somebody has a reason to doubt it.
    pub(super) at_most_every: Duration,
    /// After no answer.
    pub(super) backoff: Backoff,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            at_most_every: Duration::from_secs(5),
            backoff: Backoff {
                max: Duration::from_secs(30),
                ..Backoff::default()
            },
        }
    }
}

/// What the next look depends on.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    pace: Pace,
    last: Option<Last>,
    /// How many looks in a row had no answer.
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Instant,
    /// How long after it the next is due: by itself, and when somebody asks.
    wait: Duration,
    asked: Duration,
}

impl Looks {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            last: None,
            failures: 0,
        }
    }

    /// There was an answer, which may say how long it is good.
    pub(super) fn answered(&mut self, now: Instant, good_for: Option<Duration>) {
        let wait = good_for.unwrap_or(self.pace.every);
        self.failures = 0;
        self.last = Some(Last {
            at: now,
            wait,
            asked: self.pace.at_most_every.min(wait),
        });
    }

    /// There was none.
    pub(super) fn failed(&mut self, now: Instant, dice: f64) {
        self.failures = self.failures.saturating_add(1);
        let wait = self.pace.backoff.delay(self.failures, dice);
        self.last = Some(Last {
            at: now,
            wait,
            // Who does not answer does not answer those sooner who ask.
            asked: wait,
        });
    }

    /// When the next look is due, `is_asked` when somebody wants to know; `None` for never.
    pub(super) fn due(&self, is_asked: bool, now: Instant) -> Option<Instant> {
        match self.last {
            None => Some(now),
            Some(Last { at, asked, .. }) if is_asked => at.checked_add(asked),
            Some(Last { at, wait, .. }) => at.checked_add(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::dns::looks::{Looks, Pace};
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    fn looks(every: Duration) -> Looks {
        Looks::new(Pace {
            every,
            ..Pace::default()
        })
    }

    /// The seconds until it is due by itself, and when somebody asks.
    fn due(looks: &Looks, now: Instant) -> [Option<f64>; 2] {
        [false, true].map(|is_asked| Some((looks.due(is_asked, now)? - now).as_secs_f64()))
    }

    #[test]
    fn the_first_look_is_at_once() {
        assert_eq!(due(&looks(SECOND), Instant::now()), [Some(0.0), Some(0.0)]);
    }

    #[test]
    fn the_next_is_after_the_interval_or_sooner_when_it_is_asked_for() {
        let now = Instant::now();
        let mut looks = looks(30 * SECOND);
        looks.answered(now, None);
        assert_eq!(due(&looks, now), [Some(30.0), Some(5.0)]);
        // By what the answer says of itself, if it does.
        looks.answered(now, Some(7 * SECOND));
        assert_eq!(due(&looks, now), [Some(7.0), Some(5.0)]);
        looks.answered(now, Some(2 * SECOND));
        assert_eq!(due(&looks, now), [Some(2.0), Some(2.0)]);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_waits_that_nobody_shortens() {
        let now = Instant::now();
        let mut looks = looks(30 * SECOND);
        let waits: Vec<_> = (0..9)
            .map(|_| {
                looks.failed(now, 0.5);
                let [wait, asked] = due(&looks, now).map(Option::unwrap);
                assert!((wait - asked).abs() < f64::EPSILON);
                (wait * 10.0).round() / 10.0
            })
            .collect();
        assert_eq!(waits, [1.0, 1.6, 2.6, 4.1, 6.6, 10.5, 16.8, 26.8, 30.0]);
        looks.answered(now, None);
        assert_eq!(due(&looks, now), [Some(30.0), Some(5.0)]);
        looks.failed(now, 0.5);
        assert_eq!(due(&looks, now), [Some(1.0), Some(1.0)]);
    }

    #[test]
    fn an_interval_without_end_is_never_over() {
        let now = Instant::now();
        let mut looks = looks(Duration::MAX);
        looks.answered(now, None);
        assert_eq!(due(&looks, now), [None, Some(5.0)]);
    }
}
