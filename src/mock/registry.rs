//! The mounted stubs, and which of them serves a call.

use crate::mock::journal::Call;
use crate::mock::matcher::Matcher;
use crate::mock::reply::{Reply, ReplyFn, Responder};
use crate::mock::stub::Stub;
use crate::schema::MethodName;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A stub in its place.
pub(crate) struct Mounted {
    method: Option<MethodName>,
    matchers: Vec<Box<dyn Matcher>>,
    pub(crate) reply: Responder,
    pub(crate) label: Arc<str>,
}

/// All mounted stubs.
///
/// A stub for a method comes before one for any; of two alike the one mounted later comes first, so that a test can
/// put a special case in front of its fixture's. The first in this order whose matchers accept serves the call.
#[derive(Default)]
pub(crate) struct Registry {
    stubs: Mutex<Stubs>,
}

/// A list that is shared, and copied when it changes, so that a call reads it without holding the lock while matchers
/// run.
type Shared = Arc<Vec<Arc<Mounted>>>;

#[derive(Default)]
struct Stubs {
    /// By the last part of the method's name. The latest stands last.
    by_method: HashMap<String, Shared>,
    any: Shared,
}

impl Mounted {
    fn names(&self, call: &Call) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| method.names(call.full_name()))
    }

    fn accepts(&self, call: &Call) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(call))
    }

    /// Its reply, when it is the same for every call.
    fn fixed(&self) -> Option<&Reply> {
        match &self.reply {
            Responder::Fixed(reply) if self.matchers.is_empty() => Some(reply),
            _ => None,
        }
    }
}

impl Registry {
    /// Mounts a stub; `resolved` is the full name of its method, where a schema tells it.
    pub(crate) fn mount(&self, stub: Stub, resolved: Option<MethodName>) {
        let label = stub.label().into();
        let empty = || {
            ReplyFn(Responder::Fixed(Arc::new(Reply::json(Value::Object(
                Map::new(),
            )))))
        };
        let mounted = Arc::new(Mounted {
            method: resolved.or(stub.method),
            matchers: stub.matchers,
            reply: stub.reply.unwrap_or_else(empty).0,
            label,
        });
        let mut stubs = self.lock();
        let list = match &mounted.method {
            Some(method) => stubs.by_method.entry(method.bare().to_owned()).or_default(),
            None => &mut stubs.any,
        };
        Arc::make_mut(list).push(mounted);
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Stubs::default();
    }

    /// The stub that serves this call. No lock is held while matchers run.
    pub(crate) fn select(&self, call: &Call) -> Option<Arc<Mounted>> {
        let (named, any) = self.candidates(call);
        let order = named.iter().rev().chain(any.iter().rev());
        order
            .filter(|stub| stub.names(call))
            .find(|stub| stub.accepts(call))
            .cloned()
    }

    /// The stub that serves this call whatever its messages are, and answers all calls alike: a call that streams need
    /// not wait for a message then.
    pub(crate) fn select_early(&self, call: &Call) -> Option<(Arc<Mounted>, bool)> {
        let (named, any) = self.candidates(call);
        let mut order = named.iter().rev().chain(any.iter().rev());
        let first = order.find(|stub| stub.names(call))?;
        let is_stream = first.fixed()?.is_stream();
        Some((Arc::clone(first), is_stream))
    }

    /// Whether any stub is for this call's method.
    pub(crate) fn names(&self, call: &Call) -> bool {
        let (named, any) = self.candidates(call);
        named.iter().chain(any.iter()).any(|stub| stub.names(call))
    }

    /// The labels of the stubs for this call's method, and of all others.
    pub(crate) fn labels(&self, call: &Call) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let stubs = self.lock();
        let all: Vec<_> = stubs
            .by_method
            .values()
            .chain([&stubs.any])
            .flat_map(|list| list.iter().cloned())
            .collect();
        drop(stubs);
        let (near, far): (Vec<_>, Vec<_>) = all.into_iter().partition(|stub| stub.names(call));
        let labels = |stubs: Vec<Arc<Mounted>>| {
            let mut labels: Vec<_> = stubs.iter().map(|stub| Arc::clone(&stub.label)).collect();
            labels.sort();
            labels
        };
        (labels(near), labels(far))
    }

    fn candidates(&self, call: &Call) -> (Shared, Shared) {
        let stubs = self.lock();
        let bare = call
            .full_name()
            .rsplit(['/', '.'])
            .next()
            .unwrap_or_default();
        let named = stubs
            .by_method
            .get(bare)
            .map(Arc::clone)
            .unwrap_or_default();
        (named, Arc::clone(&stubs.any))
    }

    fn lock(&self) -> MutexGuard<'_, Stubs> {
        self.stubs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
