//! Faults for all servers.

use crate::mock::cluster::MockCluster;
use crate::mock::fault::{Fault, InjectedFault, ScopedFault};
use crate::mock::injecting::inject;
use std::panic::Location;

/// What goes wrong.
impl MockCluster {
    /// Injects one fault into all servers, as [`MockServer::inject`](crate::MockServer::inject) into one. What it counts, such as
    /// [`nth_call`](Fault::nth_call), [`at_most`](Fault::at_most) and [`times`](Fault::times), and its dice are for the calls
    /// and connections of all servers together, and the cluster verifies it, once.
    ///
    /// Connections are numbered by each server, so [`connection(2)`](Fault::connection) is the second of each, and
    /// [`max_connections`](Fault::max_connections) is the limit of each. With [`refuse`](Fault::refuse) every server refuses, and each is a hit.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockCluster, Status, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(2).await;
    /// cluster.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let down = cluster.inject(Fault::status(Status::unavailable("down")).nth_call(2).times(1));
    ///
    /// let (one, other) = (cluster.client(0).await, cluster.client(1).await);
    /// one.call("Get", json!({})).await.unwrap();
    /// other.call("Get", json!({})).await.unwrap_err();
    /// one.call("Get", json!({})).await.unwrap();
    /// assert_eq!(down.hits(), 1);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`MockServer::inject`](crate::MockServer::inject).
    #[track_caller]
    pub fn inject(&self, fault: Fault) -> InjectedFault {
        inject(&self.servers, fault, true, Location::caller())
    }

    /// Injects one fault into all servers until what this gives back is dropped, which also verifies that it happened
    /// [as often as expected](Fault::times).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockCluster};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(2).await;
    /// {
    ///     let _nobody_listens = cluster.inject_scoped(Fault::refuse());
    ///     assert!(Client::connect(cluster[1].address()).await.is_err());
    /// }
    /// cluster.client(1).await.health_check().await.unwrap();
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_scoped(&self, fault: Fault) -> ScopedFault {
        ScopedFault(self.inject(fault))
    }
}
