//! A source that never changes.

use crate::client::discovery::discover::{Discover, EndpointSet};
use crate::client::discovery::refresh::Refresh;
use crate::endpoint::{Endpoint, IntoEndpoint};
use crate::error::Error;
use tokio_stream::Stream;

/// Some endpoints that stay, as a [source](Discover): for a program that takes whichever source it is configured with.
///
/// ```
/// use rpcplugin_testkit::{Client, MockServer, client::StaticList};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let server = MockServer::start().await;
/// let client = Client::builder().discover(StaticList::new([server.address()])?).connect().await?;
/// assert_eq!(client.endpoints()[0].address, *server.address());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticList(Vec<Endpoint>);

impl StaticList {
    /// These: [`Endpoint`]s, or whatever is an address.
    ///
    /// # Errors
    ///
    /// When a text is not an address.
    pub fn new(endpoints: impl IntoIterator<Item: IntoEndpoint>) -> Result<Self, Error> {
        let endpoints = endpoints.into_iter().map(IntoEndpoint::into_endpoint);
        endpoints.collect::<Result<_, _>>().map(Self)
    }
}

impl Discover for StaticList {
    fn watch(&self, _: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        tokio_stream::once(Ok(self.0.clone()))
    }

    fn name(&self) -> String {
        "the list of endpoints".to_owned()
    }
}
