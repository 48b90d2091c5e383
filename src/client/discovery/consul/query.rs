//! When an agent is asked again, and from which index.

use crate::client::backoff::Backoff;
use crate::client::discovery::consul::bucket::Bucket;
use std::time::Duration;
use tokio::time::Instant;

/// A [blocking query](https://developer.hashicorp.com/consul/api-docs/features/blocking) that is asked again and again.
#[derive(Clone, Debug)]
pub(super) struct Query {
    /// The change that was seen last; 0 for none, which is answered at once.
    index: u64,
    /// How many times in a row there was no answer.
    failures: u32,
    backoff: Backoff,
    bucket: Bucket,
}

/// What a careless [`Duration::MAX`] means.
const A_DAY: Duration = Duration::from_secs(86_400);

/// At once after a change, so that two changes in a row are both followed.
const BURST: u32 = 2;

impl Query {
    /// One that is asked once per interval at most, beside a burst of two.
    pub(super) fn new(interval: Duration, backoff: Backoff, now: Instant) -> Self {
        Self {
            index: 0,
            failures: 0,
            backoff,
            bucket: Bucket::new(BURST, interval.min(A_DAY), now),
        }
    }

    /// The index to ask from; `None` to be answered at once.
    pub(super) fn index(&self) -> Option<u64> {
        (self.index > 0).then_some(self.index)
    }

    /// When to ask next.
    pub(super) fn due(&mut self, now: Instant, dice: impl FnOnce() -> f64) -> Instant {
        let allowed = self.bucket.take(now);
        match self.failures {
            0 => allowed,
            failures => allowed.max(now + self.backoff.delay(failures, dice())),
        }
    }

    /// It was answered, with this index.
    pub(super) fn answered(&mut self, index: Option<u64>) {
        self.failures = 0;
        self.index = match index {
            // No index, no blocking.
            None => 0,
            // Consul's state was restored or lost: what was seen says nothing any more.
            Some(index) if index < self.index => 0,
            // An agent that says 0 would answer at once for ever.
            Some(index) => index.max(1),
        };
    }

    /// It was not answered, or with an error.
    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
        // What there is now is of more interest than the next change.
        self.index = 0;
    }
}

#[cfg(test)]
mod tests {
    use crate::client::backoff::Backoff;
    use crate::client::discovery::consul::query::Query;
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);

    fn query(now: Instant) -> Query {
        Query::new(SECOND, Backoff::default(), now)
    }

    /// The indices that are asked for after these answers.
    fn asked(answers: &[Option<u64>]) -> Vec<Option<u64>> {
        let mut query = query(Instant::now());
        let mut asked = vec![query.index()];
        for answer in answers {
            query.answered(*answer);
            asked.push(query.index());
        }
        asked
    }

    #[test]
    fn the_index_is_that_of_the_last_answer() {
        assert_eq!(asked(&[Some(7), Some(9)]), [None, Some(7), Some(9)]);
    }

    #[test]
    fn an_index_that_goes_backwards_is_forgotten() {
        let after = asked(&[Some(9), Some(7), Some(7)]);
        assert_eq!(after, [None, Some(9), None, Some(7)]);
    }

    #[test]
    fn an_index_of_zero_would_be_a_busy_loop() {
        assert_eq!(asked(&[Some(0), Some(0)]), [None, Some(1), None]);
    }

    #[test]
    fn an_answer_without_index_does_not_block() {
        assert_eq!(asked(&[Some(9), None]), [None, Some(9), None]);
    }

    #[test]
    fn a_failure_is_followed_by_backoff_and_by_a_question_that_does_not_wait() {
        let now = Instant::now() + 3600 * SECOND;
        let mut query = query(now);
        query.answered(Some(9));
        let mut waits = Vec::new();
        for _ in 0..3 {
            query.failed();
            assert_eq!(query.index(), None);
            waits.push((query.due(now, || 0.5) - now).as_secs_f64());
        }
        assert_eq!(waits, [1.0, 1.6, 2.56]);
        query.answered(Some(9));
        query.failed();
        let much_later = now + 60 * SECOND;
        assert_eq!(query.due(much_later, || 0.5) - much_later, SECOND);
    }

    #[test]
    fn answers_that_come_one_after_the_other_are_not_asked_for_faster_than_allowed() {
        let now = Instant::now() + 3600 * SECOND;
        let mut query = query(now);
        let mut due = Vec::new();
        for index in 1..=4 {
            due.push(query.due(now, || 0.5) - now);
            query.answered(Some(index));
        }
        let zero = Duration::ZERO;
        assert_eq!(due, [zero, zero, SECOND, 2 * SECOND]);
    }
}
