//! Endpoints come and go.

use crate::address::Address;
use crate::client::balance::{Balance, Candidate as _};
use crate::client::channel::member::Member;
use crate::client::channel::snapshot::Snapshot;
use crate::client::config::ClientConfig;
use crate::client::connection::{ConnectionState, Reporter, closed};
use crate::client::dice::Dice;
use crate::client::events::{ClientEvent, EventLog};
use crate::client::retry::Tokens;
use crate::client::stats::{ClientStats, Totals};
use crate::client::transport::Transport;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use crate::schema::MethodName;
use arc_swap::ArcSwap;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicUsize},
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet};

/// Carries calls to some endpoints, each to one that can take it.
pub(crate) struct Channel {
    pub(super) config: ClientConfig,
    /// The endpoints in error texts.
    target: Mutex<Arc<str>>,
    pub(super) balance: Balance,
    pub(super) dice: Dice,
    pub(super) snapshot: ArcSwap<Snapshot>,
    set: Mutex<Set>,
    /// Counts the snapshots.
    pub(super) version: watch::Sender<u64>,
    /// How often members were to be connected while somebody connects them.
    pub(super) connecting: AtomicUsize,
    pub(super) state: watch::Sender<ConnectionState>,
    pub(super) tokens: Option<Tokens>,
    pub(super) totals: Totals,
    pub(crate) events: EventLog,
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
    retired: Vec<Weak<Transport>>,
    next_key: u64,
    pub(super) is_closed: bool,
}

impl Channel {
    /// A channel to the endpoints of the configuration.
    pub(crate) fn new(
        config: ClientConfig,
        is_idempotent: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        config.retry.check()?;
        let endpoints = config.endpoints.clone();
        let seed = config.seed.unwrap_or_else(|| fastrand::u64(..));
        let balance = Balance::new(config.strategy, seed);
        let channel = Arc::new(Self {
            tokens: config.retry.throttle.as_ref().map(Tokens::new),
            target: Mutex::new(target_of(&endpoints)),
            snapshot: ArcSwap::from_pointee(Snapshot::of(&[], &balance, false)),
            balance,
            dice: Dice::new(seed),
            set: Mutex::default(),
            version: watch::Sender::new(0),
            connecting: AtomicUsize::new(0),
            state: watch::Sender::new(ConnectionState::Idle),
            totals: Totals::default(),
            events: EventLog::default(),
            idempotent: config
                .idempotent
                .iter()
                .map(|name| MethodName::new(name))
                .collect(),
            is_idempotent: Box::new(is_idempotent),
            config,
        });
        channel.set_endpoints(endpoints)?;
        Ok(channel)
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Whether there is one endpoint and no other.
    pub(crate) fn is_lone(&self) -> bool {
        self.snapshot.load().is_lone()
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

    /// Exactly these from now on. Those that stay keep their connections; those that go finish their calls.
    pub(crate) fn set_endpoints(self: &Arc<Self>, endpoints: Vec<Endpoint>) -> Result<(), Error> {
        self.edit(|members, channel, next_key| {
            let by_address =
                |member: &Arc<Member>| (member.endpoint.address.clone(), Arc::clone(member));
            let known: HashMap<_, _> = members.iter().map(by_address).collect();
            let mut given = HashSet::with_capacity(endpoints.len());
            for endpoint in &endpoints {
                if !given.insert(&endpoint.address) {
                    let text = format!("{} is given as an endpoint twice", endpoint.address);
                    return Err(Error::new(Kind::Config, text));
                }
            }
            drop(given);
            let mut told = Vec::new();
            let mut wanted: Vec<Arc<Member>> = Vec::with_capacity(endpoints.len());
            for endpoint in endpoints {
                let same = known.get(&endpoint.address);
                wanted.push(
                    match same.filter(|member| member.is_reached_as(&endpoint)) {
                        Some(member) => {
                            told.push((Arc::clone(member), endpoint));
                            Arc::clone(member)
                        }
                        None => {
                            *next_key += 1;
                            Arc::new(channel.member(endpoint, *next_key)?)
                        }
                    },
                );
            }
            // Now that nothing is wrong with any of them.
            for (member, endpoint) in told {
                member.retell(endpoint);
            }
            Ok(wanted)
        })
    }

    /// One more, or the one that there is with another weight or name.
    pub(crate) fn add_endpoint(self: &Arc<Self>, endpoint: Endpoint) -> Result<(), Error> {
        self.edit(|members, channel, next_key| {
            let mut wanted = members.to_vec();
            let is_same = |member: &Arc<Member>| member.endpoint.address == endpoint.address;
            let known = members.iter().position(is_same);
            let same = known.map(|known| &members[known]);
            let member = match same.filter(|member| member.is_reached_as(&endpoint)) {
                Some(member) => {
                    member.retell(endpoint);
                    Arc::clone(member)
                }
                None => {
                    *next_key += 1;
                    Arc::new(channel.member(endpoint, *next_key)?)
                }
            };
            match known {
                Some(known) => wanted[known] = member,
                None => wanted.push(member),
            }
            Ok(wanted)
        })
    }

    /// One less. Whether there was such a one.
    pub(crate) fn remove_endpoint(self: &Arc<Self>, address: &Address) -> Result<bool, Error> {
        let mut was_there = false;
        self.edit(|members, _, _| {
            let others = members
                .iter()
                .filter(|member| member.endpoint.address != *address);
            let others: Vec<_> = others.cloned().collect();
            was_there = others.len() < members.len();
            Ok(others)
        })?;
        Ok(was_there)
    }

    fn edit(
        self: &Arc<Self>,
        wanted: impl FnOnce(&[Arc<Member>], &Arc<Self>, &mut u64) -> Result<Vec<Arc<Member>>, Error>,
    ) -> Result<(), Error> {
        let mut set = self.set();
        if set.is_closed {
            return Err(self.closed());
        }
        let mut next_key = set.next_key;
        let wanted = wanted(&set.members, self, &mut next_key)?;
        set.next_key = next_key;
        let before = std::mem::replace(&mut set.members, wanted);
        let keys = |members: &[Arc<Member>]| -> HashSet<u64> {
            members.iter().map(|member| member.key()).collect()
        };
        let (were, are) = (keys(&before), keys(&set.members));
        let is_new = |member: &&Arc<Member>| !were.contains(&member.key());
        let new: Vec<_> = set.members.iter().filter(is_new).cloned().collect();
        let is_gone = |member: &Arc<Member>| !are.contains(&member.key());
        let gone: Vec<_> = before.into_iter().filter(is_gone).collect();
        set.retired.retain(|transport| transport.strong_count() > 0);
        let retired = gone.iter().map(|member| Arc::downgrade(&member.transport));
        set.retired.extend(retired);
        let endpoints: Vec<_> = set.members.iter().map(|member| member.endpoint()).collect();
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target_of(&endpoints);
        drop(set);
        for member in new {
            self.events
                .tell(ClientEvent::EndpointAdded(member.endpoint()));
        }
        self.arrange();
        for member in gone {
            member.retire();
            self.events
                .tell(ClientEvent::EndpointRemoved(member.endpoint()));
        }
        Ok(())
    }

    fn member(self: &Arc<Self>, endpoint: Endpoint, key: u64) -> Result<Member, Error> {
        let channel = Arc::downgrade(self);
        let reporter = Reporter::new(move |report| {
            if let Some(channel) = channel.upgrade() {
                channel.reported(key, report);
            }
        });
        let transport = Transport::new(&self.config, &endpoint, self.dice.clone(), reporter)?;
        self.check_tokens_are_safe(&endpoint, &transport)?;
        let watches_health = self.config.health.is_some();
        Ok(Member::new(key, endpoint, transport, watches_health))
    }

    /// A token goes to no endpoint where others can read it.
    fn check_tokens_are_safe(
        &self,
        endpoint: &Endpoint,
        transport: &Transport,
    ) -> Result<(), Error> {
        let Some(auth) = &self.config.auth else {
            return Ok(());
        };
        let address = &endpoint.address;
        if transport.is_secure() || address.is_local() || auth.allow_plaintext {
            return Ok(());
        }
        let text = format!(
            "a token would go to {address} in plaintext: use `.tls(..)`, or `TokenAuth::allow_plaintext()`"
        );
        Err(Error::new(Kind::Config, text))
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
        let snapshot = self.snapshot.load();
        let mut tls = snapshot
            .all
            .iter()
            .filter_map(|member| member.transport.subchannel.tls());
        tls.try_for_each(|tls| tls.reload())
    }

    /// How many streams the peer of a lone endpoint takes at a time, if it says so.
    pub(crate) fn stream_limit(&self) -> Option<usize> {
        match &self.snapshot.load().all[..] {
            [lone] => lone.transport.subchannel.stream_limit(),
            _ => None,
        }
    }

    pub(crate) fn stats(&self) -> ClientStats {
        let snapshot = self.snapshot.load();
        let endpoints = snapshot.all.iter().map(|member| member.stats());
        self.totals.read(endpoints.collect())
    }

    /// Takes no more calls, and returns when those in flight have ended; after the grace they are cut. Dropping the future
    /// cuts them at once.
    pub(crate) async fn close(&self, grace: Duration) {
        let (members, retired) = {
            let mut set = self.set();
            set.is_closed = true;
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

/// A response that is still read keeps its connection, which takes no more calls.
impl Drop for Channel {
    fn drop(&mut self) {
        for member in &self.set().members {
            member.retire();
        }
    }
}

/// The endpoints in short.
fn target_of(endpoints: &[Endpoint]) -> Arc<str> {
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
