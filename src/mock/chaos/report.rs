//! What was done.

use crate::mock::chaos::event::ChaosEvent;
use std::{fmt, time::Duration};

/// What [chaos](crate::Chaos) did, in order. It prints as a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ChaosReport {
    pub(super) seed: u64,
    pub(super) lasted: Duration,
    pub(super) events: Vec<ChaosEvent>,
    pub(super) restored: Vec<ChaosEvent>,
    pub(super) hits: u64,
}

impl ChaosReport {
    /// What it was drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How long it lasted.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.lasted
    }

    /// What was done by the [schedule](crate::Chaos::schedule): all of it, or as much as came before it was stopped.
    #[must_use]
    pub fn events(&self) -> &[ChaosEvent] {
        &self.events
    }

    /// What was done at the end, so that the servers are as they were.
    #[must_use]
    pub fn restored(&self) -> &[ChaosEvent] {
        &self.restored
    }

    /// How many calls were given a status or were reset: an event that no call came to hits none.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lasted, seed, events) = (self.lasted.as_secs_f64(), self.seed, self.events.len());
        write!(f, "{lasted:.3}s of chaos from the seed {seed}: ")?;
        write!(f, "{events} event{}, ", if events == 1 { "" } else { "s" })?;
        write!(
            f,
            "{} call{} hit",
            self.hits,
            if self.hits == 1 { "" } else { "s" }
        )?;
        for event in &self.events {
            write!(f, "\n  {event}")?;
        }
        for event in &self.restored {
            write!(f, "\n  {event}, at the end")?;
        }
        Ok(())
    }
}
