//! All endpoints of a client.

use crate::client::balance::Balance;
use crate::client::channel::found::{Found, Sources};
use crate::client::channel::member::Member;
use crate::client::channel::snapshot::Snapshot;
use crate::client::config::ClientConfig;
use crate::client::connection::{ConnectionState, closed};
use crate::client::dice::Dice;
use crate::client::discovery::Refresh;
use crate::client::events::EventLog;
use crate::client::retry::Tokens;
use crate::client::stats::{ClientStats, Totals};
use crate::client::transport::Transport;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::schema::MethodName;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// Carries calls to some endpoints, each to one that can take it.
pub(crate) struct Channel {
    pub(super) config: ClientConfig,
    /// The endpoints in error texts.
    pub(super) target: Mutex<Arc<str>>,
    pub(super) balance: Balance,
    pub(super) dice: Dice,
    pub(super) snapshot: RwLock<Arc<Snapshot>>,
    set: Mutex<Set>,
    /// Counts the snapshots.
    pub(super) version: watch::Sender<u64>,
    /// How often members were to be connected while somebody connects them.
    pub(super) connecting: AtomicUsize,
    pub(super) state: watch::Sender<ConnectionState>,
    pub(super) tokens: Option<Tokens>,
    pub(super) totals: Totals,
    pub(crate) events: EventLog,
    /// Asks the source of endpoints, if there is one.
    pub(super) refresh: Refresh,
    pub(super) sources: Sources,
    /// Methods that the configuration declares so.
    idempotent: Vec<MethodName>,
    /// Whether a schema declares a method so, by its path.
    pub(super) is_idempotent: IsIdempotent,
}

type IsIdempotent = Box<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Default)]
pub(super) struct Set {
    pub(super) members: Vec<Arc<Member>>,
    /// Those that are taken out, and may have calls in flight.
    pub(super) retired: Vec<Weak<Transport>>,
    pub(super) next_key: u64,
    pub(super) found: Found,
    /// The task that follows the source of endpoints.
    following: Option<AbortHandle>,
    pub(super) is_closed: bool,
}

impl Channel {
    /// A channel to the endpoints of the configuration.
    pub(crate) fn new(
        config: ClientConfig,
        is_idempotent: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        config.retry.check()?;
        let discovery = config.discovery.clone();
        let endpoints = match discovery {
            Some(_) => Vec::new(),
            None => config.endpoints.clone(),
        };
        let seed = config.seed.unwrap_or_else(|| fastrand::u64(..));
        let balance = Balance::new(config.strategy, seed);
        let channel = Arc::new(Self {
            tokens: config.retry.throttle.as_ref().map(Tokens::new),
            target: Mutex::new(target_of(&endpoints)),
            snapshot: RwLock::new(Arc::new(Snapshot::of(&[], &balance, false))),
            balance,
            dice: Dice::new(seed),
            set: Mutex::default(),
            version: watch::Sender::new(0),
            connecting: AtomicUsize::new(0),
            state: watch::Sender::new(ConnectionState::Idle),
            totals: Totals::default(),
            events: EventLog::default(),
            refresh: Refresh::new(),
            sources: Sources::default(),
            idempotent: config
                .idempotent
                .iter()
                .map(|name| MethodName::new(name))
                .collect(),
            is_idempotent: Box::new(is_idempotent),
            config,
        });
        match discovery {
            Some(discovery) => {
                channel.set().found = Found::Awaited(discovery.name().into());
                channel.arrange();
                // The source is somebody else's code, and may tell at once.
                let following = channel.follow(&discovery);
                channel.set().following = Some(following);
            }
            None => channel.set_endpoints(endpoints)?,
        }
        Ok(channel)
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Whether there is one endpoint and no other.
    pub(crate) fn is_lone(&self) -> bool {
        self.snapshot().is_lone()
    }

    /// Whether a method of this name, or path, is declared idempotent in the configuration.
    pub(crate) fn names_idempotent(&self, method: &str) -> bool {
        self.idempotent.iter().any(|name| name.names(method))
    }

    /// The endpoints in error texts.
    pub(crate) fn target(&self) -> Arc<str> {
        let target = self.target.lock();
        Arc::clone(&target.unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let members = &self.set().members;
        members.iter().map(|member| member.endpoint()).collect()
    }

    /// The endpoints as they are now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        let snapshot = self.snapshot.read();
        Arc::clone(&snapshot.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    pub(crate) fn closed(&self) -> Error {
        closed(&self.target())
    }

    pub(crate) fn reload_tls(&self) -> Result<(), Error> {
        let snapshot = self.snapshot();
        let mut tls = snapshot
            .all
            .iter()
            .filter_map(|member| member.transport.subchannel.tls());
        tls.try_for_each(|tls| tls.reload())
    }

    /// How many streams the peer of a lone endpoint takes at a time, if it says so.
    pub(crate) fn stream_limit(&self) -> Option<usize> {
        match &self.snapshot().all[..] {
            [lone] => lone.transport.subchannel.stream_limit(),
            _ => None,
        }
    }

    pub(crate) fn stats(&self) -> ClientStats {
        let snapshot = self.snapshot();
        let endpoints = snapshot.all.iter().map(|member| member.stats());
        let discovery = self.config.discovery.as_ref();
        ClientStats {
            discovery: discovery.map(|discovery| self.sources.read(discovery.name())),
            ..self.totals.read(endpoints.collect())
        }
    }

    /// Takes no more calls, and returns when those in flight have ended; after the grace they are cut. Dropping the future
    /// cuts them at once.
    pub(crate) async fn close(&self, grace: Duration) {
        let (members, retired) = {
            let mut set = self.set();
            set.is_closed = true;
            set.stop_following();
            (set.members.clone(), set.retired.clone())
        };
        self.arrange();
        let mut closing = JoinSet::new();
        let transports = members.iter().map(|member| Arc::clone(&member.transport));
        for transport in transports.chain(retired.iter().filter_map(Weak::upgrade)) {
            closing.spawn(async move { transport.subchannel.close(grace).await });
        }
        for member in &members {
            member.retire();
            self.unwatch_health(member);
        }
        while closing.join_next().await.is_some() {}
    }
}

impl Set {
    fn stop_following(&mut self) {
        if let Some(task) = self.following.take() {
            task.abort();
        }
    }
}

/// A response that is still read keeps its connection, which takes no more calls.
impl Drop for Channel {
    fn drop(&mut self) {
        let mut set = self.set();
        set.stop_following();
        for member in &set.members {
            member.retire();
        }
    }
}

/// The endpoints in short.
pub(super) fn target_of(endpoints: &[Endpoint]) -> Arc<str> {
    match endpoints {
        [] => "no endpoint".into(),
        [one] => one.address.to_string().into(),
        [first, ..] => format!("{} endpoints ({}, ..)", endpoints.len(), first.address).into(),
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({}, {:?})", self.target(), *self.state.borrow())
    }
}
