//! All calls in order.

use crate::mock::journal::call::Call;
use std::{
    fmt::Write as _,
    panic::Location,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// The journal of a server. Calls are only added, in the order in which they were complete enough to be told apart.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Mutex<Entries>,
    /// Told of every new call and of everything that happens to one.
    pub(crate) news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Calls to stubs, matched or not.
    calls: Vec<Call>,
    /// Calls to the mock's own services.
    builtin: Vec<Call>,
    /// Requests that were no gRPC calls, as lines. They are what a client with a wrong header leaves behind.
    foreign: Vec<String>,
    /// How many calls `next` has given out.
    taken: usize,
}

/// How many calls a failure message prints.
const PRINTED: usize = 50;

impl Journal {
    pub(crate) fn add(&self, call: Call) {
        let mut entries = self.lock();
        if call.is_builtin() {
            entries.builtin.push(call);
        } else {
            entries.calls.push(call);
        }
        drop(entries);
        self.news.notify_waiters();
    }

    /// Keeps a line about a request that is no gRPC call, for whoever looks for a call in vain.
    pub(crate) fn add_foreign(&self, request: String) {
        let mut entries = self.lock();
        if entries.foreign.len() < PRINTED {
            entries.foreign.push(request);
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Calls to the method of that name, the mock's own services included.
    pub(crate) fn calls_to(&self, name: &str) -> Vec<Call> {
        let entries = self.lock();
        let all = entries.calls.iter().chain(&entries.builtin);
        all.filter(|call| call.is(name)).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Entries::default();
    }

    /// Waits for `n` calls.
    pub(crate) async fn wait_for(
        &self,
        n: usize,
        patience: Duration,
        place: &Location<'_>,
    ) -> Vec<Call> {
        let enough = || {
            let entries = self.lock();
            (entries.calls.len() >= n).then(|| entries.calls.clone())
        };
        let calls = timeout(patience, self.until(enough)).await;
        calls.unwrap_or_else(|_| {
            let arrived = self.lock().calls.len();
            panic!(
                "waited {patience:?} for {n} calls at {place}, and {arrived} arrived{}",
                self.listing()
            )
        })
    }

    /// Waits for the first call that this has not given out yet.
    pub(crate) async fn next(&self, patience: Duration, place: &Location<'_>) -> Call {
        let next = || {
            let mut entries = self.lock();
            let call = entries.calls.get(entries.taken).cloned()?;
            entries.taken += 1;
            Some(call)
        };
        let call = timeout(patience, self.until(next)).await;
        call.unwrap_or_else(|_| {
            let taken = self.lock().taken;
            panic!(
                "waited {patience:?} for the next call at {place}, after {taken} that were taken before{}",
                self.listing()
            )
        })
    }

    async fn until<T>(&self, mut check: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut news = pin!(self.news.notified());
            news.as_mut().enable();
            if let Some(found) = check() {
                return found;
            }
            news.await;
        }
    }

    /// The calls as lines, for the end of a message.
    pub(crate) fn listing(&self) -> String {
        let calls = self.calls();
        let mut text = String::new();
        for (number, call) in calls.iter().take(PRINTED).enumerate() {
            let _ = write!(text, "\n  {number}: {call}");
        }
        if calls.len() > PRINTED {
            let _ = write!(text, "\n  … and {} more", calls.len() - PRINTED);
        }
        for request in &self.lock().foreign {
            let _ = write!(text, "\n  no gRPC call: {request}");
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
