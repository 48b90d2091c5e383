//! How a pool is doing.

/// How a [`Pool`](crate::Pool) is doing: what there is now, and what there has been since it was made.
///
/// ```
/// # use rpcplugin_testkit::{MockServer, Pool};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// # let server = MockServer::start().await;
/// let pool = Pool::builder(server.address()).size(3).connect().await?;
/// let lease = pool.acquire().await?;
/// let stats = pool.stats();
/// assert_eq!((stats.size, stats.idle, stats.in_use), (3, 2, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Connections that there are: `idle` and `in_use` together. One that was lost and still has leases counts.
    pub size: usize,
    /// As many as there may be.
    pub max: usize,
    /// Connections without a lease.
    pub idle: usize,
    /// Connections with at least one lease.
    pub in_use: usize,
    /// Leases that are out, on all connections together.
    pub leases: usize,
    /// Connections that are being dialled and are not in `size`.
    pub dialling: usize,
    /// Who waits for a lease.
    pub waiting: usize,
    /// How often somebody had to wait for a lease.
    pub waits: u64,
    /// How often somebody waited in vain.
    pub timeouts: u64,
    /// Connections that were made.
    pub created: u64,
    /// Connections that have ended, and why.
    pub closed: ClosedConnections,
}

/// How many connections of a [`Pool`](crate::Pool) have ended, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedConnections {
    /// It broke, or the server closed it or said that it goes away.
    pub lost: u64,
    /// Nobody used it for the [idle timeout](crate::client::PoolBuilder::idle_timeout).
    pub idle: u64,
    /// Its [lifetime](crate::client::PoolBuilder::max_lifetime) was over.
    pub lifetime: u64,
    /// The server was not healthy.
    pub unhealthy: u64,
    /// The pool was closed.
    pub closed: u64,
}

/// Why a pool gives a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Closed,
    Idle,
    Lifetime,
    Lost,
}

impl ClosedConnections {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lost + self.idle + self.lifetime + self.unhealthy + self.closed
    }

    pub(super) fn count(&mut self, reason: Reason) {
        let count = match reason {
            Reason::Closed => &mut self.closed,
            Reason::Idle => &mut self.idle,
            Reason::Lifetime => &mut self.lifetime,
            Reason::Lost => &mut self.lost,
        };
        *count += 1;
    }
}
