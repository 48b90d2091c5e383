//! A stub in its place, with its count.

use crate::mock::journal::{Call, Server};
use crate::mock::reply::{IntoReply as _, Reply, Responder};
use crate::mock::sequence::Turn;
use crate::mock::stub::{Condition, Replies, Stub};
use crate::mock::times::Times;
use crate::schema::MethodName;
use std::{
    cmp::Reverse,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tonic::Status;

/// A mounted stub.
pub(crate) struct Mounted {
    pub(crate) server: Arc<Server>,
    pub(crate) rank: Rank,
    method: Option<MethodName>,
    pub(crate) conditions: Vec<Condition>,
    /// The hash that the request must have.
    pub(crate) request_hash: Option<u64>,
    replies: Vec<Replies>,
    /// How many calls it serves before it stands aside.
    limit: Option<u64>,
    pub(crate) times: Option<Times>,
    turn: Option<Turn>,
    served: AtomicU64,
    unmounted: AtomicBool,
}

/// The order in which stubs are asked: the least first. No two of a mock are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    priority: Reverse<i32>,
    for_any: bool,
    mounted: Reverse<u64>,
}

/// A stub that took a call.
#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) stub: Arc<Mounted>,
    /// Which of its calls it is, from 0.
    pub(crate) nth: u64,
}

impl Taken {
    pub(crate) fn responder(&self) -> &Responder {
        self.stub.responder(self.nth)
    }
}

impl Mounted {
    /// `method` is the full name of the stub's method, where a schema tells it.
    pub(crate) fn new(
        id: u64,
        stub: Stub,
        method: Option<MethodName>,
        place: &Location<'_>,
    ) -> Self {
        let label = stub.label(place);
        let counts = stub.replies.iter().map(|reply| reply.count);
        let total = counts.fold(0, u64::saturating_add);
        let spent = (!stub.sticks).then_some(total);
        let limit = stub.at_most.into_iter().chain(spent).min();
        // In a sequence a stub expects its one call, or as many as it has replies for.
        let times = match (stub.times, &stub.sequence) {
            (None, Some(_)) => Some(Times::from(total.max(1))),
            (times, _) => times,
        };
        let turn = stub.sequence.as_ref().zip(times);
        let turn = turn.map(|(sequence, times)| sequence.join(label.clone(), times));
        let mut replies = stub.replies;
        if replies.is_empty() {
            let never = times
                .filter(|times| times.most() == 0)
                .map(|_| unexpected(&label));
            let reply = never.map_or_else(Reply::default, Reply::from);
            replies.push(Replies {
                responder: Arc::new(reply.into_reply().0),
                count: 1,
            });
        }
        Self {
            rank: Rank {
                priority: Reverse(stub.priority),
                for_any: stub.method.is_none(),
                mounted: Reverse(id),
            },
            server: Arc::new(Server {
                id,
                name: stub.name,
                label,
                secret: stub.secret,
            }),
            method: method.or(stub.method),
            request_hash: request_hash(&stub.conditions),
            conditions: stub.conditions,
            replies,
            limit,
            times,
            turn,
            served: AtomicU64::new(0),
            unmounted: AtomicBool::new(false),
        }
    }

    pub(crate) fn method(&self) -> Option<&MethodName> {
        self.method.as_ref()
    }

    pub(crate) fn is_secret(&self) -> bool {
        self.server.secret
    }

    pub(crate) fn label(&self) -> &str {
        &self.server.label
    }

    /// Whether it is for the method of this call.
    pub(crate) fn names(&self, call: &Call) -> bool {
        let named = self.method.as_ref();
        named.is_none_or(|method| method.names(call.full_name()))
    }

    pub(crate) fn accepts(&self, call: &Call) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.all(|condition| condition.matcher.matches(call))
    }

    /// Whether the conditions accept that look at no message.
    pub(crate) fn accepts_headers(&self, call: &Call) -> bool {
        let conditions = self.conditions.iter().map(|condition| &condition.matcher);
        let mut early = conditions.filter(|matcher| !matcher.reads_messages());
        early.all(|matcher| matcher.matches(call))
    }

    pub(crate) fn reads_messages(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|condition| condition.matcher.reads_messages())
    }

    /// Whether each of its replies is the same for every call, and satisfies this.
    pub(crate) fn all_fixed(&self, is: impl Fn(&Reply) -> bool) -> bool {
        self.replies.iter().all(|reply| match &*reply.responder {
            Responder::Fixed(reply) => is(reply),
            Responder::Async(_) | Responder::Sync(_) => false,
        })
    }

    /// Takes a call, if it has replies left and it is its turn. Tells which of its calls it is.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Taken> {
        if self.unmounted.load(Ordering::Acquire) {
            return None;
        }
        let nth = match &self.turn {
            Some(turn) => turn.take(|| self.count()),
            None => self.count(),
        };
        Some(Taken {
            stub: Arc::clone(self),
            nth: nth?,
        })
    }

    /// Counts a call, if there is one left. Gives the number of those before.
    fn count(&self) -> Option<u64> {
        let below = |served: u64| match self.limit {
            Some(limit) if served >= limit => None,
            _ => Some(served + 1),
        };
        let counted = self
            .served
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, below);
        counted.ok()
    }

    /// Why it takes no call now, whatever the call is.
    pub(crate) fn stands_aside(&self) -> Option<String> {
        if let Some(limit) = self.limit.filter(|limit| self.served() >= *limit) {
            let calls = if limit == 1 { "call" } else { "calls" };
            return Some(format!("it has served the {limit} {calls} that it is for"));
        }
        self.turn.as_ref().and_then(Turn::waits_for)
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    pub(crate) fn unmount(&self) {
        self.unmounted.store(true, Ordering::Release);
        if let Some(turn) = &self.turn {
            turn.leave();
        }
    }

    /// What it expected and got, when that is not the same.
    pub(crate) fn unmet(&self) -> Option<String> {
        let (times, served) = (self.times?, self.served());
        let text = || format!("{} expected {times} and got {served}", self.label());
        (!times.is_met(served)).then(text)
    }

    fn responder(&self, nth: u64) -> &Responder {
        let mut before = 0_u64;
        let reply = self.replies.iter().find(|reply| {
            before = before.saturating_add(reply.count);
            nth < before
        });
        let reply = reply.or_else(|| self.replies.last());
        &reply.expect("a mounted stub has a reply").responder
    }
}

fn request_hash(conditions: &[Condition]) -> Option<u64> {
    let mut conditions = conditions.iter();
    conditions.find_map(|condition| condition.matcher.request_hash())
}

fn unexpected(label: &str) -> Status {
    Status::failed_precondition(format!("{label} expects no calls"))
}
