//! A way onto a connection.

use crate::net::Notes;
use bytes::Bytes;
use h2::{StreamId, client::SendRequest};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// A way onto one connection. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(super) id: u64,
    pub(crate) requests: SendRequest<Bytes>,
    /// As many as the peer takes streams at a time; `None`, when it takes any number. `h2` would queue a stream too many, and
    /// send it also when its caller has long given up.
    slots: Option<Arc<Semaphore>>,
    /// Whether any call was sent on it.
    used: Arc<AtomicBool>,
    /// Whether any call got response headers on it.
    served: Arc<AtomicBool>,
    pub(super) dialled: Instant,
    notes: Notes,
    /// Calls in flight.
    flying: Arc<AtomicUsize>,
}

/// A stream's place on a connection, free again when it drops.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    flying: Arc<AtomicUsize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.flying.fetch_sub(1, Ordering::Relaxed);
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
        Self {
            id,
            requests,
            slots: limit.map(|limit| Arc::new(Semaphore::new(limit))),
            used: Arc::default(),
            served: Arc::default(),
            dialled,
            notes,
            flying: Arc::default(),
        }
    }

    /// How many streams the peer takes at a time, if not any number.
    pub(super) fn limit(&self) -> Option<usize> {
        let limit = self.requests.current_max_send_streams();
        self.slots.as_ref().map(|_| limit)
    }

    /// Whether the request of this stream never left. Meant for a stream whose connection has ended.
    pub(crate) fn never_sent(&self, stream: StreamId) -> bool {
        self.notes.never_sent(stream.as_u32())
    }

    /// Waits for a free stream. `Err`, when the connection has gone meanwhile.
    pub(super) async fn slot(&self) -> Result<Slot, ()> {
        let permit = match &self.slots {
            Some(slots) => Some(Arc::clone(slots).acquire_owned().await.map_err(drop)?),
            None => None,
        };
        self.flying.fetch_add(1, Ordering::Relaxed);
        Ok(Slot {
            _permit: permit,
            flying: Arc::clone(&self.flying),
        })
    }

    /// Whether calls are in flight.
    pub(super) fn has_calls(&self) -> bool {
        self.flying.load(Ordering::Relaxed) > 0
    }

    /// Sends away whoever waits for a stream.
    pub(super) fn close(&self) {
        if let Some(slots) = &self.slots {
            slots.close();
        }
    }

    pub(crate) fn mark_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    pub(crate) fn mark_served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }
}
