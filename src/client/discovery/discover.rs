//! What every source of endpoints is.

use crate::client::discovery::refresh::Refresh;
use crate::endpoint::Endpoint;
use std::error::Error;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};

/// All endpoints that there are, or why that is not known.
pub type EndpointSet = Result<Vec<Endpoint>, Box<dyn Error + Send + Sync>>;

/// A source of endpoints, for [`ClientBuilder::discover`](crate::client::ClientBuilder::discover).
///
/// It yields whole sets, each time with everything that there is then: the client finds out what has come, gone or changed. An
/// error leaves the last good set in use, and so does the end of the stream. An empty set is good, and used after a
/// [grace](crate::client::ClientBuilder::empty_grace).
///
/// | a source | of |
/// |---|---|
/// | [`ConsulService`](crate::client::ConsulService) | the instances of a service in Consul |
/// | [`Dns`](crate::client::Dns) | the addresses of a host; with the feature `dns-srv`, the SRV records of a service |
/// | [`EndpointFile`](crate::client::EndpointFile) | a file |
/// | [`Poll`](crate::client::Poll) | whatever an async closure returns, now and then |
/// | [`StaticList`](crate::client::StaticList) | some endpoints that stay |
/// | a [`watch::Receiver`] of endpoints | whatever somebody sends |
/// | a closure that returns a stream | that stream |
///
/// ```
/// use rpcplugin_testkit::{Client, Endpoint, MockCluster};
/// use tokio::sync::watch;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let cluster = MockCluster::start(2).await;
/// let all: Vec<Endpoint> = cluster.addresses().into_iter().map(Endpoint::from).collect();
///
/// let (sender, receiver) = watch::channel(all[..1].to_vec());
/// let client = Client::builder().discover(receiver).connect().await?;
/// assert_eq!(client.endpoints().len(), 1);
///
/// let mut events = client.events();
/// sender.send_replace(all);
/// events.next().await;
/// assert_eq!(client.endpoints().len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// A source of one's own that is more than a stream implements the trait:
///
/// ```
/// use rpcplugin_testkit::client::{Discover, EndpointSet, Refresh};
/// use tokio_stream::Stream;
///
/// struct Registry { url: String }
///
/// impl Discover for Registry {
///     fn name(&self) -> String {
///         format!("the registry at {}", self.url)
///     }
///
///     fn watch(&self, refresh: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
/// #       let _ = refresh;
///         // Ask it, yield what it says, wait for its next change or for `refresh.asked()`, and so on.
///         tokio_stream::empty()
///     }
/// }
/// ```
pub trait Discover: Send + Sync + 'static {
    /// The sets of endpoints from now on, beginning with what there is now. Each client watches for itself.
    ///
    /// It is polled by a task of the client, and dropped with it. A source that waits between two looks may look at once when
    /// it is [asked](Refresh::asked) to.
    fn watch(&self, refresh: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static;

    /// What it is called in errors and events, such as ``service `kv` of Consul at 127.0.0.1:8500``. Default: `the discovery`.
    fn name(&self) -> String {
        "the discovery".to_owned()
    }
}

/// A stream that is made anew for each client.
impl<F, S> Discover for F
where
    F: Fn() -> S + Send + Sync + 'static,
    S: Stream<Item = EndpointSet> + Send + 'static,
{
    fn watch(&self, _: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        self()
    }
}

/// The set that was sent last. One that was not read before the next came is left out.
impl Discover for watch::Receiver<Vec<Endpoint>> {
    fn watch(&self, _: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        WatchStream::new(self.clone()).map(Ok)
    }

    fn name(&self) -> String {
        "the channel of endpoints".to_owned()
    }
}
