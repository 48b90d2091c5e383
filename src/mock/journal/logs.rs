//! The calls of one server, or those of several in order.

use crate::mock::journal::call::Call;
use crate::mock::journal::store::Log;
use std::{slice, sync::Arc};

/// Where a journal has its calls from.
#[derive(Clone)]
pub(super) enum Logs {
    One(Arc<Log>),
    /// Of the servers of a cluster, which tell their news together.
    Many(Arc<[Arc<Log>]>),
}

impl Logs {
    fn all(&self) -> &[Arc<Log>] {
        match self {
            Self::One(log) => slice::from_ref(log),
            Self::Many(logs) => logs,
        }
    }

    /// What each of them tells.
    pub(super) fn each<T>(&self, tell: impl Fn(&Log) -> T) -> impl Iterator<Item = T> {
        self.all().iter().map(move |log| tell(log))
    }

    /// The calls, or those to the method of that name, in the order of arrival.
    pub(super) fn calls(&self, method: Option<&str>) -> Vec<Call> {
        match (self, method) {
            (Self::One(log), Some(method)) => log.calls_to(method),
            (Self::One(log), None) => log.calls(),
            (Self::Many(logs), method) => {
                let numbered = logs.iter().map(|log| log.numbered(method));
                let mut calls: Vec<_> = numbered.flatten().collect();
                // Each of them is in order already, which the sort makes use of.
                calls.sort_by_key(|(number, _)| *number);
                calls.into_iter().map(|(_, call)| call).collect()
            }
        }
    }

    /// How many calls `counts` accepts. It runs under a lock, and must be none of the test's.
    pub(super) fn count(&self, method: Option<&str>, counts: impl Fn(&Call) -> bool) -> usize {
        self.each(|log| log.count(method, &counts)).sum()
    }

    /// How many calls there are, without a look at each.
    pub(super) fn len(&self, method: Option<&str>) -> usize {
        self.each(|log| log.len(method)).sum()
    }

    /// Waits until there is something to find. See [`Log::until`].
    pub(super) async fn until<T>(&self, find: impl FnMut() -> Option<T>) -> Option<T> {
        // All tell their news where the first does.
        let first = self.all().first()?;
        Some(first.until(find).await)
    }

    /// Each, with what it is called at the beginning of a line.
    pub(super) fn named(&self) -> impl Iterator<Item = (String, &Log)> {
        let logs = self.all().iter().enumerate();
        logs.map(|(number, log)| (self.name(number), &**log))
    }

    /// What the server of a call is called at the beginning of a line.
    pub(super) fn name_of(&self, call: &Call) -> String {
        let mut logs = self.all().iter();
        let number = logs.position(|log| call.is_in(log));
        number.map(|number| self.name(number)).unwrap_or_default()
    }

    fn name(&self, number: usize) -> String {
        match self {
            Self::One(_) => String::new(),
            Self::Many(_) => format!("server {number}: "),
        }
    }
}
