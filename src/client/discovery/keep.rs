//! Which set is used: the last one that was good.

use crate::endpoint::Endpoint;
use std::time::Duration;
use tokio::time::Instant;

/// The set that is used, and since when the source says that there is none.
///
/// A source that forgets everybody for a moment (a registry that is restarted, a DNS server that has not loaded its zone) must
/// not stop a client whose servers are well.
#[derive(Debug)]
pub(crate) struct Keep {
    grace: Duration,
    used: Option<Vec<Endpoint>>,
    empty_since: Option<Instant>,
}

/// What is to be done about a set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is what there was.
    Nothing,
    /// Use this one.
    Use(Vec<Endpoint>),
    /// It is empty: use the last one, until [it is due](Keep::due).
    Wait,
}

impl Keep {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            used: None,
            empty_since: None,
        }
    }

    /// The source has told this set.
    pub(crate) fn found(&mut self, set: Vec<Endpoint>, now: Instant) -> Step {
        let has_some = self.used.as_ref().is_some_and(|used| !used.is_empty());
        if set.is_empty() && has_some && !self.grace.is_zero() {
            if self.empty_since.is_some() {
                return Step::Nothing;
            }
            self.empty_since = Some(now);
            return Step::Wait;
        }
        self.empty_since = None;
        if self.used.as_ref() == Some(&set) {
            return Step::Nothing;
        }
        Step::Use(set)
    }

    /// This set is used from now on.
    pub(crate) fn uses(&mut self, set: Vec<Endpoint>) {
        self.empty_since = None;
        self.used = Some(set);
    }

    /// When the empty set is used after all; `None` for never, or when there is none.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.empty_since?.checked_add(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::keep::{Keep, Step};
    use crate::endpoint::Endpoint;
    use std::time::Duration;
    use tokio::time::Instant;

    const GRACE: Duration = Duration::from_secs(30);

    fn set(ports: &[u16]) -> Vec<Endpoint> {
        let endpoint = |port| Endpoint::from(crate::address::Address::tcp("localhost", port));
        ports.iter().copied().map(endpoint).collect()
    }

    #[test]
    fn a_set_is_used_once() {
        let now = Instant::now();
        let mut keep = Keep::new(GRACE);
        assert_eq!(keep.found(set(&[1, 2]), now), Step::Use(set(&[1, 2])));
        keep.uses(set(&[1, 2]));
        assert_eq!(keep.found(set(&[1, 2]), now), Step::Nothing);
        assert_eq!(keep.found(set(&[2, 1]), now), Step::Use(set(&[2, 1])));
        assert_eq!(keep.due(), None);
    }

    #[test]
    fn an_empty_set_waits_for_its_grace_which_runs_from_the_first() {
        let now = Instant::now();
        let mut keep = Keep::new(GRACE);
        keep.uses(set(&[1]));
        assert_eq!(keep.found(set(&[]), now), Step::Wait);
        let later = now + GRACE / 2;
        assert_eq!(keep.found(set(&[]), later), Step::Nothing);
        assert_eq!(keep.due(), Some(now + GRACE));
        keep.uses(set(&[]));
        assert_eq!(keep.due(), None);
        assert_eq!(keep.found(set(&[]), now + GRACE), Step::Nothing);
        assert_eq!(keep.found(set(&[1]), now + GRACE), Step::Use(set(&[1])));
    }

    #[test]
    fn what_comes_back_within_the_grace_was_never_gone() {
        let now = Instant::now();
        let mut keep = Keep::new(GRACE);
        keep.uses(set(&[1]));
        keep.found(set(&[]), now);
        assert_eq!(keep.found(set(&[1]), now), Step::Nothing);
        assert_eq!(keep.due(), None);
        // The next grace is a whole one.
        let later = now + GRACE;
        assert_eq!(keep.found(set(&[]), later), Step::Wait);
        assert_eq!(keep.due(), Some(later + GRACE));
    }

    #[test]
    fn an_empty_set_is_used_at_once_where_there_is_nothing_to_keep() {
        let now = Instant::now();
        let mut first = Keep::new(GRACE);
        assert_eq!(first.found(set(&[]), now), Step::Use(set(&[])));
        let mut hasty = Keep::new(Duration::ZERO);
        hasty.uses(set(&[1]));
        assert_eq!(hasty.found(set(&[]), now), Step::Use(set(&[])));
    }

    #[test]
    fn a_grace_without_end_keeps_the_last_set_for_ever() {
        let now = Instant::now();
        let mut keep = Keep::new(Duration::MAX);
        keep.uses(set(&[1]));
        assert_eq!(keep.found(set(&[]), now), Step::Wait);
        assert_eq!(keep.due(), None);
    }
}
