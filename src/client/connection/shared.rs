//! The states of one connection, and what leads from one to the other.

use crate::client::connection::carry::{carry, redial};
use crate::client::connection::state::{ConnectionState, Loss, Report, Reporter};
use crate::client::connection::subchannel::{DialSettings, Patience, closed};
use crate::client::dial;
use crate::client::link::Link;
use crate::error::Error;
use crate::net::Tls;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::Instant};

pub(super) struct Shared {
    pub(super) settings: DialSettings,
    pub(super) tls: Option<Tls>,
    inner: Mutex<Inner>,
    pub(super) state: watch::Sender<ConnectionState>,
    reporter: Reporter,
    /// Held by whoever is closing.
    pub(super) closing: tokio::sync::Mutex<()>,
}

struct Inner {
    slot: Slot,
    next_id: u64,
    /// Whether it is dialled without a call.
    eager: bool,
    /// Failed dials in a row.
    failures: u32,
    /// The last of them, until there is a connection.
    failure: Option<(Error, Instant)>,
    /// Connections in a row that ended before they served a call.
    fruitless: u32,
    /// The connection that ended last, until it is judged.
    last: Option<Lost>,
    /// What the server's complaints have made of the interval of pings.
    ping_factor: u32,
    /// The dials and connections. Dropping it ends them all.
    tasks: JoinSet<()>,
    /// What is told once the lock is free.
    reports: Vec<Report>,
}

/// A connection that ended.
struct Lost {
    link: Link,
    loss: Loss,
}

enum Slot {
    /// By the dial of that number.
    Connecting(u64),
    Failed {
        error: Error,
        retry_at: Instant,
    },
    Idle,
    Ready(Link),
    Shutdown,
}

/// What a caller that wants a link does next.
pub(super) enum Next {
    Fail(Error),
    Try(Link),
    Wait { until: Option<Instant> },
}

impl Shared {
    pub(super) fn new(settings: DialSettings, tls: Option<Tls>, reporter: Reporter) -> Self {
        let inner = Inner {
            slot: Slot::Idle,
            next_id: 0,
            eager: false,
            failures: 0,
            failure: None,
            fruitless: 0,
            last: None,
            ping_factor: 1,
            tasks: JoinSet::new(),
            reports: Vec::new(),
        };
        Self {
            settings,
            tls,
            inner: Mutex::new(inner),
            state: watch::Sender::new(ConnectionState::Idle),
            reporter,
            closing: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and tells of it when the lock is free again.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let changed = change(&mut inner);
        let reports = std::mem::take(&mut inner.reports);
        drop(inner);
        for report in reports {
            self.reporter.tell(report);
        }
        changed
    }

    /// What a caller does. One that has `waited` for a dial has its answer by that, however long ago the dial began.
    pub(super) fn next(self: &Arc<Self>, patience: Patience, waited: bool) -> Next {
        self.change(|inner| {
            self.judge_last(inner);
            match &inner.slot {
                Slot::Connecting(_) | Slot::Idle if patience == Patience::Now => {
                    let text = format!("{} is not connected", self.settings.address);
                    Next::Fail(dial::connect_error(text))
                }
                Slot::Connecting(_) => Next::Wait { until: None },
                Slot::Failed { error, retry_at } => {
                    let is_over = *retry_at <= Instant::now();
                    match patience {
                        Patience::Now => Next::Fail(error.clone()),
                        Patience::Dial if waited || !is_over => Next::Fail(error.clone()),
                        Patience::Wait if !is_over => Next::Wait {
                            until: Some(*retry_at),
                        },
                        _ => {
                            self.start(inner);
                            Next::Wait { until: None }
                        }
                    }
                }
                Slot::Idle => {
                    self.start(inner);
                    Next::Wait { until: None }
                }
                Slot::Ready(link) => Next::Try(link.clone()),
                Slot::Shutdown => Next::Fail(closed(&self.settings.address.to_string())),
            }
        })
    }

    pub(super) fn keep_connected(self: &Arc<Self>) {
        self.change(|inner| {
            let was = std::mem::replace(&mut inner.eager, true);
            match &inner.slot {
                Slot::Idle => self.start(inner),
                Slot::Failed { retry_at, .. } if !was => {
                    let retry_at = *retry_at;
                    self.redial_at(inner, retry_at);
                }
                _ => {}
            }
        });
    }

    pub(super) fn failure(&self) -> Option<(Error, Instant)> {
        self.lock().failure.clone()
    }

    pub(super) fn stream_limit(&self) -> Option<usize> {
        match &self.lock().slot {
            Slot::Ready(link) => link.limit(),
            _ => None,
        }
    }

    /// No more calls, and nothing more is dialled. Whether there was a connection.
    pub(super) fn shut(&self) -> bool {
        self.change(|inner| {
            let link = match &inner.slot {
                Slot::Ready(link) => Some(link),
                _ => None,
            };
            if let Some(link) = link {
                link.close();
            }
            let was_ready = link.is_some();
            // Without a handle to send requests, `h2` closes the connection after its last stream.
            self.set(inner, Slot::Shutdown);
            was_ready
        })
    }

    pub(super) fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut self.lock().tasks)
    }

    /// Dials in a task of its own. The task holds no strong reference while it carries the connection, so that dropping
    /// the last client ends it.
    fn start(self: &Arc<Self>, inner: &mut Inner) {
        inner.next_id += 1;
        let id = inner.next_id;
        self.set(inner, Slot::Connecting(id));
        while inner.tasks.try_join_next().is_some() {}
        let mut settings = self.settings.clone();
        settings.keepalive = settings
            .keepalive
            .map(|keepalive| keepalive.slowed(inner.ping_factor));
        inner.tasks.spawn(carry(Arc::downgrade(self), settings, id));
    }

    fn redial_at(self: &Arc<Self>, inner: &mut Inner, at: Instant) {
        let state = self.state.subscribe();
        inner.tasks.spawn(redial(Arc::downgrade(self), state, at));
    }

    /// The backoff may be over.
    pub(super) fn redial(self: &Arc<Self>) {
        self.change(|inner| {
            if matches!(&inner.slot, Slot::Failed { retry_at, .. } if *retry_at <= Instant::now()) {
                self.start(inner);
            }
        });
    }

    fn set(&self, inner: &mut Inner, slot: Slot) {
        let state = match slot {
            Slot::Connecting(_) => ConnectionState::Connecting,
            Slot::Failed { .. } => ConnectionState::TransientFailure,
            Slot::Idle => ConnectionState::Idle,
            Slot::Ready(_) => ConnectionState::Ready,
            Slot::Shutdown => ConnectionState::Shutdown,
        };
        inner.slot = slot;
        self.state.send_replace(state);
        inner.reports.push(Report::State);
    }

    pub(super) fn connected(&self, link: Link) {
        self.change(|inner| {
            if matches!(inner.slot, Slot::Connecting(id) if id == link.id()) {
                tracing::debug!(address = %self.settings.address, "connected");
                // The settings have arrived, which is what resets the backoff, unless the last connections were in vain.
                inner.failures = inner.fruitless.saturating_sub(1);
                inner.failure = None;
                self.set(inner, Slot::Ready(link));
                inner.reports.push(Report::Connected);
            }
        });
    }

    /// The dial `id` made no connection.
    pub(super) fn refused(self: &Arc<Self>, id: u64, error: Error, dialled: Instant) {
        self.change(|inner| {
            if matches!(inner.slot, Slot::Connecting(dial) if dial == id) {
                self.failed(inner, error, dialled);
            }
        });
    }

    /// The dial `id` was dropped under way.
    pub(super) fn abandoned(&self, id: u64) {
        self.change(|inner| {
            if matches!(inner.slot, Slot::Connecting(dial) if dial == id) {
                self.set(inner, Slot::Idle);
            }
        });
    }

    fn failed(self: &Arc<Self>, inner: &mut Inner, error: Error, dialled: Instant) {
        inner.failures = inner.failures.saturating_add(1);
        let delay = self
            .settings
            .backoff
            .delay(inner.failures, self.settings.dice.roll());
        tracing::warn!(address = %self.settings.address, %error, ?delay, "no connection");
        // A wait beyond the clock's end is one of a month.
        let month = Duration::from_secs(30 * 24 * 3600);
        let retry_at = dialled
            .checked_add(delay)
            .unwrap_or_else(|| dialled + month);
        inner.failure = Some((error.clone(), Instant::now()));
        inner.reports.push(Report::DialFailed {
            error: error.clone(),
            next: retry_at.saturating_duration_since(Instant::now()),
        });
        self.set(inner, Slot::Failed { error, retry_at });
        if inner.eager {
            self.redial_at(inner, retry_at);
        }
    }

    /// The connection `id` takes no more streams.
    pub(super) fn lost(self: &Arc<Self>, id: u64, loss: Loss) {
        self.change(|inner| {
            let Slot::Ready(link) = &inner.slot else {
                return;
            };
            if link.id() == id {
                let link = link.clone();
                self.gone(inner, link, loss);
            }
        });
    }

    /// Looks whether the server has said that the connection `id` is going away, which `h2` tells only who asks.
    pub(super) fn notice_goaway(self: &Arc<Self>, id: u64, cx: &mut Context<'_>) {
        let mut inner = self.lock();
        let Slot::Ready(link) = &mut inner.slot else {
            return;
        };
        if link.id() != id {
            return;
        }
        let Poll::Ready(Err(error)) = link.requests.poll_ready(cx) else {
            return;
        };
        drop(inner);
        self.lost(id, Loss::Failed(error));
    }

    /// The server's good-bye on the connection `id`, if it has said one.
    pub(super) fn farewell(&self, id: u64, cx: &mut Context<'_>) -> Option<h2::Error> {
        match &mut self.lock().slot {
            Slot::Ready(link) if link.id() == id => match link.requests.poll_ready(cx) {
                Poll::Ready(Err(error)) => Some(error).filter(h2::Error::is_go_away),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether calls are in flight on the connection `id`.
    pub(super) fn has_calls(&self, id: u64) -> bool {
        match &self.lock().slot {
            Slot::Ready(link) if link.id() == id => link.has_calls(),
            // It is going away, and has calls to its end.
            _ => true,
        }
    }

    fn gone(self: &Arc<Self>, inner: &mut Inner, link: Link, loss: Loss) {
        let why = loss.to_string();
        tracing::debug!(address = %self.settings.address, %why, "connection lost");
        if loss.asks_for_calm() {
            // As grpc-go does when it is told `too_many_pings`.
            inner.ping_factor = inner.ping_factor.saturating_mul(2);
        }
        link.close();
        let kind = loss.kind();
        inner.reports.push(Report::Lost { why, kind });
        inner.last = Some(Lost { link, loss });
        self.set(inner, Slot::Idle);
        if inner.eager {
            self.judge_last(inner);
            if matches!(inner.slot, Slot::Idle) {
                self.start(inner);
            }
        }
    }

    /// Judges the last connection when the next is wanted; earlier, its calls may not have seen their replies yet. A
    /// server that takes connections and hangs up on all of them before a call is dialled as slowly as one that refuses
    /// them. One that dies with calls on it is not: each of them failed, and was one dial at the most.
    fn judge_last(self: &Arc<Self>, inner: &mut Inner) {
        let Some(last) = inner.last.take() else {
            return;
        };
        if last.link.has_served() {
            inner.fruitless = 0;
            return;
        }
        if last.link.is_used() {
            return;
        }
        inner.fruitless = inner.fruitless.saturating_add(1);
        if inner.fruitless >= 2 {
            let address = &self.settings.address;
            let text = format!("{address} accepts connections and ends them before any call");
            let error = dial::connect_error(text).caused_by(last.loss.into_cause());
            self.failed(inner, error, last.link.dialled());
        }
    }
}
