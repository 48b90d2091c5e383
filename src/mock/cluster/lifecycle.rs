//! Killing, restarting and pausing some of the servers, or all.

use crate::mock::cluster::MockCluster;
use crate::mock::server::MockServer;
use std::panic::Location;

/// Lifecycle.
impl MockCluster {
    /// [Kills](MockServer::kill) all servers: every one is dead before the calls of any are waited for.
    ///
    /// Cancel safe: all are dead with the first poll, and only not all has ended.
    pub async fn kill_all(&self) {
        let dying: Vec<_> = self
            .iter()
            .map(|server| (server, server.cut(false)))
            .collect();
        for (server, accepting) in dying {
            server.ended(accepting).await;
        }
    }

    /// [Restarts](MockServer::restart) all servers. Those that are up are killed first.
    ///
    /// When it is cancelled, those that it has not come to stay down.
    ///
    /// # Panics
    ///
    /// When one cannot listen at its address any more.
    #[track_caller]
    pub fn restart_all(&self) -> impl Future<Output = ()> + Send + '_ {
        let restarts: Vec<_> = self.iter().map(MockServer::restart).collect();
        async move {
            self.kill_all().await;
            for restart in restarts {
                restart.await;
            }
        }
    }

    /// [Kills](MockServer::kill) one of the servers that are up, and tells which. It is chosen by the cluster's
    /// [seed](crate::mock::MockServerBuilder::seed), which a failing test prints: with the same seed, and the same servers up,
    /// the same are chosen.
    ///
    /// ```
    /// # use rpcplugin_testkit::MockCluster;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(3).await;
    /// let victim = cluster.kill_any().await;
    ///
    /// assert!(!cluster[victim].is_up());
    /// assert_eq!(cluster.restart_any().await, victim);
    /// # }
    /// ```
    ///
    /// Cancel safe: it is dead with the first poll, and only not all has ended.
    ///
    /// # Panics
    ///
    /// When none is up.
    #[track_caller]
    pub fn kill_any(&self) -> impl Future<Output = usize> + Send + '_ {
        let place = Location::caller();
        async move {
            let number = self.any("up", MockServer::is_up, place);
            self[number].kill().await;
            number
        }
    }

    /// [Restarts](MockServer::restart) one of the servers that are down, chosen as by [`kill_any`](Self::kill_any), and tells
    /// which.
    ///
    /// # Panics
    ///
    /// When none is down, and when it cannot listen at its address any more.
    #[track_caller]
    pub fn restart_any(&self) -> impl Future<Output = usize> + Send + '_ {
        let place = Location::caller();
        async move {
            let number = self.any("down", |server| !server.is_up(), place);
            self[number].restart().await;
            number
        }
    }

    /// [Pauses](MockServer::pause) one of the servers that are up and not paused, chosen as by [`kill_any`](Self::kill_any),
    /// and tells which.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn pause_any(&self) -> usize {
        let runs = |server: &MockServer| server.is_up() && !server.is_paused();
        let number = self.any("up and not paused", runs, Location::caller());
        self[number].pause();
        number
    }

    /// [Pauses](MockServer::pause) all servers.
    pub fn pause_all(&self) {
        self.iter().for_each(MockServer::pause);
    }

    /// [Resumes](MockServer::resume) all servers that are paused. Partitions stay.
    pub fn resume_all(&self) {
        self.iter().for_each(MockServer::resume);
    }

    /// The number of a server that is so, by chance.
    fn any(&self, how: &str, is: impl Fn(&MockServer) -> bool, place: &Location<'_>) -> usize {
        let servers = self.iter().enumerate();
        let such = servers.filter(|(_, server)| is(server));
        let such: Vec<_> = such.map(|(number, _)| number).collect();
        let chosen = self.chance.one_of(&such);
        chosen.unwrap_or_else(|| panic!("no server of the cluster is {how} at {place}"))
    }
}
