//! From a service in Consul to a client.

use crate::client::handle::Client;
use crate::consul::Consul;
use crate::error::Error;

impl Consul {
    /// Connects to the instances of a service that pass their checks, and follows them as they come and go.
    ///
    /// It is [`Client::builder`] with [`discover`](crate::client::ClientBuilder::discover)[`(consul.service(name))`](Self::service)
    /// and nothing else, which takes all other settings.
    ///
    /// ```
    /// use rpcplugin_testkit::{Consul, MockCluster};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let cluster = MockCluster::start(2).await;
    /// let registry = cluster.consul("payment-processor").await;
    ///
    /// let client = Consul::new(registry.url()).connect_to("payment-processor").await?;
    /// client.health_check().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the agent cannot be asked, no instance passes its checks, or none of them can be connected to.
    pub async fn connect_to(&self, service: impl Into<String>) -> Result<Client, Error> {
        Client::builder()
            .discover(self.service(service))
            .connect()
            .await
    }
}
