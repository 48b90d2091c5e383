//! Registering all servers of a cluster with Consul.

use crate::consul::Consul;
use crate::error::Error;
use crate::mock::cluster::MockCluster;
use crate::mock::register::Register;

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
