//! Starting several servers by one builder.

use crate::error::{Error, Kind};
use crate::mock::builder::{MockServerBuilder, seed_from_env};
use crate::mock::cluster::MockCluster;
use crate::mock::cluster::chance::Chance;
use crate::mock::registry::Registry;
use crate::mock::server::{Common, MockServer};
use crate::net::Bind;
use std::{
    panic::Location,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

impl MockCluster {
    /// Starts `servers` servers on 127.0.0.1 and ephemeral ports.
    ///
    /// # Panics
    ///
    /// When they cannot listen, or are to be none.
    #[track_caller]
    pub fn start(servers: usize) -> impl Future<Output = Self> + Send {
        MockServer::builder().start_cluster(servers)
    }

    /// Starts `servers` servers on Unix sockets in private temporary directories.
    ///
    /// # Panics
    ///
    /// When they cannot listen, or are to be none.
    #[track_caller]
    pub fn unix(servers: usize) -> impl Future<Output = Self> + Send {
        MockServer::builder().unix().start_cluster(servers)
    }

    /// Starts `servers` servers on in-process pipes: the one transport for tests with paused time.
    ///
    /// # Panics
    ///
    /// When they are to be none.
    #[track_caller]
    pub fn memory(servers: usize) -> impl Future<Output = Self> + Send {
        MockServer::builder().memory().start_cluster(servers)
    }
}

/// Clusters.
impl MockServerBuilder {
    /// Starts `servers` servers like this one as a [`MockCluster`]: all are listening when this returns.
    ///
    /// Each has an address of its own. All have one certificate and trust one authority, so that the same
    /// clients fit all; one seed; a journal of its own with the whole [limit](Self::journal_limit); and what is
    /// [replayed](Self::replay) each answers by itself.
    ///
    /// ```
    /// use rpcplugin_testkit::{MockServer, Stub, json};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockServer::builder().unix().mtls().start_cluster(3).await;
    /// cluster.mount(Stub::method("Get").reply(json!({"value": 1})));
    ///
    /// cluster.client(1).await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(cluster.counts(), [0, 1, 0]);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When something given to the builder is malformed, such as a [fixed address](Self::address), or they cannot listen, or
    /// are to be none.
    #[track_caller]
    pub fn start_cluster(self, servers: usize) -> impl Future<Output = MockCluster> + Send {
        let place = Location::caller();
        async move {
            match self.try_start_cluster(servers).await {
                Ok(cluster) => cluster,
                Err(error) => panic!("the mock cluster does not start at {place}: {error:?}"),
            }
        }
    }

    /// [`start_cluster`](Self::start_cluster) for a test that expects it to fail.
    ///
    /// # Errors
    ///
    /// When something given to the builder is malformed, such as a [fixed address](Self::address), or they cannot listen, or
    /// are to be none.
    pub async fn try_start_cluster(mut self, servers: usize) -> Result<MockCluster, Error> {
        let mistake = |text: String| Err(Error::new(Kind::Config, text));
        if let Bind::At(address) = &self.settings.bind {
            return mistake(format!(
                "the servers of a cluster cannot share {address}: use `.tcp()`, `.unix()` or `.memory()`"
            ));
        }
        if servers == 0 {
            return mistake("a cluster has one server at least".to_owned());
        }
        let seed = match self.seed {
            Some(seed) => seed,
            None => seed_from_env()?,
        };
        self.seed = Some(seed);
        let common = Common::default();
        self.settings.common = Some(common.clone());
        // The cluster judges, once for all.
        let verifies = std::mem::replace(&mut self.settings.verify_on_drop, false);
        let patience = self.settings.patience;
        let first = self.clone().try_start().await?;
        // What it was told by another server is so for all.
        self.settings.schema = first.schema().cloned();
        self.schema_source = None;
        let mut started = vec![first];
        while started.len() < servers {
            started.push(self.clone().try_start().await?);
        }
        Ok(MockCluster {
            servers: started,
            registry: Arc::new(Registry::new(common.ids)),
            groups: Mutex::default(),
            chance: Chance::new(seed),
            patience,
            verifies: AtomicBool::new(verifies),
        })
    }
}
