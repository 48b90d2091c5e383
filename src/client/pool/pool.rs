//! The handle.

use crate::address::{Address, IntoAddress};
use crate::client::pool::lease::Lease;
use crate::client::pool::settings::PoolBuilder;
use crate::client::pool::shared::Shared;
use crate::client::pool::stats::PoolStats;
use crate::error::Error;
use std::{fmt, sync::Arc, time::Duration};

/// Several connections to one server, handed out one [`Lease`] at a time.
///
/// HTTP/2 carries many calls on one connection, so a lease is normally a place for a stream on a connection that others
/// share: the oldest connection with a free place is taken, and one more is dialled only when all are full, up to `max`
/// ([A105](https://github.com/grpc/proposal/blob/master/A105-max-concurrent-streams-connection-scaling.md)). With
/// [`exclusive`](PoolBuilder::exclusive) it is a connection of its own.
///
/// - Who waits is served in the order of arrival; nobody overtakes. Who is cancelled loses the place.
/// - A connection that is not ready is handed to nobody. It is dialled again in the background up to `size`, and for those
///   who wait up to `max`, one dial at a time, with the client's backoff.
/// - When a dial fails, those who wait go on waiting as long as there is another connection, and fail with its error when
///   there is none. So does everybody who comes before the next dial.
/// - Dropping the last handle and the last lease closes everything at once. [`close`](Self::close) does so gracefully.
///
/// It is a cheap handle: clone it, and share it between tasks.
///
/// ```
/// use rpcplugin_testkit::{MockServer, Pool, Stub, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let server = MockServer::start().await;
/// server.mount(Stub::method("Process").reply(json!({"done": true})));
///
/// let pool = Pool::builder(server.address()).size(5).max(10).connect().await?;
/// let lease = pool.acquire().await?;
/// lease.call("Process", json!({"test": "data"})).await?;
/// drop(lease);
/// pool.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    pub(super) fn of(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    pub(super) fn ensure_keeper(&self) {
        drop(self.shared.kept());
    }

    /// A pool of connections to this address: an [`Address`], or a text or `SocketAddr` that is one.
    pub fn builder(address: impl IntoAddress) -> PoolBuilder {
        PoolBuilder::new(address.into_address())
    }

    /// Where the server is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Waits for a place on a connection, in the order of arrival.
    ///
    /// # Errors
    ///
    /// - When none is free within the [acquire timeout](PoolBuilder::acquire_timeout): [`Error::is_timeout`]. If a dial
    ///   failed meanwhile, that is its source.
    /// - When there is no connection and none can be made: the error of the dial.
    /// - When the pool is closed, also while it waits: [`Error::is_closed`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// Cancel safe: whoever is cancelled loses the place in the queue, and a lease that came in that moment goes to the next.
    pub async fn acquire(&self) -> Result<Lease, Error> {
        self.shared.acquire().await
    }

    /// Closes the pool and all its clones for good: who waits and who comes later fails at once ([`Error::is_closed`]),
    /// leases that are out may finish within the clients' [`close_grace`](crate::client::ClientBuilder::close_grace) (10 s),
    /// and what is left is cut.
    ///
    /// It returns when every connection is closed. Closing twice is fine: both wait. Dropping the future leaves the pool
    /// closed; leases that are out may then finish without a limit.
    pub async fn close(&self) {
        self.drain(self.shared.told.close_grace).await;
    }

    /// [`close`](Self::close) with a grace of its own. Whoever drains with the shortest cuts for all.
    pub async fn drain(&self, timeout: Duration) {
        self.shared.close(timeout).await;
    }

    /// How it is doing.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({}, {:?})", self.address(), self.stats())
    }
}
