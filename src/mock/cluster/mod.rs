//! Several mock servers as one fixture.
//!
//! - `start`: starting them by one builder.
//! - `mounting`, `injecting`, `asserting`: stubs and faults for all of them; reading and judging what came to any of them.
//! - `registering`: registering all of them with Consul.
//! - `lifecycle`: killing, restarting and pausing some or all; `chance`: which of them, by a seed; `chaos`: all of it, by a schedule.
//! - `group`: addresses of their own for some clients; `partition`: such clients cut off from some servers.

mod asserting;
mod chance;
mod chaos;
mod group;
mod injecting;
mod lifecycle;
mod mounting;
mod partition;
mod registering;
mod start;

use crate::address::Address;
use crate::mock::cluster::chance::Chance;
use crate::mock::journal::Unfinished;
use crate::mock::registry::Registry;
use crate::mock::server::MockServer;
use std::{
    fmt,
    ops::Index,
    slice,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

pub use group::ClientGroup;
pub use partition::Partition;

/// Several [mock servers](MockServer) as one: the same stubs, one record in the order of arrival, one verdict.
///
/// Each server has an address of its own, and is reached by its number: `cluster[0]`. What is mounted on the cluster is
/// one stub on all servers, whose [count](crate::Stub::times), [limit](crate::Stub::at_most) and replies are for the
/// cluster as a whole; what is mounted on one server is for that one.
///
/// ```
/// use rpcplugin_testkit::{MockCluster, Stub, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cluster = MockCluster::start(3).await;
/// cluster.mount(Stub::method("Get").reply(json!({"value": 1})).times(2));
///
/// cluster.client(2).await.call("Get", json!({})).await.unwrap();
/// cluster.kill_all().await;
/// cluster[0].restart().await;
/// cluster.client(0).await.call("Get", json!({})).await.unwrap();
///
/// assert_eq!(cluster.counts(), [1, 0, 1]);
/// assert_eq!(cluster.calls()[0].server_address(), cluster[2].address());
/// # }
/// ```
///
/// Other settings are those of a [server's builder](crate::mock::MockServerBuilder::start_cluster), and
/// [`group`](Self::group) with [`partition`](Self::partition) cuts some clients off from some servers.
///
/// Dropping it stops all servers, and [verifies](Self::verify) once for all of them: it panics with the one report, unless
/// the thread is panicking already, `verify` was called before, or
/// [`verify_on_drop(false)`](crate::mock::MockServerBuilder::verify_on_drop) was said.
#[must_use = "the servers stop when it is dropped: bind it to a name, not to `_`"]
pub struct MockCluster {
    servers: Vec<MockServer>,
    /// The stubs that are mounted on all servers. Calls are served by those of the servers, which have them too.
    registry: Arc<Registry>,
    groups: Mutex<Vec<ClientGroup>>,
    chance: Chance,
    patience: Duration,
    /// Whether dropping it verifies.
    verifies: AtomicBool,
}

/// Its servers.
impl MockCluster {
    /// The servers, in order.
    pub fn iter(&self) -> slice::Iter<'_, MockServer> {
        self.servers.iter()
    }

    /// How many servers there are, up or down.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there are none, which never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Where the servers listen, in order.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        let servers = self.iter();
        servers.map(|server| server.address().clone()).collect()
    }
}

impl Index<usize> for MockCluster {
    type Output = MockServer;

    /// # Panics
    ///
    /// When there are no more than `number` servers.
    #[track_caller]
    fn index(&self, number: usize) -> &MockServer {
        let len = self.len();
        let server = self.servers.get(number);
        server.unwrap_or_else(|| panic!("there is no server {number} in a cluster of {len}"))
    }
}

impl<'a> IntoIterator for &'a MockCluster {
    type Item = &'a MockServer;
    type IntoIter = slice::Iter<'a, MockServer>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A test that returns an error drops its cluster on the way, and nothing tells the cluster so.
const ON_DROP: &str = "\n(verified when the cluster was dropped; in a test that returns a `Result`, an error on its way out is \
    hidden by this: build the cluster with `.verify_on_drop(false)` and end the test with `cluster.verify().await?`)";

impl Drop for MockCluster {
    fn drop(&mut self) {
        // All of them first: a panic must not leave one that still listens.
        self.servers.iter_mut().for_each(MockServer::end);
        if thread::panicking() {
            self.tell_seed();
        } else if self.verifies.load(Ordering::Acquire)
            && let Err(report) = self.judge(self.iter().map(|_| Unfinished::default()).collect())
        {
            panic!("{report}{ON_DROP}");
        }
    }
}

impl fmt::Debug for MockCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockCluster")?;
        f.debug_list().entries(&self.servers).finish()
    }
}
