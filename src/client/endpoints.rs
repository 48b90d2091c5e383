//! The endpoints of a client, and what becomes of them.

use crate::client::events::Events;
use crate::client::handle::Client;
use crate::client::stats::ClientStats;
use crate::endpoint::{Endpoint, IntoEndpoint};
use crate::error::Error;

impl Client {
    /// The servers that calls may go to, in their order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.channel().endpoints()
    }

    /// Lets calls go to these servers from now on, and to no others. Those that stay keep their connections; those that go
    /// get no more calls, and finish those in flight.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, MockServer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let (one, two) = (MockServer::start().await, MockServer::start().await);
    /// let client = Client::connect(one.address()).await?;
    ///
    /// client.set_endpoints([two.address()])?;
    /// client.health_check().await?;
    /// assert_eq!(client.endpoints()[0].address, *two.address());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When an address is malformed or given twice, a token would go to one in plaintext, or the client is closed. Nothing is
    /// changed then.
    ///
    /// # Panics
    ///
    /// With several endpoints outside a tokio runtime: they are dialled at once.
    pub fn set_endpoints(
        &self,
        endpoints: impl IntoIterator<Item: IntoEndpoint>,
    ) -> Result<(), Error> {
        let endpoints = endpoints.into_iter().map(IntoEndpoint::into_endpoint);
        self.channel()
            .set_endpoints(endpoints.collect::<Result<_, _>>()?)
    }

    /// Lets calls go to one more server. One that there is gets the weight and the name of this.
    ///
    /// # Errors
    ///
    /// As [`set_endpoints`](Self::set_endpoints).
    ///
    /// # Panics
    ///
    /// As [`set_endpoints`](Self::set_endpoints).
    pub fn add_endpoint(&self, endpoint: impl IntoEndpoint) -> Result<(), Error> {
        self.channel().add_endpoint(endpoint.into_endpoint()?)
    }

    /// Lets no more calls go to a server; those in flight go on. Whether there was such an endpoint.
    ///
    /// # Errors
    ///
    /// When the address is malformed, or the client is closed.
    pub fn remove_endpoint(
        &self,
        address: impl crate::address::IntoAddress,
    ) -> Result<bool, Error> {
        self.channel().remove_endpoint(&address.into_address()?)
    }

    /// What happens to the endpoints from now on. Events that are not read are dropped after the first thousand.
    #[must_use]
    pub fn events(&self) -> Events {
        self.channel().events.subscribe()
    }

    /// What the client has done so far, and how its endpoints are.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        self.channel().stats()
    }
}
