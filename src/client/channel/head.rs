//! The head of a request, as often as it is sent.

use http::{Uri, request::Parts};
use std::sync::{Mutex, PoisonError};

/// The head of a request, as often as it is sent. The first attempt gets it as it came, with the room in its headers that
/// they were made with; what is kept for others is a copy.
pub(super) struct Head {
    /// In a box, as the copies for each attempt are: the futures that hand them on would all have room for them.
    first: Mutex<Option<Box<Parts>>>,
    kept: Parts,
}

impl Head {
    pub(super) fn new(parts: Parts) -> Self {
        let kept = parts.clone();
        let first = Mutex::new(Some(Box::new(parts)));
        Self { first, kept }
    }

    pub(super) fn take(&self) -> Box<Parts> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.take().unwrap_or_else(|| Box::new(self.kept.clone()))
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.kept.uri
    }
}
