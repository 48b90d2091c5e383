//! How many failures all calls of a client together may have before none is repeated.

use crate::client::retry::Throttle;
use std::sync::atomic::{AtomicU64, Ordering};

/// The tokens of one client. It has no lock: what it tells may be one call old.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// In thousandths, because a success gives a part of one.
    left: AtomicU64,
    most: u64,
    success: u64,
}

const WHOLE: u64 = 1000;

impl Tokens {
    /// As many as there can be.
    pub(crate) fn new(throttle: &Throttle) -> Self {
        let most = u64::from(throttle.tokens) * WHOLE;
        // More than all of them at once is all of them.
        let parts = f64::from(throttle.tokens).min(throttle.ratio.max(0.0)) * 1000.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between nothing and `most`"
        )]
        let success = parts.round() as u64;
        Self {
            left: AtomicU64::new(most),
            most,
            success,
        }
    }

    /// An attempt failed with a code that is repeated, or its server asked not to repeat it.
    pub(crate) fn failed(&self) {
        self.update(|left| left.saturating_sub(WHOLE));
    }

    /// A call succeeded.
    pub(crate) fn succeeded(&self) {
        // Calls that succeed while nothing fails write to nothing that others read.
        if self.left.load(Ordering::Relaxed) < self.most {
            self.update(|left| (left + self.success).min(self.most));
        }
    }

    /// Whether calls are repeated: more than half of the tokens are there.
    pub(crate) fn allows(&self) -> bool {
        self.left.load(Ordering::Relaxed) * 2 > self.most
    }

    fn update(&self, to: impl Fn(u64) -> u64) {
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(to(left)));
    }
}

#[cfg(test)]
mod tests {
    use crate::client::retry::{Throttle, Tokens};
    use std::thread;

    fn tokens(tokens: u32, ratio: f64) -> Tokens {
        Tokens::new(&Throttle { tokens, ratio })
    }

    /// How many failures in a row are repeated.
    fn allowed(tokens: &Tokens) -> usize {
        let failures = std::iter::repeat_with(|| tokens.failed());
        failures.take_while(|()| tokens.allows()).count()
    }

    #[test]
    fn of_ten_tokens_four_failures_are_repeated_and_the_fifth_is_not() {
        assert_eq!(allowed(&tokens(10, 0.1)), 4);
    }

    #[test]
    fn an_odd_number_of_tokens_has_its_half_between_two() {
        for (count, expected) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (1000, 499)] {
            assert_eq!(allowed(&tokens(count, 0.1)), expected, "{count} tokens");
        }
    }

    #[test]
    fn what_failed_is_given_back_by_successes_in_thousandths() {
        let tokens = tokens(10, 0.334);
        (0..5).for_each(|_| tokens.failed());
        assert!(!tokens.allows(), "half is not more than half");
        tokens.succeeded();
        assert!(tokens.allows());
        tokens.failed();
        (0..2).for_each(|_| tokens.succeeded());
        assert!(tokens.allows(), "5 - 1 + 3 · 0.334 is 5.002");
    }

    #[test]
    fn there_are_never_more_than_all_nor_less_than_none() {
        let tokens = tokens(10, 3.0);
        (0..100).for_each(|_| tokens.succeeded());
        assert_eq!(allowed(&tokens), 4);
        (0..100).for_each(|_| tokens.failed());
        tokens.succeeded();
        assert!(!tokens.allows(), "0 + 3 is less than half");
        tokens.succeeded();
        assert!(tokens.allows(), "0 + 6 is more than half");
    }

    #[test]
    fn no_failure_is_lost_among_threads() {
        let tokens = tokens(1000, 1.0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..125).for_each(|_| tokens.failed()));
            }
        });
        assert!(!tokens.allows(), "exactly half is left");
        tokens.succeeded();
        assert!(tokens.allows());
    }
}
