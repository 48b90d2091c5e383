//! Whether a server listens at an address, and the connections that are open.
//!
//! - `multiplexed`: connections that come as streams of one, by a feature.

#[cfg(feature = "multiplex")]
mod multiplexed;

use crate::address::Address;
use crate::mock::connection::{self, Accepted};
use crate::mock::fault::{Admission, Effect, Faults, Placed, Strike};
use crate::mock::journal::Door;
use crate::mock::line::{Line, Orders};
use crate::mock::serve::Service;
use crate::net::{Cut, Freezer, Held, Listener, Shaped, Stream, Switched, SwitchedListener};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// One of the addresses that a server listens at.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) address: Address,
    /// What its calls tell of it.
    pub(super) door: Arc<Door>,
    /// What holds up everything that goes through it.
    pub(super) freezer: Arc<Freezer>,
}

/// Whether a server listens at one of its addresses.
#[derive(Debug)]
pub(super) enum Life {
    /// It does not, and keeps its address.
    Down(Held),
    /// It is being dropped, or could not listen again.
    Over,
    Up {
        listener: Cut<Listener>,
        accepting: JoinHandle<()>,
    },
}

impl Life {
    /// Accepts connections from now on.
    pub(super) fn up(
        listener: Listener,
        entrance: &Arc<Entrance>,
        open: &Arc<Open>,
        service: &Arc<Service>,
    ) -> Self {
        open.lock().stopped = false;
        let (switched, listener) = SwitchedListener::new(listener, &entrance.freezer);
        let (entrance, open) = (Arc::clone(entrance), Arc::clone(open));
        let accepting = tokio::spawn(accept(switched, entrance, open, Arc::clone(service)));
        Self::Up {
            listener,
            accepting,
        }
    }

    /// Listens no more and holds the address. What comes back is what may still be accepting one last connection.
    pub(super) fn go_down(&mut self) -> Option<JoinHandle<()>> {
        match std::mem::replace(self, Self::Over) {
            Self::Up {
                listener,
                accepting,
            } => {
                accepting.abort();
                if let Some(listener) = listener.take() {
                    *self = Self::Down(listener.hold());
                }
                Some(accepting)
            }
            down => {
                *self = down;
                None
            }
        }
    }

    /// Listens no more, and gives up the address.
    pub(super) fn end(&mut self) {
        if let Self::Up {
            listener,
            accepting,
        } = std::mem::replace(self, Self::Over)
        {
            accepting.abort();
            drop(listener.take());
        }
    }
}

/// The connections that are open, whatever address they were made to.
#[derive(Debug, Default)]
pub(super) struct Open {
    connections: Mutex<Connections>,
    /// Told whenever a connection's task ends.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Connections {
    /// Whether no more are taken.
    stopped: bool,
    accepted: u64,
    open: HashMap<u64, Connected>,
    /// How many tasks there are, also for those that are closed.
    tasks: usize,
    /// What multiplexed connections come through.
    #[cfg(feature = "multiplex")]
    sessions: Vec<std::sync::Weak<Cut<Stream>>>,
}

/// An open connection, as its server holds it.
#[derive(Debug)]
struct Connected {
    stream: Cut<Stream>,
    line: Arc<Line>,
}

/// A connection that was counted, with what happens to it before it is served.
struct Added {
    stream: Shaped,
    line: Arc<Line>,
    orders: Orders,
    admission: Vec<Strike>,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Counts a connection, and lets happen to it what faults there are. `None`, when the server has stopped.
    fn add(&self, stream: Stream, freezer: &Arc<Freezer>, faults: &Faults) -> Option<Added> {
        let mut connections = self.lock();
        if connections.stopped {
            return None;
        }
        connections.accepted += 1;
        connections.tasks += 1;
        let id = connections.accepted;
        let (switched, stream) = Switched::new(stream, freezer);
        let (shaped, shape) = Shaped::new(switched);
        let (line, orders) = Line::new(id, shape);
        let before = connections.open.len();
        let connected = Connected {
            stream,
            line: Arc::clone(&line),
        };
        connections.open.insert(id, connected);
        // Under the lock, so that a fault which is injected meanwhile finds this connection once.
        let mut admission = Vec::new();
        for strike in faults.of_connection(id) {
            match &strike.fault.effect {
                Effect::Admission(Admission::MaxConnections(most)) if before < *most => {}
                Effect::Admission(_) => admission.push(strike),
                _ => line.strike(strike),
            }
        }
        Some(Added {
            stream: shaped,
            line,
            orders,
            admission,
        })
    }

    /// Injects a fault: into the connections that are open, and for those that come.
    pub(super) fn inject(&self, fault: &Arc<Placed>, faults: &Faults) {
        let connections = self.lock();
        faults.add(Arc::clone(fault));
        if !matches!(fault.effect, Effect::Line(_)) {
            return;
        }
        let mut open: Vec<_> = connections.open.iter().collect();
        open.sort_by_key(|(id, _)| **id);
        for (id, connected) in open {
            if fault.strikes_connection(*id)
                && let Some(strike) = fault.take(faults.key(*id))
            {
                connected.line.strike(strike);
            }
        }
    }

    /// Undoes a fault in all connections.
    pub(super) fn undo(&self, fault: u64) {
        let connections = self.lock();
        let open = connections.open.values();
        let lines: Vec<_> = open.map(|open| Arc::clone(&open.line)).collect();
        drop(connections);
        for line in lines {
            line.undo(fault);
        }
    }

    /// Closes all connections now, and takes no more.
    pub(super) fn close_all(&self, reset: bool) {
        let mut connections = self.lock();
        connections.stopped = true;
        let open = std::mem::take(&mut connections.open);
        #[cfg(feature = "multiplex")]
        let sessions = std::mem::take(&mut connections.sessions);
        drop(connections);
        for connection in open.values() {
            connection.stream.close(reset);
        }
        #[cfg(feature = "multiplex")]
        for session in sessions.iter().filter_map(std::sync::Weak::upgrade) {
            session.close(reset);
        }
    }

    /// Counts what multiplexed connections come through, for as long as what comes back is kept. `None`, when the server has
    /// stopped.
    #[cfg(feature = "multiplex")]
    fn add_session(&self, session: Cut<Stream>) -> Option<Arc<Cut<Stream>>> {
        let mut connections = self.lock();
        if connections.stopped {
            return None;
        }
        let session = Arc::new(session);
        let sessions = &mut connections.sessions;
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(&session));
        Some(session)
    }

    /// Says good-bye on all connections, and takes no more.
    pub(super) fn leave_all(&self) {
        let mut connections = self.lock();
        connections.stopped = true;
        for connection in connections.open.values() {
            connection.stream.leave();
        }
    }

    /// Waits until no connection has a task any more.
    pub(super) async fn all_ended(&self) {
        loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.lock().tasks == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Counts a connection's task, to its end or to that of its runtime.
struct Task {
    open: Arc<Open>,
    id: u64,
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut connections = self.open.lock();
        connections.tasks -= 1;
        let closed = connections.open.remove(&self.id);
        drop(connections);
        drop(closed);
        self.open.ended.notify_waiters();
    }
}

/// How long the accept loop waits when the process is out of file descriptors, which is what accepting fails by.
const OUT_OF_FILES: Duration = Duration::from_millis(50);

async fn accept(
    listener: SwitchedListener,
    entrance: Arc<Entrance>,
    open: Arc<Open>,
    service: Arc<Service>,
) {
    while let Some(accepted) = listener.accept().await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep_until(Instant::now() + OUT_OF_FILES).await;
                continue;
            }
        };
        #[cfg(feature = "multiplex")]
        if service.builtin.brokered.is_multiplexed() {
            multiplexed::accept(stream, peer, &entrance, &open, &service);
            continue;
        }
        if !admit(stream, peer, &entrance, &open, &service) {
            return;
        }
    }
}

/// Serves a connection in a task of its own. `false`, when the server has stopped.
fn admit(
    stream: Stream,
    peer: Address,
    entrance: &Arc<Entrance>,
    open: &Arc<Open>,
    service: &Arc<Service>,
) -> bool {
    let Some(added) = open.add(stream, &entrance.freezer, &service.faults) else {
        return false;
    };
    let id = added.line.id;
    let task = Task {
        open: Arc::clone(open),
        id,
    };
    let (door, service) = (Arc::clone(&entrance.door), Arc::clone(service));
    let accepted = Accepted {
        id,
        peer,
        door,
        line: added.line,
    };
    tokio::spawn(async move {
        let faults = Arc::clone(&service);
        connection::serve(
            added.stream,
            accepted,
            added.orders,
            added.admission,
            service,
        )
        .await;
        faults.faults.forget(id);
        drop(task);
    });
    true
}
