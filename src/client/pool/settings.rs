//! What a pool is told.

use crate::address::Address;
use crate::client::builder::ClientBuilder;
use crate::client::handle::Client;
use crate::client::pool::member::{Member, another, told};
use crate::client::pool::pace::Pace;
use crate::client::pool::pool::Pool;
use crate::client::pool::shared::Shared;
use crate::client::pool::slots::{Limits, Slots};
use crate::error::{Error, Kind};
use std::time::Duration;
use tokio::task::JoinSet;

/// Builds a [`Pool`].
///
/// ```
/// # use rpcplugin_testkit::{Client, MockServer, Pool};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// # let server = MockServer::start().await;
/// let pool = Pool::builder(server.address())
///     .size(2)
///     .max(4)
///     .client(Client::builder().timeout(Duration::from_secs(5)))
///     .acquire_timeout(Duration::from_secs(1))
///     .connect()
///     .await?;
/// assert_eq!(pool.stats().size, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `connect` or `connect_lazy`"]
pub struct PoolBuilder {
    address: Result<Address, Error>,
    client: ClientBuilder,
    size: usize,
    max: Option<usize>,
    exclusive: bool,
    streams: usize,
    acquire_timeout: Duration,
    idle_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
}

impl PoolBuilder {
    pub(super) fn new(address: Result<Address, Error>) -> Self {
        Self {
            address,
            client: ClientBuilder::default(),
            size: 1,
            max: None,
            exclusive: false,
            streams: 100,
            acquire_timeout: Duration::from_secs(30),
            idle_timeout: None,
            max_lifetime: None,
        }
    }

    /// How many connections are kept. Default: 1.
    pub fn size(mut self, connections: usize) -> Self {
        self.size = connections;
        self
    }

    /// How many connections there may be, the ones that are being dialled and the ones that retire included. Default: as
    /// many as are [kept](Self::size), and at least 1.
    pub fn max(mut self, connections: usize) -> Self {
        self.max = Some(connections);
        self
    }

    /// How each connection is made: TLS, token, timeouts, backoff. The pool sets its address.
    pub fn client(mut self, client: ClientBuilder) -> Self {
        self.client = client;
        self
    }

    /// A lease is a whole connection, which nobody else has meanwhile. Default: a place for one stream on a connection that
    /// others share.
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// How many leases one connection has at a time, beside what the server takes streams. It means nothing for
    /// [exclusive](Self::exclusive) leases. Default: 100.
    pub fn streams_per_connection(mut self, streams: usize) -> Self {
        self.streams = streams;
        self
    }

    /// How long [`Pool::acquire`] waits for a lease. Default: 30 s.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Closes connections that nobody has had for so long, as long as there are more than are [kept](Self::size).
    /// Default: none are closed.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Replaces each connection when it is so old, plus or minus a tenth by chance: it gets no more leases, and is closed
    /// when its last one is back and the calls on it have ended. Default: they live as long as they can.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }

    /// Makes all the connections that are kept, at the same time.
    ///
    /// # Errors
    ///
    /// When a setting is malformed, or one of the connections cannot be made. The others are closed then.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// Cancel safe: dropping the future drops all connections.
    pub async fn connect(self) -> Result<Pool, Error> {
        let mut dials = JoinSet::new();
        let made = self.made()?;
        for _ in 0..made.limits.size {
            let client = another(&made.first)?;
            dials.spawn(async move { client.connected().await.map(|()| client) });
        }
        let mut connected = Vec::with_capacity(made.limits.size);
        while let Some(dialled) = dials.join_next().await {
            match dialled {
                Ok(Ok(client)) => connected.push(client),
                Ok(Err(error)) => {
                    dials.shutdown().await;
                    return Err(error);
                }
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        let pool = made.pool(connected);
        pool.ensure_keeper();
        Ok(pool)
    }

    /// A pool that makes its connections when the first lease is wanted, in the background.
    ///
    /// # Errors
    ///
    /// When a setting is malformed.
    pub fn connect_lazy(self) -> Result<Pool, Error> {
        Ok(self.made()?.pool(Vec::new()))
    }

    /// Checked, and with its defaults filled in.
    fn made(self) -> Result<Made, Error> {
        let address = self.address?;
        let max = self.max.unwrap_or_else(|| self.size.max(1));
        let mistake = |text: String| {
            let text = format!("the pool of {address} {text}");
            Err(Error::new(Kind::Config, text))
        };
        if max == 0 {
            return mistake("has no connections: `.max(0)`".to_owned());
        }
        if max < self.size {
            let size = self.size;
            return mistake(format!(
                "cannot keep {size} connections and have at most {max}: `.size({size}).max({max})`"
            ));
        }
        if self.streams == 0 {
            return mistake("has no leases: `.streams_per_connection(0)`".to_owned());
        }
        if self.max_lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
            return mistake(
                "cannot replace connections all the time: `.max_lifetime(0)`".to_owned(),
            );
        }
        let limits = Limits {
            size: self.size,
            max,
            leases: if self.exclusive { 1 } else { self.streams },
            idle_timeout: self.idle_timeout,
            max_lifetime: self.max_lifetime,
        };
        Ok(Made {
            first: self.client.address(&address).connect_lazy()?,
            address,
            limits,
            acquire_timeout: self.acquire_timeout,
        })
    }
}

/// The settings, with their mistakes told.
struct Made {
    address: Address,
    first: Client,
    limits: Limits,
    acquire_timeout: Duration,
}

impl Made {
    fn pool(self, connected: Vec<Client>) -> Pool {
        let told = told(&self.first);
        let slots: Slots<Member> = Slots::new(self.limits, Pace::new(told.backoff));
        Pool::of(Shared::new(
            self.address,
            self.first,
            told,
            self.acquire_timeout,
            slots,
            connected,
        ))
    }
}
