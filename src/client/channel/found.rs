//! Where the endpoints come from, and whether any have come.

use crate::client::stats::DiscoveryStats;
use crate::error::{Error, Kind};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Where the endpoints come from.
#[derive(Clone, Debug, Default)]
pub(super) enum Found {
    /// They are told by hand.
    #[default]
    Told,
    /// By this source, which has told none so far.
    Awaited(Arc<str>),
    /// By a source that has failed, and has told none before.
    Failed(Error),
    /// By this source.
    By(Arc<str>),
}

impl Found {
    /// Whether calls may wait for the first endpoints.
    pub(super) fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited(_))
    }

    /// Why there are none.
    pub(super) fn none(&self, text: &str) -> Error {
        let told = |more: String| Error::new(Kind::Connect, format!("{text}{more}"));
        match self {
            Self::Told => told(String::new()),
            Self::Awaited(source) => told(format!(": {source} has told none so far")),
            Self::By(source) => told(format!(": {source} has none")),
            Self::Failed(error) => told(String::new()).caused_by(error.clone()),
        }
    }
}

/// Counts what a source has told.
#[derive(Debug, Default)]
pub(super) struct Sources {
    sets: AtomicU64,
    failures: AtomicU64,
    last: Mutex<Option<Error>>,
}

impl Sources {
    pub(super) fn told(&self) {
        self.sets.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn failed(&self, error: Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn read(&self, source: &str) -> DiscoveryStats {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        DiscoveryStats {
            source: source.to_owned(),
            sets: self.sets.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            failing: last.as_ref().map(Error::chain),
        }
    }
}
