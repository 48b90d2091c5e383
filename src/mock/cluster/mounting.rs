//! Mounting stubs and services on all servers.

use crate::mock::cluster::MockCluster;
use crate::mock::handle::{MountedStub, ScopedStub};
use crate::mock::server::MockServer;
use crate::mock::stub::Stub;
use http::{Request, Response};
use std::{convert::Infallible, iter::repeat_n, sync::Arc};
use tonic::{body::Body, codegen::Service, server::NamedService};

/// What is answered.
impl MockCluster {
    /// Mounts one stub on all servers. Its [count](Stub::times), [limit](Stub::at_most), [sequence](Stub::in_sequence) and
    /// replies are for the calls of all servers together, and the cluster verifies it, once.
    ///
    /// A stub for one server is mounted on that one: `cluster[0].mount(..)`. Of both, the one that was mounted last is asked
    /// first, as on any server.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockCluster, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(2).await;
    /// let pages = Stub::method("Next").then(json!({"page": 1})).then(json!({"page": 2}));
    /// cluster.mount(pages);
    ///
    /// let (one, other) = (cluster.client(0).await, cluster.client(1).await);
    /// assert_eq!(one.call("Next", json!({})).await.unwrap()["page"], 1);
    /// assert_eq!(other.call("Next", json!({})).await.unwrap()["page"], 2);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`MockServer::mount`](crate::MockServer::mount).
    #[track_caller]
    pub fn mount(&self, stub: Stub) -> MountedStub {
        let mounted = self.servers[0].mount_in(&self.registry, stub);
        let servers = self.iter().map(|server| &server.service.registry);
        for registry in servers.clone() {
            registry.adopt(&mounted);
        }
        let registries = servers.chain([&self.registry]).map(Arc::clone);
        MountedStub::new(mounted, registries, self.journal(), self.patience)
    }

    /// Mounts a stub on all servers until what this gives back is dropped, which also verifies that it got
    /// [the calls that it expects](Stub::times).
    ///
    /// # Panics
    ///
    /// As [`mount`](Self::mount).
    #[track_caller]
    pub fn mount_scoped(&self, stub: Stub) -> ScopedStub {
        ScopedStub(self.mount(stub))
    }

    /// Puts a real tonic service behind all servers. See [`MockServer::mount_service`](crate::MockServer::mount_service).
    ///
    /// # Panics
    ///
    /// When it is one of the services that the mock has itself, such as health.
    #[track_caller]
    pub fn mount_service<S>(&self, service: S)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        for (server, service) in self.iter().zip(repeat_n(service, self.len())) {
            server.mount_service(service);
        }
    }

    /// Forgets all stubs, services, faults and calls, also of single servers, and what verification would find. Connections, groups
    /// and partitions stay.
    pub fn reset(&self) {
        self.registry.clear();
        let faults = self
            .iter()
            .flat_map(|server| server.service.faults.all().to_vec());
        faults.for_each(|fault| fault.barrier.remove());
        self.iter().for_each(MockServer::reset);
    }
}
