//! A fault in its place: what it strikes, decided without IO.

use crate::address::Address;
use crate::mock::dice::{SPREAD, Seed};
use crate::mock::fault::barrier::Barrier;
use crate::mock::fault::effect::{CallEffect, Effect, Position};
use crate::mock::fault::spec::{Fault, When};
use crate::mock::journal::Call;
use crate::mock::reply::{Delay, wait};
use crate::net::Way;
use crate::schema::MethodName;
use fastrand::Rng;
use std::{
    collections::HashMap,
    fmt,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::OnceCell;

/// One connection of all that a fault may see: it may be injected into several servers, and each counts its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionKey {
    pub(crate) server: Arc<Address>,
    pub(crate) id: u64,
}

/// An injected fault.
pub(crate) struct Placed {
    /// No two of a mock are alike.
    pub(crate) id: u64,
    /// What it is and where it was injected, for people.
    pub(crate) label: String,
    pub(crate) effect: Effect,
    pub(crate) position: Position,
    pub(crate) way: Option<Way>,
    pub(crate) when: When,
    pub(crate) barrier: Barrier,
    /// Whether it is in all servers of a cluster, which judges it.
    pub(crate) shared: bool,
    /// Where the delays of each strike are drawn from: they come when they come, and must not disturb the other dice.
    delays: u64,
    counts: Mutex<Counts>,
}

/// What its conditions count.
struct Counts {
    calls: u64,
    by_connection: HashMap<ConnectionKey, u64>,
    /// How many times it has happened, or is about to.
    taken: u64,
    dice: Rng,
    /// How many strikes there have been, with those that were given back.
    struck: u64,
}

impl Placed {
    /// `method` is the full name of its method, where a schema tells it. `shared`: whether it is in all servers of a cluster.
    pub(crate) fn new(
        id: u64,
        mut fault: Fault,
        method: Option<MethodName>,
        seed: &Seed,
        shared: bool,
        place: &Location<'_>,
    ) -> Self {
        let mut dice = if fault.is_random() {
            seed.dice(id)
        } else {
            Rng::with_seed(0)
        };
        fault.when.method = method.or(fault.when.method);
        Self {
            id,
            label: format!("{} ({place})", fault.name),
            position: fault.resolved(),
            effect: fault.effect,
            way: fault.way,
            when: fault.when,
            barrier: Barrier::new(),
            shared,
            delays: dice.u64(..),
            counts: Mutex::new(Counts {
                calls: 0,
                by_connection: HashMap::new(),
                taken: 0,
                dice,
                struck: 0,
            }),
        }
    }

    /// Whether a call decides when it happens.
    pub(crate) fn is_about_calls(&self) -> bool {
        matches!(self.effect, Effect::Call(_)) || self.when.is_about_calls()
    }

    /// Whether the answer to a call is not what it was.
    pub(crate) fn breaks_answers(&self) -> bool {
        matches!(&self.effect, Effect::Call(effect) if effect.breaks())
    }

    /// Whether it answers in the place of whatever serves the call.
    pub(crate) fn answers(&self) -> bool {
        let status = matches!(self.effect, Effect::Call(CallEffect::Status(_)));
        status && self.position == Position::Start
    }

    /// Whether the messages of this call decide whether it happens.
    pub(crate) fn needs_messages(&self, call: &Call) -> bool {
        let mut conditions = self.when.conditions.iter();
        let reads = conditions.any(|condition| condition.matcher.reads_messages());
        reads && self.may_strike(call)
    }

    fn may_strike(&self, call: &Call) -> bool {
        let concerns = match &self.when.method {
            Some(method) => method.names(call.full_name()),
            // A client's look-up of the schema is none of the test's calls.
            None => !call.is_builtin(),
        };
        concerns && self.is_about_calls() && self.is_of_connection(call.connection_id())
    }

    fn is_of_connection(&self, id: u64) -> bool {
        self.when.connection.is_none_or(|nth| nth.is_met(id))
    }

    /// Whether this call is struck, on this connection. It counts the call, and runs the test's own matchers.
    pub(crate) fn strikes_call(&self, call: &Call, connection: &ConnectionKey) -> bool {
        if !self.may_strike(call) {
            return false;
        }
        let mut conditions = self.when.conditions.iter();
        if !conditions.all(|condition| condition.matcher.matches(call)) {
            return false;
        }
        let mut counts = self.counts();
        counts.calls += 1;
        let nth_call = counts.calls;
        let when = &self.when;
        if let Some(nth) = when.nth_on_connection {
            let of_connection = counts.by_connection.entry(connection.clone());
            let nth_call = of_connection.or_default();
            *nth_call += 1;
            if !nth.is_met(*nth_call) {
                return false;
            }
        }
        when.nth_call.is_none_or(|nth| nth.is_met(nth_call)) && counts.roll(when.probability)
    }

    /// Whether this connection is struck, by a fault that no call decides about.
    pub(crate) fn strikes_connection(&self, id: u64) -> bool {
        let of_connections = matches!(self.effect, Effect::Line(_) | Effect::Admission(_));
        of_connections
            && !self.is_about_calls()
            && self.is_of_connection(id)
            && self.counts().roll(self.when.probability)
    }

    /// Takes one of the times that it may happen.
    pub(crate) fn take(self: &Arc<Self>, connection: ConnectionKey) -> Option<Strike> {
        if self.barrier.is_removed() {
            return None;
        }
        let mut counts = self.counts();
        if self.when.at_most.is_some_and(|most| counts.taken >= most) {
            return None;
        }
        let nth = counts.taken;
        counts.taken += 1;
        counts.struck += 1;
        let dice = Rng::with_seed(self.delays ^ counts.struck.wrapping_mul(SPREAD));
        drop(counts);
        Some(Strike {
            fault: Arc::clone(self),
            connection,
            hit: AtomicBool::new(false),
            held: OnceCell::new(),
            nth,
            dice: Mutex::new(dice),
        })
    }

    /// A connection has ended: what was counted for it is not needed any more.
    pub(crate) fn forget(&self, connection: &ConnectionKey) {
        self.counts().by_connection.remove(connection);
    }

    /// What it was expected to do and did, when that is not the same.
    pub(crate) fn unmet(&self) -> Option<String> {
        let (times, hits) = (self.when.times?, self.barrier.hits());
        let expected = times.of("hit");
        (!times.is_met(hits)).then(|| format!("{} expected {expected} and got {hits}", self.label))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Dice are thrown only where there is a probability, and then for each that comes so far.
    fn roll(&mut self, probability: Option<f64>) -> bool {
        probability.is_none_or(|probability| self.dice.f64() < probability)
    }
}

/// One time that a fault may happen. It is given back if it did not.
pub(crate) struct Strike {
    pub(crate) fault: Arc<Placed>,
    connection: ConnectionKey,
    hit: AtomicBool,
    /// One that is held by two words, or in both ways of a connection, is held once.
    held: OnceCell<()>,
    /// How many came before it, for delays that differ.
    nth: u64,
    dice: Mutex<Rng>,
}

impl Strike {
    /// It happens.
    pub(crate) fn hit(&self) {
        if !self.hit.swap(true, Ordering::AcqRel) {
            let ConnectionKey { server, id } = &self.connection;
            tracing::debug!(fault = %self.fault.label, %server, connection = id, "fault");
            self.fault.barrier.hit();
        }
    }

    /// Comes up to the moment at which it happens, and waits there if it is held. Tells whether it still happens.
    pub(crate) async fn come(&self) -> bool {
        let barrier = &self.fault.barrier;
        if barrier.is_removed() {
            return false;
        }
        self.hit();
        if self.fault.when.held {
            self.hold().await;
        }
        !barrier.is_removed()
    }

    /// Waits until it is released.
    pub(crate) async fn hold(&self) {
        let held = || self.fault.barrier.hold();
        self.held.get_or_init(held).await;
    }

    /// Waits for a delay, or until it is taken away.
    pub(crate) async fn wait(&self, delay: &Delay) {
        tokio::select! {
            biased;
            () = self.fault.barrier.removed() => {}
            () = wait(self.draw(delay)) => {}
        }
    }

    /// How long it waits, this time or for one of the pieces that it delays.
    pub(crate) fn draw(&self, delay: &Delay) -> Duration {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        delay.of(self.nth, &mut dice)
    }
}

impl fmt::Debug for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Strike({})", self.fault.label)
    }
}

impl Drop for Strike {
    fn drop(&mut self) {
        if *self.hit.get_mut() {
            self.fault.barrier.let_go();
        } else {
            self.fault.counts().taken -= 1;
        }
    }
}
