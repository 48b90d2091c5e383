//! The token that is held, and what to do about it: decided from the state and the time, without IO.

use http::HeaderValue;
use std::time::Duration;
use tokio::time::Instant;

/// A token as metadata.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) value: HeaderValue,
    /// No two tokens of a client have the same.
    pub(crate) generation: u64,
    /// When it has to be renewed, and when it ends. `None` for one that ends by being refused only.
    times: Option<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    renew_at: Instant,
    ends_at: Instant,
}

/// What a call does for its token.
#[derive(Debug)]
pub(crate) enum Next {
    /// Takes this one.
    Use(Held),
    /// Takes this one, and has another asked for.
    Renew(Held),
    /// Waits for another.
    Wait,
}

/// The longest time before its end at which a token is renewed.
const EARLY: Duration = Duration::from_secs(30);
/// After how long a renewal that failed is tried again, while the token is still good.
const AGAIN: Duration = Duration::from_secs(1);

impl Held {
    pub(crate) fn new(
        value: HeaderValue,
        generation: u64,
        lifetime: Option<Duration>,
        now: Instant,
    ) -> Self {
        let times = lifetime.and_then(|lifetime| {
            let ends_at = now.checked_add(lifetime)?;
            Some(Times {
                renew_at: ends_at - EARLY.min(lifetime / 10),
                ends_at,
            })
        });
        Self {
            value,
            generation,
            times,
        }
    }

    /// It could not be renewed.
    pub(crate) fn put_off(&mut self, now: Instant) {
        if let Some(times) = &mut self.times {
            times.renew_at = now + AGAIN;
        }
    }
}

/// What a call does that finds this token.
pub(crate) fn next(held: Option<&Held>, now: Instant) -> Next {
    match held {
        None => Next::Wait,
        Some(held) => match held.times {
            Some(times) if times.ends_at <= now => Next::Wait,
            Some(times) if times.renew_at <= now => Next::Renew(held.clone()),
            _ => Next::Use(held.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::client::token::{Held, Next, next};
    use http::HeaderValue;
    use std::time::Duration;
    use tokio::time::Instant;

    const VALUE: HeaderValue = HeaderValue::from_static("t");

    fn seen(held: &Held, now: Instant) -> char {
        match next(Some(held), now) {
            Next::Use(_) => 'u',
            Next::Renew(_) => 'r',
            Next::Wait => 'w',
        }
    }

    #[test]
    fn a_token_is_renewed_when_a_tenth_or_thirty_seconds_are_left_and_not_used_at_its_end() {
        let now = Instant::now();
        assert!(matches!(next(None, now), Next::Wait));
        for (lifetime, renewed) in [(10, 9), (300, 270), (3600, 3570), (0, 0)] {
            let held = Held::new(VALUE, 1, Some(Duration::from_secs(lifetime)), now);
            let at = |seconds: u64| seen(&held, now + Duration::from_secs(seconds));
            let before = renewed > 0;
            assert!(!before || at(renewed - 1) == 'u', "{lifetime}");
            assert_eq!(at(renewed), if before { 'r' } else { 'w' }, "{lifetime}");
            assert_eq!(at(lifetime), 'w', "{lifetime}");
        }
        for endless in [None, Some(Duration::MAX)] {
            let held = Held::new(VALUE, 1, endless, now);
            assert_eq!(seen(&held, now + Duration::from_secs(1 << 30)), 'u');
        }
    }

    #[test]
    fn a_renewal_that_failed_is_tried_again_a_second_later() {
        let now = Instant::now();
        let mut held = Held::new(VALUE, 1, Some(Duration::from_secs(100)), now);
        let failed = now + Duration::from_secs(95);
        held.put_off(failed);
        assert_eq!(seen(&held, failed), 'u');
        assert_eq!(seen(&held, failed + Duration::from_secs(1)), 'r');
        assert_eq!(seen(&held, now + Duration::from_secs(100)), 'w');
    }
}
