//! A pool's state, under one lock that is never held across an await.

use crate::address::Address;
use crate::client::connection::ConnectionState;
use crate::client::dial::connect_error;
use crate::client::handle::Client;
use crate::client::pool::keeper::keep;
use crate::client::pool::lease::Lease;
use crate::client::pool::member::{Member, Told};
use crate::client::pool::queue::Ticket;
use crate::client::pool::slots::{Observed, Slots, Wanted};
use crate::client::pool::state::{Chores, Standing, State};
use crate::client::pool::stats::PoolStats;
use crate::error::{Error, Kind};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::AbortHandle,
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
        let (ticket, mut answer) = match self.ask()? {
            Asked::Granted(lease) => return Ok(lease),
            Asked::Waits(ticket, answer) => (ticket, answer),
        };
        // Dropped before the answer: whoever is cancelled leaves the queue, and a lease that came meanwhile goes back.
        let place = Place {
            shared: self,
            ticket: Some(ticket),
        };
        let answer = match timeout(self.acquire_timeout, &mut answer).await {
            Ok(answer) => {
                place.served();
                answer
            }
            Err(_) if place.leave() => return Err(self.timed_out()),
            // Its turn had come in the same moment.
            Err(_) => answer.await,
        };
        answer.unwrap_or_else(|_| Err(closed(&self.address)))
    }

    /// Takes a lease, or the last place in the queue.
    fn ask(self: &Arc<Self>) -> Result<Asked, Error> {
        let mut state = self.lock();
        if state.standing != Standing::Open {
            return Err(closed(&self.address));
        }
        self.ensure_kept(&mut state);
        if state.queue.is_empty() {
            if let Some(lease) = self.grant(&mut state) {
                return Ok(Asked::Granted(lease));
            }
            if let Some(error) = state.hopeless(Instant::now()) {
                return Err(error);
            }
        }
        state.waits += 1;
        let (waiter, answer) = oneshot::channel();
        let ticket = state.queue.join(waiter);
        self.settle(state);
        Ok(Asked::Waits(ticket, answer))
    }

    fn grant(self: &Arc<Self>, state: &mut State) -> Option<Lease> {
        let (id, member) = state.slots.grant(Member::places)?;
        Some(Lease::new(Arc::clone(self), id, member.client.clone()))
    }

    pub(super) fn give_back(self: &Arc<Self>, id: u64) {
        let mut state = self.lock();
        let over = state.slots.give_back(id, Instant::now());
        state.close(over);
        self.settle(state);
    }

    /// A dial has ended.
    pub(super) fn dialled(self: &Arc<Self>, id: u64, connected: Result<(), Error>) {
        let (now, dice) = (Instant::now(), fastrand::f64());
        let mut state = self.lock();
        match connected {
            Ok(()) => {
                state.slots.connected(id, now, dice);
                state.error = None;
                let member = state.slots.member(id);
                let is_ready = member.is_none_or(Member::is_ready);
                if !is_ready {
                    self.observe(&mut state, id, false);
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
        self.settle(state);
    }

    /// No dial could even begin.
    pub(super) fn cannot_dial(self: &Arc<Self>, error: Error) {
        let mut state = self.lock();
        state.slots.cannot_dial(Instant::now(), fastrand::f64());
        state.error = Some(error);
        self.settle(state);
    }

    /// A connection is ready or not, by itself. `false`, when it is not the pool's any more.
    pub(super) fn observed(self: &Arc<Self>, id: u64, ready: bool) -> bool {
        let mut state = self.lock();
        let is_ours = self.observe(&mut state, id, ready);
        self.settle(state);
        is_ours
    }

    fn observe(&self, state: &mut State, id: u64, ready: bool) -> bool {
        let observed = state
            .slots
            .observe(id, ready, Instant::now(), fastrand::f64());
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

    /// Hands out what can be had to those who wait, and wakes the keeper if there is something for it. Nobody is told
    /// anything before the lock is free: a lease that nobody takes comes straight back.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        // Mostly it is one, which takes no allocation.
        let (mut first, mut more) = (None, Vec::new());
        let mut answers = |waiter, answer| match first {
            None => first = Some((waiter, answer)),
            Some(_) => more.push((waiter, answer)),
        };
        while !state.queue.is_empty() && state.standing == Standing::Open {
            let answer = match self.grant(&mut state) {
                Some(lease) => Ok(lease),
                None => match state.hopeless(now) {
                    Some(error) => Err(error),
                    None => break,
                },
            };
            if let Some(waiter) = state.queue.pop() {
                answers(waiter, answer);
            }
        }
        if state.standing != Standing::Open {
            while let Some(waiter) = state.queue.pop() {
                answers(waiter, Err(closed(&self.address)));
            }
        }
        let has_chores = state.has_chores(now);
        drop(state);
        for (waiter, answer) in first.into_iter().chain(more) {
            drop(waiter.send(answer));
        }
        if has_chores {
            self.wake.notify_one();
        }
    }

    /// Takes no more callers, and returns when all connections are closed; those with leases are cut when the limit is over.
    pub(super) async fn close(self: &Arc<Self>, limit: Duration) {
        let mut gone = self.gone.subscribe();
        self.ensure_keeper();
        self.begin_to_close();
        if timeout(limit, gone.wait_for(|gone| *gone)).await.is_err() {
            self.lock().standing = Standing::Cut;
            self.wake.notify_one();
            // The sender is in `self`.
            drop(gone.wait_for(|gone| *gone).await);
        }
        self.first.drain(Duration::ZERO).await;
    }

    fn begin_to_close(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.standing == Standing::Open {
            state.standing = Standing::Closed;
            let over = state.slots.retire_all();
            state.close(over);
        }
        self.settle(state);
    }

    pub(super) fn is_gone(&self) {
        self.gone.send_replace(true);
    }

    /// What has to be done now, with a client for one more connection if [one is wanted](Self::retire).
    pub(super) fn chores(&self, now: Instant, another: Option<Client>) -> Chores {
        self.lock().chores(now, another)
    }

    /// Gives up what is over. Whether one more connection is wanted then.
    pub(super) fn retire(&self, now: Instant) -> bool {
        let mut state = self.lock();
        state.retire(now);
        state.wanted(now) == Wanted::New
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

    /// There is a keeper, also when the runtime of the last one has ended.
    pub(super) fn ensure_keeper(self: &Arc<Self>) {
        self.ensure_kept(&mut self.lock());
    }

    fn ensure_kept(self: &Arc<Self>, state: &mut State) {
        let is_finished = state.keeper.as_ref().is_none_or(AbortHandle::is_finished);
        if is_finished && !*self.gone.borrow() {
            let keeper = keep(Arc::downgrade(self), Arc::clone(&self.wake));
            state.keeper = Some(tokio::spawn(keeper).abort_handle());
        }
    }

    /// What a dial ended with that did not end.
    pub(super) fn given_up(&self) -> Error {
        connect_error(format!("the dial of {} was given up", self.address))
    }

    fn timed_out(&self) -> Error {
        let mut state = self.lock();
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
        if let Some(keeper) = self.lock().keeper.take() {
            keeper.abort();
        }
    }
}

enum Asked {
    Granted(Lease),
    Waits(Ticket, oneshot::Receiver<Result<Lease, Error>>),
}

/// A place in the queue that is given up when it drops.
struct Place<'a> {
    shared: &'a Shared,
    ticket: Option<Ticket>,
}

impl Place<'_> {
    /// `false`, when its turn had come.
    fn leave(&self) -> bool {
        let left = |ticket| self.shared.lock().queue.leave(ticket);
        self.ticket.and_then(left).is_some()
    }

    /// Its turn has come.
    fn served(mut self) {
        self.ticket = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

fn closed(address: &Address) -> Error {
    Error::new(Kind::Closed, format!("the pool of {address} is closed"))
}
