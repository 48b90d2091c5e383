//! All mounted stubs, and which of them serves a call.

use crate::mock::journal::Call;
use crate::mock::mounted::{Mounted, Taken};
use crate::mock::stub::Stub;
use crate::schema::{MethodName, Shape, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// All mounted stubs. [`Stub`] tells in which order they are asked.
#[derive(Default)]
pub(crate) struct Registry {
    stubs: Mutex<Stubs>,
    /// The number of the next stub. The servers of a cluster count them together.
    ids: Arc<AtomicU64>,
}

#[derive(Default)]
struct Stubs {
    /// By the last part of the method's name.
    by_method: BTreeMap<String, Shared>,
    any: Shared,
    /// Those that another registry has mounted, by number.
    adopted: HashSet<u64>,
}

/// What is known of a call before its messages come.
pub(crate) enum Before {
    /// This stub serves it.
    Taken(Taken),
    /// Its messages decide, or the reply needs them.
    Undecided,
    /// Whatever its messages are, no stub is for it.
    Unmatched,
}

/// Shared, and copied when it changes, so that a call reads it without holding the lock while matchers run.
type Shared = Arc<Bucket>;

/// Some stubs, each list in order of rank.
#[derive(Clone, Default)]
struct Bucket {
    /// Those that want one JSON request and no other, by its hash, so that a thousand of them cost no more than one.
    by_request: HashMap<u64, Vec<Arc<Mounted>>>,
    others: Vec<Arc<Mounted>>,
    /// Both.
    all: Vec<Arc<Mounted>>,
}

impl Bucket {
    fn insert(&mut self, stub: &Arc<Mounted>) {
        let list = match stub.request_hash {
            Some(hash) => self.by_request.entry(hash).or_default(),
            None => &mut self.others,
        };
        for list in [list, &mut self.all] {
            let place = list.partition_point(|other| other.rank < stub.rank);
            list.insert(place, Arc::clone(stub));
        }
    }

    fn remove(&mut self, id: u64) {
        let stays = |stub: &Arc<Mounted>| stub.server.id != id;
        self.others.retain(stays);
        self.all.retain(stays);
        self.by_request.retain(|_, list| {
            list.retain(stays);
            !list.is_empty()
        });
    }
}

/// The stubs that may be for a call.
struct Candidates {
    named: Shared,
    any: Shared,
}

impl Candidates {
    /// Those that this call's request does not rule out, in order.
    fn in_order<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = &'a Arc<Mounted>> {
        // One request that is wanted is compared sooner than hashed.
        let many = self.named.by_request.len() + self.any.by_request.len() > 1;
        let hash = many.then(|| request_hash(call));
        let keyed = |bucket: &'a Bucket| {
            let keyed = match hash {
                Some(hash) => bucket.by_request.get(&hash),
                None => bucket.by_request.values().next(),
            };
            keyed.map_or(&[] as &[_], Vec::as_slice)
        };
        let (named, any) = (&*self.named, &*self.any);
        let lists = [keyed(named), &named.others, keyed(any), &any.others];
        merged(lists).filter(|stub| stub.names(call))
    }

    /// All for this call's method, in order.
    fn naming<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = &'a Arc<Mounted>> {
        merged([&self.named.all, &self.any.all]).filter(|stub| stub.names(call))
    }
}

/// Several lists in order of rank as one.
fn merged<const N: usize>(mut lists: [&[Arc<Mounted>]; N]) -> impl Iterator<Item = &Arc<Mounted>> {
    std::iter::from_fn(move || {
        let heads = lists.iter_mut().filter(|list| !list.is_empty());
        let first = heads.min_by_key(|list| list[0].rank)?;
        let (stub, rest) = first.split_first()?;
        *first = rest;
        Some(stub)
    })
}

/// The hash of what JSON stubs compare with: a call that streams both ways has one message when it is matched.
fn request_hash(call: &Call) -> u64 {
    let request = call.request_ref();
    match call.shape() {
        Some(Shape::BidiStreaming) => json::hash(request.get(0).unwrap_or_default()),
        _ => json::hash(&request),
    }
}

impl Registry {
    pub(crate) fn new(ids: Arc<AtomicU64>) -> Self {
        let stubs = Mutex::default();
        Self { stubs, ids }
    }

    /// A number that nothing else in this mock has.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Mounts a stub. `method` is the full name of its method, where a schema tells it; `hashed` tells that its JSON is in
    /// the form in which requests are printed.
    pub(crate) fn mount(
        &self,
        stub: Stub,
        method: Option<MethodName>,
        hashed: bool,
        place: &Location<'_>,
    ) -> Arc<Mounted> {
        let mut mounted = Mounted::new(self.next_id(), stub, method, place);
        if !hashed {
            mounted.request_hash = None;
        }
        let mounted = Arc::new(mounted);
        let mut stubs = self.lock();
        let bucket = stubs.bucket(mounted.method());
        Arc::make_mut(bucket).insert(&mounted);
        mounted
    }

    /// Shares a stub of another registry, with its counts.
    pub(crate) fn adopt(&self, stub: &Arc<Mounted>) {
        let mut stubs = self.lock();
        stubs.adopted.insert(stub.server.id);
        Arc::make_mut(stubs.bucket(stub.method())).insert(stub);
    }

    pub(crate) fn unmount(&self, stub: &Mounted) {
        // A call that has it in its list already does not get it.
        stub.unmount();
        let mut stubs = self.lock();
        Arc::make_mut(stubs.bucket(stub.method())).remove(stub.server.id);
        stubs.adopted.remove(&stub.server.id);
    }

    /// Forgets all stubs. Those of another registry serve on elsewhere.
    pub(crate) fn clear(&self) {
        let stubs = std::mem::take(&mut *self.lock());
        for stub in stubs.own() {
            stub.unmount();
        }
    }

    /// The stub that serves this call. No lock is held while matchers run.
    pub(crate) fn take(&self, call: &Call) -> Option<Taken> {
        let candidates = self.candidates(call);
        let mut order = candidates.in_order(call);
        order.find_map(|stub| stub.accepts(call).then(|| stub.take()).flatten())
    }

    /// What is known of this call before its messages come. A stub that looks at no message, and answers all calls alike,
    /// takes it at once if it may: if `takes`, and its reply needs no message either.
    pub(crate) fn before_messages(&self, call: &Call, takes: bool) -> Before {
        let candidates = self.candidates(call);
        let bidi = call.shape() == Some(Shape::BidiStreaming);
        for stub in candidates.naming(call) {
            if stub.stands_aside().is_some() || !stub.accepts_headers(call) {
                continue;
            }
            let ready = takes
                && !stub.reads_messages()
                && stub.all_fixed(|reply| bidi || reply.is_stream());
            if !ready {
                return Before::Undecided;
            }
            if let Some(taken) = stub.take() {
                return Before::Taken(taken);
            }
        }
        Before::Unmatched
    }

    /// The stubs for this call's method, in order.
    pub(crate) fn naming(&self, call: &Call) -> Vec<Arc<Mounted>> {
        let candidates = self.candidates(call);
        candidates.naming(call).cloned().collect()
    }

    /// All stubs, in the order of their mounting.
    pub(crate) fn all(&self) -> Vec<Arc<Mounted>> {
        in_order_of_mounting(self.lock().all())
    }

    /// Those that were mounted here, in the order of their mounting.
    pub(crate) fn own(&self) -> Vec<Arc<Mounted>> {
        in_order_of_mounting(self.lock().own())
    }

    fn candidates(&self, call: &Call) -> Candidates {
        let stubs = self.lock();
        let named = stubs.by_method.get(call.bare_name()).map(Arc::clone);
        Candidates {
            named: named.unwrap_or_default(),
            any: Arc::clone(&stubs.any),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stubs> {
        self.stubs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_order_of_mounting<'a>(stubs: impl Iterator<Item = &'a Arc<Mounted>>) -> Vec<Arc<Mounted>> {
    let mut stubs: Vec<_> = stubs.cloned().collect();
    stubs.sort_by_key(|stub| stub.server.id);
    stubs
}

impl Stubs {
    fn bucket(&mut self, method: Option<&MethodName>) -> &mut Shared {
        match method {
            Some(method) => self.by_method.entry(method.bare().to_owned()).or_default(),
            None => &mut self.any,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        let buckets = self.by_method.values().chain([&self.any]);
        buckets.flat_map(|bucket| &bucket.all)
    }

    fn own(&self) -> impl Iterator<Item = &Arc<Mounted>> {
        let adopted = |stub: &&Arc<Mounted>| self.adopted.contains(&stub.server.id);
        self.all().filter(move |stub| !adopted(stub))
    }
}
