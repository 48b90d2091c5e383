//! The hand on one connection.

use crate::address::Address;
use crate::client::backoff::Backoff;
use crate::client::connection::shared::{Next, Shared};
use crate::client::connection::state::{ConnectionState, Loss, Reporter};
use crate::client::dice::Dice;
use crate::client::keepalive::Keepalive;
use crate::client::link::{Link, Slot};
use crate::error::{Error, Kind};
use crate::net::Tls;
use std::{fmt, future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

/// A connection to one address that is made when it is needed and made again when it is lost.
pub(crate) struct Subchannel {
    shared: Arc<Shared>,
}

/// How it is dialled, and kept.
#[derive(Clone, Debug)]
pub(crate) struct DialSettings {
    pub(crate) address: Address,
    pub(crate) connect_timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) dice: Dice,
}

/// What is done while there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Fail: others are connected.
    Now,
    /// Dial, and fail with the dial.
    Dial,
    /// Dial until there is one.
    Wait,
}

impl Subchannel {
    pub(crate) fn new(settings: DialSettings, tls: Option<Tls>, reporter: Reporter) -> Self {
        Self {
            shared: Arc::new(Shared::new(settings, tls, reporter)),
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.shared.settings.address
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.shared.tls.as_ref()
    }

    pub(crate) fn state(&self) -> ConnectionState {
        *self.shared.state.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<ConnectionState> {
        self.shared.state.subscribe()
    }

    /// Connects without a call from now on: at once, when the connection is lost, and after the backoff.
    pub(crate) fn keep_connected(&self) {
        self.shared.keep_connected();
    }

    /// The last failure since it was connected, and when that was.
    pub(crate) fn failure(&self) -> Option<(Error, Instant)> {
        self.shared.failure()
    }

    /// How many streams the peer of the present connection takes at a time, if it says so.
    pub(crate) fn stream_limit(&self) -> Option<usize> {
        self.shared.stream_limit()
    }

    /// A link to a connection and a place on it, dialling when there is none. While the last dial's backoff runs it
    /// fails with that dial's error, or waits when it has the patience.
    ///
    /// Cancel safe: the dial goes on in its own task, for the next caller.
    pub(crate) async fn ready(&self, patience: Patience) -> Result<(Link, Slot), Error> {
        // The common case, without a state of its own in the future of every call.
        let now = poll_fn(|cx| {
            Poll::Ready(match self.shared.next(patience, false) {
                Next::Try(mut link) => link.slot_now(cx).map(|slot| (link, slot)),
                _ => None,
            })
        });
        match now.await {
            Some(ready) => Ok(ready),
            None => Box::pin(self.wait_ready(patience)).await,
        }
    }

    async fn wait_ready(&self, patience: Patience) -> Result<(Link, Slot), Error> {
        let mut state = None;
        let mut waited = false;
        loop {
            let until = match self.shared.next(patience, waited) {
                Next::Fail(error) => return Err(error),
                Next::Try(mut link) => {
                    let Ok(slot) = link.slot().await else {
                        continue;
                    };
                    match poll_fn(|cx| link.requests.poll_ready(cx)).await {
                        Ok(()) => return Ok((link, slot)),
                        // It went away, or is going: nothing was sent, so another connection will do.
                        Err(error) => self.lost(&link, error),
                    }
                    continue;
                }
                Next::Wait { until } => until,
            };
            // What happened before it looked is looked at again.
            let Some(state) = &mut state else {
                state = Some(self.watch());
                continue;
            };
            match until {
                None => {
                    waited = true;
                    drop(state.changed().await);
                }
                Some(instant) => drop(timeout_at(instant, state.changed()).await),
            }
        }
    }

    /// Gives up a link whose connection takes no more streams.
    pub(crate) fn lost(&self, link: &Link, error: h2::Error) {
        self.shared.lost(link.id(), Loss::Failed(error));
    }

    /// Takes no more calls. Those in flight go on. Whether there was a connection.
    pub(crate) fn retire(&self) -> bool {
        self.shared.shut()
    }

    /// Takes no more calls, and returns when those in flight have ended; after the grace they are cut. A second call waits
    /// for the first. Dropping the future cuts them at once.
    pub(crate) async fn close(&self, grace: Duration) {
        let _closing = self.shared.closing.lock().await;
        self.shared.shut();
        let mut tasks = self.shared.take_tasks();
        let all = async { while tasks.join_next().await.is_some() {} };
        // What is left after the grace is aborted when `tasks` drops.
        let _ = timeout(grace, all).await;
    }
}

impl fmt::Debug for Subchannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subchannel({}, {:?})", self.address(), self.state())
    }
}

/// Why a call of a closed client fails.
pub(crate) fn closed(target: &str) -> Error {
    Error::new(Kind::Closed, format!("the client of {target} is closed"))
}
