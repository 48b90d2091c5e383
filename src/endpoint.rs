//! One server among those that a client may call.

use crate::address::{Address, IntoAddress};
use crate::error::Error;

/// One server among those that a [`Client`](crate::Client) may call: its address, and how it is treated.
///
/// ```
/// use rpcplugin_testkit::Endpoint;
///
/// let endpoint = Endpoint::new("server1.internal:50051")?.weight(3).tls_name("plugins.internal");
/// assert_eq!(endpoint.weight, 3);
/// # Ok::<(), rpcplugin_testkit::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it listens. No two endpoints of a client have the same.
    pub address: Address,
    /// Its share of the calls with [`Strategy::Weighted`](crate::Strategy::Weighted), beside the weights of the others. One of
    /// weight 0 gets calls only while no other can. Default: 1.
    pub weight: u32,
    /// Endpoints of the least priority take the calls; those of the next while none of these can, and so on, as the priorities
    /// of [SRV records](https://www.rfc-editor.org/rfc/rfc2782) have it. Default: 0.
    pub priority: u32,
    /// What else is known of it, such as the tags of a Consul service. A client makes nothing of them. Default: none.
    pub tags: Vec<String>,
    /// The name that its certificate must have, if it is not that of the address or of
    /// [`ClientTls::server_name`](crate::ClientTls::server_name), before which it goes. It is the authority of its calls too, also
    /// in plaintext. Default: `None`.
    pub tls_name: Option<String>,
}

impl Endpoint {
    /// An endpoint of weight 1.
    ///
    /// # Errors
    ///
    /// When a text is not an address.
    pub fn new(address: impl IntoAddress) -> Result<Self, Error> {
        Ok(address.into_address()?.into())
    }

    /// Its share of the calls.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The lower it is, the sooner it takes calls.
    #[must_use]
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// What else is known of it.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item: Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// The name that its certificate must have.
    #[must_use]
    pub fn tls_name(mut self, name: impl Into<String>) -> Self {
        self.tls_name = Some(name.into());
        self
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self {
            address,
            weight: 1,
            priority: 0,
            tags: Vec::new(),
            tls_name: None,
        }
    }
}

/// What [`ClientBuilder::endpoints`](crate::client::ClientBuilder::endpoints) takes: an [`Endpoint`], or whatever is an
/// [`Address`].
pub trait IntoEndpoint {
    /// The endpoint.
    ///
    /// # Errors
    ///
    /// When a text is not an address.
    fn into_endpoint(self) -> Result<Endpoint, Error>;
}

impl IntoEndpoint for Endpoint {
    fn into_endpoint(self) -> Result<Endpoint, Error> {
        Ok(self)
    }
}

impl IntoEndpoint for &Endpoint {
    fn into_endpoint(self) -> Result<Endpoint, Error> {
        Ok(self.clone())
    }
}

impl<A: IntoAddress> IntoEndpoint for A {
    fn into_endpoint(self) -> Result<Endpoint, Error> {
        Endpoint::new(self)
    }
}
