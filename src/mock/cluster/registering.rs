//! Registering all servers of a cluster with Consul.

use crate::consul::Consul;
use crate::error::Error;
use crate::mock::cluster::MockCluster;
use crate::mock::consul::{MockConsul, ServiceInstance};
use crate::mock::register::Register;
use std::panic::Location;

/// Registration with Consul.
impl MockCluster {
    /// Registers all servers with a Consul agent, as instances of one service, each as
    /// [a server by itself](crate::MockServer::register) would be.
    ///
    /// ```
    /// use rpcplugin_testkit::{Consul, MockCluster, MockConsul};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let registry = MockConsul::start().await;
    /// let consul = Consul::new(registry.url());
    ///
    /// let cluster = MockCluster::start(3).await;
    /// cluster.register(&consul, "kv").await?;
    /// cluster[1].shutdown(std::time::Duration::ZERO).await;
    /// assert_eq!(consul.service("kv").endpoints().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When it is awaited, and the agent cannot be asked, or refuses. Those that were registered before that stay so.
    pub fn register(&self, consul: &Consul, service: impl Into<String>) -> Register<'_> {
        Register::new(self.iter().collect(), consul, service.into())
    }

    /// A [`MockConsul`] in which the servers are the instances of a service, in step with kills, restarts, pauses and
    /// shutdowns. It listens as the servers do: on TCP, a Unix socket or an in-process pipe.
    ///
    /// ```
    /// use rpcplugin_testkit::{MockCluster, Stub, client::ClientEvent, json};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let cluster = MockCluster::start(3).await;
    /// cluster.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let registry = cluster.consul("kv").await;
    ///
    /// let client = registry.agent().connect_to("kv").await?;
    /// let mut events = client.events();
    /// cluster[1].kill().await;
    /// events.wait_for(|event| matches!(event, ClientEvent::EndpointRemoved(_))).await;
    /// client.call("Get", json!({})).await?;
    /// assert_eq!(cluster[1].calls().len(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[track_caller]
    pub fn consul<'a>(
        &'a self,
        service: &str,
    ) -> impl Future<Output = MockConsul> + Send + use<'a> {
        let (place, service) = (Location::caller(), service.to_owned());
        async move {
            let registry = MockConsul::beside(self[0].address(), place).await;
            for server in self {
                let instance = ServiceInstance::new(service.as_str(), server.address());
                server.appear_in(&registry, instance);
            }
            registry
        }
    }

    /// Takes back all registrations of all servers, for good.
    ///
    /// # Errors
    ///
    /// When one of them cannot be taken back. The others are all the same.
    pub async fn deregister(&self) -> Result<(), Error> {
        let mut taken = Ok(());
        for server in self {
            taken = taken.and(server.deregister().await);
        }
        taken
    }
}
