//! A source that is asked now and then.

use crate::client::discovery::discover::{Discover, EndpointSet};
use crate::client::discovery::refresh::Refresh;
use crate::client::discovery::steps::Steps;
use std::{fmt, future::pending, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};
use tokio_stream::Stream;

/// A [source](Discover) of endpoints that is asked again and again: an async closure.
///
/// ```
/// use rpcplugin_testkit::{Client, Endpoint, MockServer, client::Poll};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let server = MockServer::start().await;
/// let address = server.address().to_string();
///
/// let source = Poll::every(Duration::from_secs(10), move || {
///     let address = address.clone();
///     async move { Ok(vec![Endpoint::new(address)?]) }
/// });
/// let client = Client::builder().discover(source).connect().await?;
/// client.health_check().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Poll<F> {
    interval: Duration,
    look: Arc<F>,
}

impl<F, Fut> Poll<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = EndpointSet> + Send + 'static,
{
    /// Asks at once, and then so long after each answer.
    pub fn every(interval: Duration, look: F) -> Self {
        Self {
            interval,
            look: Arc::new(look),
        }
    }
}

impl<F, Fut> Discover for Poll<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = EndpointSet> + Send + 'static,
{
    fn watch(&self, _: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        let (look, interval) = (Arc::clone(&self.look), self.interval);
        Steps::new(Some(Instant::now()), move |next: Option<Instant>| {
            let look = Arc::clone(&look);
            async move {
                match next {
                    Some(next) => sleep_until(next).await,
                    // After an interval without end.
                    None => pending().await,
                }
                let found = look().await;
                (found, Instant::now().checked_add(interval))
            }
        })
    }
}

impl<F> fmt::Debug for Poll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poll(every {:?})", self.interval)
    }
}
