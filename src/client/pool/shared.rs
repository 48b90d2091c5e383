//! A pool's state, under one lock that is never held across an await.

use crate::address::Address;
use crate::client::connection::ConnectionState;
use crate::client::dial::connect_error;
use crate::client::handle::Client;
use crate::client::pool::keeper::Keeper;
use crate::client::pool::lease::Lease;
use crate::client::pool::member::{Member, Told};
use crate::client::pool::queue::{Place, Ticket};
use crate::client::pool::slots::{Observed, Slots, Wanted};
use crate::client::pool::state::{Answer, Chores, Granted, Standing, State, closed};
use crate::client::pool::stats::PoolStats;
use crate::client::pool::turn::Turn;
use crate::error::{Error, Kind};
use std::{
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

pub(super) struct Shared {
    pub(super) address: Address,
    /// The client that all connections are made after. It has one of its own only to log in.
    pub(super) first: Client,
    pub(super) told: Told,
    acquire_timeout: Duration,
    state: Mutex<State>,
    /// Wakes the keeper.
    wake: Arc<Notify>,
    /// Whether the pool is closed and all its connections are.
    gone: watch::Sender<bool>,
}

impl Shared {
    /// With the clients that are connected already.
    pub(super) fn new(
        address: Address,
        first: Client,
        told: Told,
        acquire_timeout: Duration,
        mut slots: Slots<Member>,
        connected: Vec<Client>,
    ) -> Self {
        let now = Instant::now();
        for client in connected {
            let id = slots.dial(Member::new(client), now);
            slots.connected(id, now, fastrand::f64());
        }
        Self {
            address,
            first,
            told,
            acquire_timeout,
            state: Mutex::new(State::new(slots)),
            wake: Arc::default(),
            gone: watch::Sender::new(false),
        }
    }

    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Lease, Error> {
        let mut turn = Turn::new(self);
        poll_fn(|context| turn.poll(context.waker())).await
    }

    /// Takes a lease, or the last place in the queue.
    pub(super) fn ask(self: &Arc<Self>, waker: &Waker) -> Asked {
        let mut state = self.kept();
        if state.standing != Standing::Open {
            return Asked::Answered(Err(closed(&self.address)));
        }
        if state.queue.is_empty()
            && let Some(granted) = state.grant()
        {
            drop(state);
            return Asked::Answered(Ok(self.lease(granted)));
        }
        let now = Instant::now();
        if state.queue.is_empty()
            && let Some(error) = state.hopeless(now)
        {
            return Asked::Answered(Err(error));
        }
        let until = now.checked_add(self.acquire_timeout);
        let ticket = state.join(waker.clone(), until);
        let has_chores = state.has_chores(now);
        drop(state);
        if has_chores {
            self.wake.notify_one();
        }
        Asked::Waits(ticket)
    }

    /// What came of a place in the queue, if anything did.
    pub(super) fn answer(
        self: &Arc<Self>,
        ticket: Ticket,
        waker: &Waker,
    ) -> Poll<Result<Lease, Error>> {
        let mut state = self.kept();
        let over = match state.queue.waker(ticket) {
            Some(last) if last.will_wake(waker) => None,
            Some(last) => Some(mem::replace(last, waker.clone())),
            None => {
                let answer = state.queue.leave(ticket);
                drop(state);
                let answer = answer.and_then(|answer| self.taken(answer));
                return answer.map_or(Poll::Pending, Poll::Ready);
            }
        };
        drop(state);
        drop(over);
        Poll::Pending
    }

    /// Gives up a place in the queue. A lease that came to it goes to the next.
    pub(super) fn leave(self: &Arc<Self>, ticket: Ticket) {
        let left = self.lock().queue.leave(ticket);
        drop(left.map(|left| self.taken(left)));
    }

    fn taken(self: &Arc<Self>, place: Place<Answer>) -> Option<Result<Lease, Error>> {
        match place {
            Place::Answered(answer) => Some(answer.map(|granted| self.lease(granted))),
            Place::Waits { .. } | Place::Left => None,
        }
    }

    fn lease(self: &Arc<Self>, Granted { id, client }: Granted) -> Lease {
        Lease::new(Arc::clone(self), id, client)
    }

    pub(super) fn give_back(self: &Arc<Self>, id: u64) {
        let (mut state, now) = (self.lock(), Instant::now());
        let over = state.slots.give_back(id, now);
        state.close(over);
        self.settle(state, now);
    }

    /// A dial has ended.
    pub(super) fn dialled(&self, id: u64, connected: Result<(), Error>) {
        let (now, dice) = (Instant::now(), fastrand::f64());
        let mut state = self.lock();
        match connected {
            Ok(()) => {
                state.slots.connected(id, now, dice);
                state.error = None;
                let member = state.slots.member(id);
                let is_ready = member.is_none_or(Member::is_ready);
                if !is_ready {
                    self.observe(&mut state, id, false, now);
                }
            }
            Err(error) => {
                if let Some(over) = state.slots.unconnected(id, dice) {
                    tracing::debug!(address = %self.address, %error, "no connection for the pool");
                    state.close(over);
                    state.error = Some(error);
                }
            }
        }
        self.settle(state, now);
    }

    /// No dial could even begin.
    pub(super) fn cannot_dial(&self, error: Error) {
        let (mut state, now) = (self.lock(), Instant::now());
        state.slots.cannot_dial(now, fastrand::f64());
        state.error = Some(error);
        self.settle(state, now);
    }

    /// A connection is ready or not, by itself. `false`, when it is not the pool's any more.
    pub(super) fn observed(&self, id: u64, ready: bool) -> bool {
        let (mut state, now) = (self.lock(), Instant::now());
        let is_ours = self.observe(&mut state, id, ready, now);
        self.settle(state, now);
        is_ours
    }

    fn observe(&self, state: &mut State, id: u64, ready: bool, now: Instant) -> bool {
        let observed = state.slots.observe(id, ready, now, fastrand::f64());
        match observed {
            Observed::Gone => return false,
            Observed::Lost { in_vain, close } => {
                state.close(close);
                if in_vain {
                    let address = &self.address;
                    let text = format!(
                        "{address} accepts connections and ends them before anybody uses them"
                    );
                    state.error = Some(connect_error(text));
                }
            }
            Observed::Nothing => {}
        }
        true
    }

    /// Answers those who wait, if there is something to tell them, and wakes the keeper if there is something for it. All
    /// are woken when the lock is free.
    fn settle(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        // Mostly it is one, which takes no allocation.
        let (mut first, mut more) = (None, Vec::new());
        while let Some(waker) = state.next_answer(now, &self.address) {
            match first {
                None => first = Some(waker),
                Some(_) => more.push(waker),
            }
        }
        let has_chores = state.has_chores(now);
        drop(state);
        first.into_iter().chain(more).for_each(Waker::wake);
        if has_chores {
            self.wake.notify_one();
        }
    }

    /// Takes no more callers, and returns when all connections are closed; those with leases are cut when the limit is over.
    pub(super) async fn close(self: &Arc<Self>, limit: Duration) {
        let mut gone = self.gone.subscribe();
        drop(self.kept());
        self.begin_to_close();
        if timeout(limit, gone.wait_for(|gone| *gone)).await.is_err() {
            self.lock().standing = Standing::Cut;
            self.wake.notify_one();
            // The sender is in `self`.
            drop(gone.wait_for(|gone| *gone).await);
        }
        self.first.drain(Duration::ZERO).await;
    }

    fn begin_to_close(&self) {
        let mut state = self.lock();
        if state.standing == Standing::Open {
            state.standing = Standing::Closed;
            let over = state.slots.retire_all();
            state.close(over);
        }
        self.settle(state, Instant::now());
    }

    pub(super) fn is_gone(&self) {
        self.gone.send_replace(true);
    }

    /// What has to be done now, with a client for one more connection if [one is wanted](Self::retire).
    pub(super) fn chores(&self, now: Instant, another: Option<Client>) -> Chores {
        self.lock().chores(now, another)
    }

    /// Gives up what is over, and tells those whose patience is. Whether one more connection is wanted then.
    pub(super) fn retire(&self, now: Instant) -> bool {
        let mut state = self.lock();
        state.retire(now);
        let mut late = Vec::new();
        while state.queue.ends().is_some_and(|end| end <= now) {
            let error = self.timed_out(&mut state);
            late.extend(state.queue.answer(Err(error)));
        }
        let is_wanted = state.wanted(now) == Wanted::New;
        drop(state);
        late.into_iter().for_each(Waker::wake);
        is_wanted
    }

    /// All that have to be watched, for a keeper that begins.
    pub(super) fn members(&self) -> Vec<(u64, watch::Receiver<ConnectionState>)> {
        let state = self.lock();
        let members = state.slots.members();
        members.map(|(id, member)| (id, member.state())).collect()
    }

    pub(super) fn stats(&self) -> PoolStats {
        self.lock().stats()
    }

    /// The state, with a keeper to act on it.
    pub(super) fn kept(self: &Arc<Self>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.is_kept || *self.gone.borrow() {
            return state;
        }
        state.is_kept = true;
        // A runtime that has ended drops it at once, which tells the pool.
        drop(state);
        tokio::spawn(Keeper::new(self, Arc::clone(&self.wake)).keep());
        self.lock()
    }

    /// The keeper is no more, as when its runtime has ended. Whoever still waits has another one made.
    pub(super) fn unkept(&self) {
        let mut state = self.lock();
        state.is_kept = false;
        let wakers = state.queue.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// What a dial ended with that did not end.
    pub(super) fn given_up(&self) -> Error {
        connect_error(format!("the dial of {} was given up", self.address))
    }

    fn timed_out(&self, state: &mut State) -> Error {
        state.timeouts += 1;
        let stats = state.slots.stats();
        let (address, limit) = (&self.address, self.acquire_timeout);
        let mut text = format!(
            "no lease of a connection to {address} within the acquire timeout of {limit:?} (connections: {} of at most {}, leases out: {}",
            stats.size, stats.max, stats.leases
        );
        text.push_str(match stats.dialling {
            0 => ")",
            _ => ", being dialled: 1)",
        });
        let error = Error::new(Kind::Timeout, text);
        match state.error.clone() {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The keeper sees that there is no pool any more.
        self.wake.notify_one();
    }
}

pub(super) enum Asked {
    Answered(Result<Lease, Error>),
    Waits(Ticket),
}
