//! A file that is looked at now and then.

use crate::client::discovery::discover::{Discover, EndpointSet};
use crate::client::discovery::file::look::Reader;
use crate::client::discovery::refresh::Refresh;
use crate::client::discovery::steps::Steps;
use crate::endpoint::Endpoint;
use std::{future::pending, path::PathBuf, time::Duration, time::SystemTime};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tokio_stream::Stream;

/// The endpoints in a JSON file, as a [source](Discover) of them: for a list that a deployment writes and changes.
///
/// ```json
/// [
///     "server1.internal:50051",
///     "unix:/run/plugin.sock",
///     {"address": "https://10.0.0.3:50051", "weight": 3, "priority": 1, "tags": ["eu"], "tls_name": "plugins.internal"}
/// ]
/// ```
///
/// An endpoint is its address alone, or an object with what [`Endpoint`] has. `{"endpoints": [...]}` is the same as the array.
/// A key that nobody knows is an error, as a mistyped `weight` would be missed.
///
/// The file is looked at [now and then](Self::every), and at once when a connection is lost. One that is replaced by a rename,
/// rewritten in place, removed and written again is noticed, also by way of a symbolic link, by its length, inode and times; while
/// these are too fresh to prove anything, by its contents. Whoever writes it should rename a whole one over it: of one that is read
/// half written an error is told, and the last good set is used until it is whole.
///
/// A mistake is told once, with its line and column, and again when it has become another one. An empty array is a good set
/// without endpoints, to which the [grace](crate::client::ClientBuilder::empty_grace) applies.
///
/// ```
/// use rpcplugin_testkit::{Client, MockCluster, client::EndpointFile};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = MockCluster::start(2).await;
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("endpoints.json");
/// let (first, second) = (cluster[0].address(), cluster[1].address());
/// std::fs::write(&path, format!(r#"["{first}", {{"address": "{second}", "weight": 3}}]"#))?;
///
/// let client = Client::builder().discover(EndpointFile::new(&path)).connect().await?;
/// assert_eq!(client.endpoints()[1].weight, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until a client is built with it"]
pub struct EndpointFile {
    path: PathBuf,
    interval: Duration,
}

/// What a careless `Duration::ZERO` means.
const SHORTEST: Duration = Duration::from_millis(1);

impl EndpointFile {
    /// The file at that path, which need not be there yet. A relative path is one below the working directory at each look.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            interval: Duration::from_secs(1),
        }
    }

    /// How long after a look it is looked at again, at least a millisecond. A look at a file that has not changed asks for its
    /// metadata only. Default: 1 s.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval.max(SHORTEST);
        self
    }
}

impl Discover for EndpointFile {
    fn watch(&self, refresh: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        let interval = self.interval;
        let reader = Reader::new(self.path.clone());
        Steps::new((reader, true), move |(mut reader, mut is_first)| {
            let refresh = refresh.clone();
            async move {
                loop {
                    if !is_first {
                        wait(interval, &refresh).await;
                    }
                    is_first = false;
                    let (news, same) = look(reader).await;
                    reader = same;
                    if let Some(news) = news {
                        return (news.map_err(Into::into), (reader, false));
                    }
                }
            }
        })
    }

    fn name(&self) -> String {
        format!("the endpoint file `{}`", self.path.display())
    }
}

async fn wait(interval: Duration, refresh: &Refresh) {
    let over = async {
        match Instant::now().checked_add(interval) {
            Some(next) => sleep_until(next).await,
            None => pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        () = refresh.asked() => {}
    }
}

/// A file system may be slow, and the thread has calls to make.
async fn look(mut reader: Reader) -> (Option<Result<Vec<Endpoint>, crate::error::Error>>, Reader) {
    let look = move || (reader.look(SystemTime::now()), reader);
    let looked = spawn_blocking(look).await;
    looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
