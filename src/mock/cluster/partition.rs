//! Clients that are cut off from servers.

use crate::mock::cluster::MockCluster;
use crate::mock::cluster::group::ClientGroup;
use crate::mock::open::Entrance;
use std::{collections::BTreeSet, fmt, sync::Arc};

/// A network between a group of clients and some servers that lets nothing through. See [`MockCluster::partition`].
#[must_use = "it is healed when this is dropped: bind it to a name, not to `_`"]
pub struct Partition {
    group: ClientGroup,
    servers: BTreeSet<usize>,
    doors: Vec<Arc<Entrance>>,
}

impl Partition {
    /// Lets everything through again that this partition held up, as dropping it does. What was under way goes on.
    pub fn heal(self) {}

    /// The clients that are cut off.
    #[must_use]
    pub fn group(&self) -> &ClientGroup {
        &self.group
    }

    /// The servers that they are cut off from.
    pub fn servers(&self) -> impl Iterator<Item = usize> + '_ {
        self.servers.iter().copied()
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.doors.iter().for_each(|door| door.freezer.thaw());
    }
}

impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partition({:?} | {:?})", self.group.name(), self.servers)
    }
}

/// Partitions.
impl MockCluster {
    /// Cuts a [group](Self::group) of clients off from some servers, until what this gives back is dropped or
    /// [healed](Partition::heal): no byte passes between them any more, either way, and nothing is closed, as in a network that
    /// drops packets. Connections that are open stand still, with all their calls; new ones get no answer. When it is healed,
    /// all go on where they were.
    ///
    /// Other groups, other servers, and clients of the servers' own addresses are not touched. Partitions of the same clients
    /// and servers nest: the last to be healed lets through. A server that is killed meanwhile is dead for these clients too:
    /// its connections close. When it is restarted it is behind the partition still.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockCluster, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(3).await;
    /// cluster.mount(Stub::any().reply(json!({})));
    /// let (east, west) = (cluster.group("east"), cluster.group("west"));
    /// let client = east.client(0).await;
    ///
    /// let partition = cluster.partition(&east, [0, 2]);
    /// let lost = client.call("Get", json!({})).timeout(Duration::from_millis(50)).await;
    /// assert!(lost.unwrap_err().is_timeout());
    /// east.client(1).await.call("Get", json!({})).await.unwrap();
    /// west.client(0).await.call("Get", json!({})).await.unwrap();
    ///
    /// partition.heal();
    /// client.call("Get", json!({})).await.unwrap();
    /// # cluster.verify().await.unwrap();
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When the cluster has no such server, or the group is another cluster's.
    #[track_caller]
    pub fn partition(
        &self,
        group: &ClientGroup,
        servers: impl IntoIterator<Item = usize>,
    ) -> Partition {
        assert!(
            self.knows(group),
            "the client group {:?} is not of this cluster",
            group.name()
        );
        let (servers, len) = (BTreeSet::from_iter(servers), self.len());
        let mut doors = Vec::new();
        for server in &servers {
            match group.door(*server) {
                Some(door) => doors.push(Arc::clone(door)),
                None => panic!("there is no server {server} in a cluster of {len}"),
            }
        }
        doors.iter().for_each(|door| door.freezer.freeze());
        Partition {
            group: group.clone(),
            servers,
            doors,
        }
    }

    /// Cuts a [group](Self::group) of clients off from all servers. See [`partition`](Self::partition).
    ///
    /// # Panics
    ///
    /// When the group is another cluster's.
    #[track_caller]
    pub fn partition_all(&self, group: &ClientGroup) -> Partition {
        self.partition(group, 0..self.len())
    }
}
