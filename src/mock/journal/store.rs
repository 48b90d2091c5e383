//! All calls in order, as many as there is room for.

use crate::mock::journal::block::Blocks;
use crate::mock::journal::call::Call;
use crate::mock::journal::index::Index;
use crate::mock::journal::redact::Redaction;
use crate::mock::journal::refused::RefusedConnection;
use crate::mock::journal::shared::Shared;
use crate::mock::journal::target::{Arrived, Target};
use crate::schema::MethodName;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Notify, task::yield_now};

/// The calls of a server. They are only added, in the order in which they were complete enough to be told apart; the
/// oldest go when the room is used up.
#[derive(Debug)]
pub(crate) struct Log {
    entries: Mutex<Entries>,
    blocks: Blocks,
    pub(crate) shared: Arc<Shared>,
    /// Calls that began, while it is not known what serves them.
    arriving: Mutex<Vec<Call>>,
    /// Of those whose method is not known yet there is only the count.
    nameless: AtomicUsize,
}

/// The calls that have not ended.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    pub(crate) in_flight: Vec<Call>,
    /// Their request has not arrived.
    pub(crate) arriving: Vec<Call>,
    /// How many have not told their method.
    pub(crate) nameless: usize,
}

impl Unfinished {
    fn is_nothing(&self) -> bool {
        self.in_flight.is_empty() && self.arriving.is_empty() && self.nameless == 0
    }
}

/// A call that has begun, until it is known what serves it.
pub(crate) struct Arriving<'a> {
    log: &'a Log,
    call: Option<Call>,
}

impl Arriving<'_> {
    /// Its method is known.
    pub(crate) fn is(&mut self, call: &Call) {
        self.log.lock_arriving().push(call.clone());
        self.call = Some(call.clone());
        self.log.nameless.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        match &self.call {
            Some(call) => self
                .log
                .lock_arriving()
                .retain(|other| !other.is_same(call)),
            None => {
                self.log.nameless.fetch_sub(1, Ordering::Release);
            }
        }
        self.log.shared.news.notify_waiters();
    }
}

#[derive(Debug, Default)]
struct Entries {
    /// Calls to stubs and services, matched or not.
    calls: VecDeque<Numbered>,
    /// How many calls went before the first of these.
    dropped: usize,
    by_method: Index,
    /// Calls to the mock's own services.
    builtin: VecDeque<Numbered>,
    /// Requests that were no gRPC calls, as lines. They are what a client with a wrong header leaves behind.
    foreign: Vec<String>,
    /// Connections on which no call could come.
    refused: Vec<RefusedConnection>,
    /// How many calls `next` has given out, with those that went before it could.
    taken: usize,
}

/// A call, and which it is of all calls of this process, by which those of several servers are put in order. (By the clock
/// they cannot be: while it is paused, all arrive at once.)
pub(super) type Numbered = (u64, Call);

/// How many calls arrived in this process. It is counted under the journal's lock, so that a journal is in order.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// How long the next look is put off at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How many requests that are no calls are kept, and how many connections that were refused.
const FOREIGN: usize = 50;
const REFUSED: usize = 1000;

impl Log {
    pub(crate) fn new(limit: usize, redaction: Redaction, news: Arc<Notify>) -> Arc<Self> {
        Arc::new_cyclic(|log| Self {
            entries: Mutex::default(),
            blocks: Blocks::default(),
            shared: Arc::new(Shared::new(limit, redaction, news, Weak::clone(log))),
            arriving: Mutex::default(),
            nameless: AtomicUsize::new(0),
        })
    }

    /// A call that is not in the journal yet.
    pub(crate) fn call(&self, target: Target, arrived: Arrived) -> Call {
        Call::new(target, arrived, &self.blocks)
    }

    /// Counts a call that begins.
    pub(crate) fn begin(&self) -> Arriving<'_> {
        self.nameless.fetch_add(1, Ordering::Relaxed);
        Arriving {
            log: self,
            call: None,
        }
    }

    /// What has not ended.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let mut in_flight = self.calls();
        in_flight.retain(|call| call.outcome().is_none());
        let nameless = self.nameless.load(Ordering::Acquire);
        let mut arriving = self.lock_arriving().clone();
        // Those that stream are in the journal already.
        arriving.retain(|call| !in_flight.iter().any(|other| other.is_same(call)));
        Unfinished {
            in_flight,
            arriving,
            nameless,
        }
    }

    fn lock_arriving(&self) -> MutexGuard<'_, Vec<Call>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, call: Call) {
        let mut entries = self.lock();
        let number = ARRIVED.fetch_add(1, Ordering::Relaxed);
        if call.is_builtin() {
            entries.builtin.push_back((number, call));
        } else {
            entries.push(number, call);
        }
        drop(entries);
        if self.shared.is_over() {
            self.evict();
        }
        self.shared.news.notify_waiters();
    }

    /// Keeps a line about a request that is no gRPC call, for whoever looks for a call in vain.
    pub(crate) fn add_foreign(&self, request: String) {
        let mut entries = self.lock();
        if entries.foreign.len() < FOREIGN {
            entries.foreign.push(request);
        }
        drop(entries);
        self.shared.news.notify_waiters();
    }

    /// Keeps what became of a connection on which no call could come.
    pub(crate) fn add_refused(&self, refused: RefusedConnection) {
        let mut entries = self.lock();
        if entries.refused.len() < REFUSED {
            entries.refused.push(refused);
        }
        drop(entries);
        self.shared.news.notify_waiters();
    }

    /// Lets the oldest calls go until there is room.
    pub(super) fn evict(&self) {
        let mut gone = Vec::new();
        let mut entries = self.lock();
        while self.shared.is_over() {
            let Some(call) = entries.pop_oldest() else {
                break;
            };
            self.shared.shrink(call.drop_from_journal());
            gone.push(call);
        }
        drop(entries);
        // Their memory is given back without the lock.
        drop(gone);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.lock().all().cloned().collect()
    }

    /// How many calls `counts` accepts, of those to the method of that name if there is one. It runs under the journal's
    /// lock, and must be none of the test's.
    pub(crate) fn count(&self, method: Option<&str>, counts: impl Fn(&Call) -> bool) -> usize {
        let entries = self.lock();
        match method {
            Some(name) => {
                let method = MethodName::new(name);
                let calls = entries.to(&method);
                calls.filter(|call| counts(call)).count()
            }
            None => entries.all().filter(|call| counts(call)).count(),
        }
    }

    /// How many calls there are, or of those to the method of that name, without a look at each.
    pub(crate) fn len(&self, method: Option<&str>) -> usize {
        let entries = self.lock();
        method.map_or(entries.calls.len(), |name| {
            let method = MethodName::new(name);
            entries.by_method.count(&method) + entries.builtin_to(&method).count()
        })
    }

    /// Calls to the method of that name, the mock's own services included.
    pub(crate) fn calls_to(&self, name: &str) -> Vec<Call> {
        self.lock().to(&MethodName::new(name)).cloned().collect()
    }

    /// The calls, or those to the method of that name, as they are put in order with those of other servers.
    pub(super) fn numbered(&self, method: Option<&str>) -> Vec<Numbered> {
        let entries = self.lock();
        match method {
            Some(name) => {
                let method = MethodName::new(name);
                entries.numbered_to(&method).cloned().collect()
            }
            None => entries.calls.iter().cloned().collect(),
        }
    }

    /// How many calls came, with those that went.
    pub(crate) fn arrived(&self) -> usize {
        self.lock().arrived()
    }

    /// How many calls there was no room for.
    pub(crate) fn dropped(&self) -> usize {
        self.lock().dropped
    }

    pub(crate) fn foreign(&self) -> Vec<String> {
        self.lock().foreign.clone()
    }

    pub(crate) fn refused(&self) -> Vec<RefusedConnection> {
        self.lock().refused.clone()
    }

    pub(crate) fn taken(&self) -> usize {
        self.lock().taken
    }

    /// The first call that this has not given out yet.
    pub(crate) fn take_next(&self) -> Option<Call> {
        let mut entries = self.lock();
        entries.taken = entries.taken.max(entries.dropped);
        let next = entries.taken - entries.dropped;
        let (_, call) = entries.calls.get(next).cloned()?;
        entries.taken += 1;
        Some(call)
    }

    pub(crate) fn clear(&self) {
        let entries = std::mem::take(&mut *self.lock());
        for (_, call) in entries.calls.iter().chain(&entries.builtin) {
            self.shared.shrink(call.detach());
        }
    }

    /// Waits until there is something to find. It is looked for whenever anything happens; a look that takes long is
    /// repeated only after as much time for others, so that it never takes more than half of it.
    pub(crate) async fn until<T>(&self, mut find: impl FnMut() -> Option<T>) -> T {
        loop {
            let mut news = pin!(self.shared.news.notified());
            news.as_mut().enable();
            let began = Instant::now();
            if let Some(found) = find() {
                return found;
            }
            let pause = began.elapsed().min(LONGEST_PAUSE);
            news.await;
            // No sleep: on a paused clock that would let time pass.
            let paused = Instant::now();
            while paused.elapsed() < pause {
                yield_now().await;
            }
        }
    }

    /// Waits until all calls have ended.
    pub(crate) async fn all_ended(&self) {
        loop {
            let unfinished = self.unfinished();
            if unfinished.is_nothing() {
                return;
            }
            for call in unfinished.in_flight {
                call.ended().await;
            }
            // They are in flight once they are here, or have ended.
            let none_arrives = || {
                let none = self.nameless.load(Ordering::Acquire) == 0;
                (none && self.lock_arriving().is_empty()).then_some(())
            };
            self.until(none_arrives).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn all(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().map(|(_, call)| call)
    }

    fn to<'a>(&'a self, method: &'a MethodName) -> impl Iterator<Item = &'a Call> {
        self.numbered_to(method).map(|(_, call)| call)
    }

    fn numbered_to<'a>(&'a self, method: &'a MethodName) -> impl Iterator<Item = &'a Numbered> {
        let numbers = self.by_method.numbers(method).into_iter();
        let stubbed = numbers.filter_map(|number| self.calls.get(number - self.dropped));
        stubbed.chain(self.builtin_to(method))
    }

    fn builtin_to<'a>(&'a self, method: &'a MethodName) -> impl Iterator<Item = &'a Numbered> {
        let named = |(_, call): &&Numbered| method.names(call.full_name());
        self.builtin.iter().filter(named)
    }

    fn arrived(&self) -> usize {
        self.dropped + self.calls.len()
    }

    fn push(&mut self, arrival: u64, call: Call) {
        let number = self.arrived();
        self.by_method.push(&call, number);
        self.calls.push_back((arrival, call));
    }

    fn pop_oldest(&mut self) -> Option<Call> {
        let (call, builtin) = (self.calls.front(), self.builtin.front());
        let builtin_is_older = match (call, builtin) {
            (Some((call, _)), Some((builtin, _))) => builtin < call,
            (None, builtin) => builtin.is_some(),
            (Some(_), None) => false,
        };
        if builtin_is_older {
            return self.builtin.pop_front().map(|(_, call)| call);
        }
        let (_, call) = self.calls.pop_front()?;
        self.dropped += 1;
        self.by_method.pop_oldest(&call);
        Some(call)
    }
}
