//! What a pool knows at one moment, and what follows from it.

use crate::address::Address;
use crate::client::handle::Client;
use crate::client::pool::member::Member;
use crate::client::pool::queue::{Queue, Ticket};
use crate::client::pool::slots::{Slots, Wanted};
use crate::client::pool::stats::PoolStats;
use crate::error::{Error, Kind};
use std::task::Waker;
use tokio::time::Instant;

pub(super) struct State {
    pub(super) slots: Slots<Member>,
    pub(super) queue: Queue<Answer>,
    pub(super) standing: Standing,
    /// What the keeper has to close.
    closing: Vec<Client>,
    /// By what the last dial failed.
    pub(super) error: Option<Error>,
    pub(super) is_kept: bool,
    /// Until when the keeper sleeps.
    due: Option<Instant>,
    waits: u64,
    pub(super) timeouts: u64,
}

/// What those who wait are told.
pub(super) type Answer = Result<Granted, Error>;

/// A place on a connection, of which a lease can be made. (A lease itself would keep the pool that keeps it.)
pub(super) struct Granted {
    pub(super) id: u64,
    pub(super) client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// No leases any more; those that are out may finish.
    Closed,
    /// Those that are out may not.
    Cut,
}

/// What the keeper does next.
pub(super) struct Chores {
    pub(super) standing: Standing,
    pub(super) close: Vec<Client>,
    pub(super) dial: Option<Dial>,
    pub(super) until: Option<Instant>,
    /// Whether there are no connections.
    pub(super) is_empty: bool,
}

pub(super) struct Dial {
    pub(super) id: u64,
    pub(super) client: Client,
    /// Set for one that nobody watches yet.
    pub(super) watch: bool,
}

impl State {
    pub(super) fn new(slots: Slots<Member>) -> Self {
        Self {
            slots,
            queue: Queue::default(),
            standing: Standing::Open,
            closing: Vec::new(),
            error: None,
            is_kept: false,
            due: None,
            waits: 0,
            timeouts: 0,
        }
    }

    pub(super) fn grant(&mut self) -> Option<Granted> {
        let (id, member) = self.slots.grant(Member::places)?;
        let client = member.client.clone();
        Some(Granted { id, client })
    }

    /// The last place in the queue.
    pub(super) fn join(&mut self, waker: Waker, until: Option<Instant>) -> Ticket {
        self.waits += 1;
        self.queue.join(waker, until)
    }

    /// Answers who has waited longest, if there is something to tell. What comes back is to be woken.
    pub(super) fn next_answer(&mut self, now: Instant, address: &Address) -> Option<Waker> {
        if self.queue.is_empty() {
            return None;
        }
        let answer = if self.standing != Standing::Open {
            Err(closed(address))
        } else if let Some(granted) = self.grant() {
            Ok(granted)
        } else {
            Err(self.hopeless(now)?)
        };
        self.queue.answer(answer)
    }

    /// Gives up what is over.
    pub(super) fn retire(&mut self, now: Instant) {
        let over = match self.standing {
            Standing::Open => self.slots.retire_due(now),
            Standing::Closed => Vec::new(),
            Standing::Cut => self.slots.take_all(),
        };
        self.close(over);
    }

    /// What has to be done now, with a client for one more connection if one is wanted.
    pub(super) fn chores(&mut self, now: Instant, another: Option<Client>) -> Chores {
        self.due = self.next_due();
        let dial = match self.wanted(now) {
            Wanted::Again(id) => self.slots.dial_again(id, now).map(|member| Dial {
                id,
                client: member.client.clone(),
                watch: false,
            }),
            Wanted::New => another.map(|client| Dial {
                id: self.slots.dial(Member::new(client.clone()), now),
                client,
                watch: true,
            }),
            Wanted::NotBefore(retry_at) => {
                self.due = Some(self.due.map_or(retry_at, |due| due.min(retry_at)));
                None
            }
            Wanted::Nothing => None,
        };
        Chores {
            standing: self.standing,
            close: std::mem::take(&mut self.closing),
            dial,
            until: self.due.filter(|_| self.standing == Standing::Open),
            is_empty: self.slots.is_empty(),
        }
    }

    /// Whether the keeper has to be woken.
    pub(super) fn has_chores(&self, now: Instant) -> bool {
        let is_earlier = |due| self.due.is_none_or(|until| due < until);
        let dials = match self.wanted(now) {
            Wanted::Again(_) | Wanted::New => true,
            Wanted::NotBefore(retry_at) => is_earlier(retry_at),
            Wanted::Nothing => false,
        };
        dials
            || self.standing != Standing::Open
            || !self.closing.is_empty()
            || self.next_due().is_some_and(is_earlier)
    }

    /// When something is over next: a connection, or somebody's patience.
    fn next_due(&self) -> Option<Instant> {
        let due = [self.slots.next_due(), self.queue.ends()];
        due.into_iter().flatten().min()
    }

    pub(super) fn wanted(&self, now: Instant) -> Wanted {
        match self.standing {
            Standing::Open => self.slots.wanted(!self.queue.is_empty(), now),
            Standing::Closed | Standing::Cut => Wanted::Nothing,
        }
    }

    /// By what those who wait have failed, if no connection can serve them before the next dial.
    pub(super) fn hopeless(&self, now: Instant) -> Option<Error> {
        let error = self.error.as_ref()?;
        self.slots.is_hopeless(now).then(|| error.clone())
    }

    /// What is to be closed goes to the keeper.
    pub(super) fn close(&mut self, members: impl IntoIterator<Item = Member>) {
        let clients = members.into_iter().map(|member| member.client);
        self.closing.extend(clients);
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            waiting: self.queue.len(),
            waits: self.waits,
            timeouts: self.timeouts,
            ..self.slots.stats()
        }
    }
}

pub(super) fn closed(address: &Address) -> Error {
    Error::new(Kind::Closed, format!("the pool of {address} is closed"))
}
