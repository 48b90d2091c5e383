//! Reading, awaiting and judging what came to any of the servers.

use crate::mock::cluster::MockCluster;
use crate::mock::dice::Seed;
use crate::mock::journal::{Call, Journal, Unfinished};
use crate::mock::verify::{Drawn, Problems, Report, SEED};
use std::{
    panic::Location,
    sync::{Arc, atomic::Ordering},
};
use tokio::time::timeout;

/// What came.
impl MockCluster {
    /// Every call so far, whichever server it came to, in the order of arrival. `cluster[0].calls()` are those of one server.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.journal().calls()
    }

    /// Every call so far to the method of that name, as [`MockServer::calls_to`](crate::MockServer::calls_to).
    #[must_use]
    pub fn calls_to(&self, method: &str) -> Vec<Call> {
        self.journal().to(method).calls()
    }

    /// How many calls came to each of the servers.
    #[must_use]
    pub fn counts(&self) -> Vec<usize> {
        let servers = self.iter();
        servers.map(|server| server.journal().arrived()).collect()
    }

    /// How many calls came to each of the servers for the method of that name.
    #[must_use]
    pub fn counts_to(&self, method: &str) -> Vec<usize> {
        let servers = self.iter();
        servers
            .map(|server| server.journal().to(method).len())
            .collect()
    }

    /// One journal of all servers, in the order of arrival. [`on_server`](Journal::on_server) and
    /// [`from_group`](Journal::from_group) narrow it.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockCluster, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(2).await;
    /// cluster.mount(Stub::any().reply(json!({})));
    /// for (server, method) in [(1, "A"), (0, "B"), (1, "C")] {
    ///     cluster.client(server).await.call(method, json!({})).await.unwrap();
    /// }
    ///
    /// let journal = cluster.journal();
    /// let methods: Vec<_> = journal.calls().iter().map(|call| call.method().to_owned()).collect();
    /// assert_eq!(methods, ["A", "B", "C"]);
    /// assert_eq!(journal.on_server(cluster[1].address()).len(), 2);
    /// # }
    /// ```
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::of_all(self.iter().map(|server| Arc::clone(&server.service.log)))
    }

    /// Waits until there were `n` calls or more, whichever servers they came to, and returns all.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When they do not come in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists those
    /// that did.
    #[track_caller]
    pub fn wait_for_calls(&self, n: usize) -> impl Future<Output = Vec<Call>> + Send + '_ {
        let (place, journal) = (Location::caller(), self.journal());
        async move { journal.wait_for_calls(n, self.patience, place).await }
    }

    /// Waits until the [journal](Self::journal) is as a closure wants it. It is asked whenever anything happens to a call, on
    /// any of the servers.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When it is not so in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists the
    /// calls.
    #[track_caller]
    pub fn wait_until<'a>(
        &'a self,
        holds: impl FnMut(&Journal) -> bool + Send + 'a,
    ) -> impl Future<Output = ()> + Send + 'a {
        let place = Location::caller();
        self.journal()
            .wait_until(Box::new(holds), self.patience, place)
    }

    /// Whether all is as expected, on all servers, as [`MockServer::verify`](crate::MockServer::verify) tells of one. Stubs that
    /// are mounted on the cluster, and faults that are injected into it, are judged once, by the calls of all servers together.
    ///
    /// Calls that are in flight are waited for. Dropping the cluster verifies too, unless this was called.
    ///
    /// # Errors
    ///
    /// The one [`Report`], which says of each problem of a single server which it is.
    pub async fn verify(&self) -> Result<(), Report> {
        let logs = self.iter().map(|server| &server.service.log);
        let all_ended = async {
            for log in logs.clone() {
                log.all_ended().await;
            }
        };
        let unfinished = match timeout(self.patience, all_ended).await {
            Ok(()) => logs.map(|_| Unfinished::default()).collect(),
            Err(_) => logs.map(|log| log.unfinished()).collect(),
        };
        self.judge(unfinished)
    }

    /// What is not as expected, now. It is not asked again when the cluster is dropped.
    pub(super) fn judge(&self, unfinished: Vec<Unfinished>) -> Result<(), Report> {
        self.verifies.store(false, Ordering::Release);
        // Any of the servers has those of the cluster.
        let faults = &self.servers[0].service.faults;
        let mut problems = Problems::unmet(&self.registry, faults, true);
        for (number, (server, unfinished)) in self.iter().zip(unfinished).enumerate() {
            let name = format!("server {number} at {}", server.address());
            problems.add(&name, server.problems(unfinished));
        }
        let head = "the mock cluster did not get what it expects".to_owned();
        problems.report(head, &self.journal(), self.drawn())
    }

    /// What was random so far.
    fn drawn(&self) -> Option<Drawn> {
        let mut seeds = self.iter().map(|server| &server.service.seed);
        let delays = seeds.clone().any(Seed::is_used);
        let chaos = seeds.any(Seed::is_used_for_chaos);
        Drawn::new(self.chance.seed, delays, self.chance.is_used(), chaos)
    }

    #[expect(
        clippy::print_stderr,
        reason = "a failing test must be told its seed, and panics cannot be nested"
    )]
    pub(super) fn tell_seed(&self) {
        if let Some(Drawn { what, seed }) = self.drawn() {
            eprintln!(
                "the mock cluster drew its {what} from the seed {seed}: {SEED}={seed} repeats them"
            );
        }
    }
}
