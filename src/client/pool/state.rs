//! What a pool knows at one moment, and what follows from it.

use crate::client::handle::Client;
use crate::client::pool::lease::Lease;
use crate::client::pool::member::Member;
use crate::client::pool::queue::Queue;
use crate::client::pool::slots::{Slots, Wanted};
use crate::client::pool::stats::PoolStats;
use crate::error::Error;
use tokio::{sync::oneshot, task::AbortHandle, time::Instant};

pub(super) struct State {
    pub(super) slots: Slots<Member>,
    pub(super) queue: Queue<Waiter>,
    pub(super) standing: Standing,
    /// What the keeper has to close.
    closing: Vec<Client>,
    /// By what the last dial failed.
    pub(super) error: Option<Error>,
    pub(super) keeper: Option<AbortHandle>,
    /// Until when the keeper sleeps.
    due: Option<Instant>,
    pub(super) waits: u64,
    pub(super) timeouts: u64,
}

pub(super) type Waiter = oneshot::Sender<Result<Lease, Error>>;

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
            keeper: None,
            due: None,
            waits: 0,
            timeouts: 0,
        }
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
        self.due = self.slots.next_due();
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
            || self.slots.next_due().is_some_and(is_earlier)
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
