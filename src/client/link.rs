//! A way onto a connection.

use bytes::Bytes;
use h2::client::SendRequest;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
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
}

impl Link {
    /// A link to a connection that has seen the peer's settings.
    pub(super) fn new(id: u64, requests: SendRequest<Bytes>, dialled: Instant) -> Self {
        let limit = Some(requests.current_max_send_streams());
        let limit = limit.filter(|limit| *limit < Semaphore::MAX_PERMITS);
        Self {
            id,
            requests,
            slots: limit.map(|limit| Arc::new(Semaphore::new(limit))),
            used: Arc::default(),
            served: Arc::default(),
            dialled,
        }
    }

    /// Waits for a free stream. `Err`, when the connection has gone meanwhile.
    pub(super) async fn slot(&self) -> Result<Option<OwnedSemaphorePermit>, ()> {
        match &self.slots {
            Some(slots) => Arc::clone(slots)
                .acquire_owned()
                .await
                .map(Some)
                .map_err(drop),
            None => Ok(None),
        }
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
