//! A way onto a connection.

use crate::net::Notes;
use bytes::Bytes;
use h2::{StreamId, client::SendRequest};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// A way onto one connection. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) requests: SendRequest<Bytes>,
    carried: Arc<Carried>,
}

/// The connection, for all links to it.
#[derive(Debug)]
struct Carried {
    id: u64,
    /// As many as the peer takes streams at a time; `None`, when it takes any number. `h2` would queue a stream too many, and
    /// send it also when its caller has long given up.
    slots: Option<Arc<Semaphore>>,
    /// Whether any call was sent on it.
    used: AtomicBool,
    /// Whether any call got response headers on it.
    served: AtomicBool,
    dialled: Instant,
    notes: Notes,
    /// Calls in flight.
    flying: AtomicUsize,
}

/// A stream's place on a connection, free again when it drops.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    carried: Arc<Carried>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.carried.flying.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    /// A link to a connection that has seen the peer's settings.
    pub(super) fn new(
        id: u64,
        requests: SendRequest<Bytes>,
        notes: Notes,
        dialled: Instant,
    ) -> Self {
        let limit = Some(requests.current_max_send_streams());
        let limit = limit.filter(|limit| *limit < Semaphore::MAX_PERMITS);
        let carried = Carried {
            id,
            slots: limit.map(|limit| Arc::new(Semaphore::new(limit))),
            used: AtomicBool::new(false),
            served: AtomicBool::new(false),
            dialled,
            notes,
            flying: AtomicUsize::new(0),
        };
        Self {
            requests,
            carried: Arc::new(carried),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.carried.id
    }

    pub(super) fn dialled(&self) -> Instant {
        self.carried.dialled
    }

    /// How many streams the peer takes at a time, if not any number.
    pub(super) fn limit(&self) -> Option<usize> {
        let limit = self.requests.current_max_send_streams();
        self.carried.slots.as_ref().map(|_| limit)
    }

    /// Whether the request of this stream never left. Meant for a stream whose connection has ended.
    pub(crate) fn never_sent(&self, stream: StreamId) -> bool {
        self.carried.notes.never_sent(stream.as_u32())
    }

    /// A free stream, if there is one and the connection takes it at once.
    pub(super) fn slot_now(&mut self, cx: &mut Context<'_>) -> Option<Slot> {
        let permit = match &self.carried.slots {
            Some(slots) => Some(Arc::clone(slots).try_acquire_owned().ok()?),
            None => None,
        };
        let slot = self.place(permit);
        match self.requests.poll_ready(cx) {
            Poll::Ready(Ok(())) => Some(slot),
            _ => None,
        }
    }

    /// Waits for a free stream. `Err`, when the connection has gone meanwhile.
    pub(super) async fn slot(&self) -> Result<Slot, ()> {
        let permit = match &self.carried.slots {
            Some(slots) => Some(Arc::clone(slots).acquire_owned().await.map_err(drop)?),
            None => None,
        };
        Ok(self.place(permit))
    }

    fn place(&self, permit: Option<OwnedSemaphorePermit>) -> Slot {
        self.carried.flying.fetch_add(1, Ordering::Relaxed);
        Slot {
            _permit: permit,
            carried: Arc::clone(&self.carried),
        }
    }

    /// Whether calls are in flight.
    pub(super) fn has_calls(&self) -> bool {
        self.carried.flying.load(Ordering::Relaxed) > 0
    }

    /// Sends away whoever waits for a stream.
    pub(super) fn close(&self) {
        if let Some(slots) = &self.carried.slots {
            slots.close();
        }
    }

    pub(crate) fn mark_used(&self) {
        self.carried.used.store(true, Ordering::Relaxed);
    }

    pub(crate) fn mark_served(&self) {
        self.carried.served.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_used(&self) -> bool {
        self.carried.used.load(Ordering::Relaxed)
    }

    pub(super) fn has_served(&self) -> bool {
        self.carried.served.load(Ordering::Relaxed)
    }
}
