//! Failures by a schedule.

use crate::mock::chaos::{Chaos, ChaosEvent, ChaosReport, run, run_while};
use crate::mock::cluster::MockCluster;
use std::panic::Location;

/// Chaos.
impl MockCluster {
    /// Lets a schedule of failures happen to the servers, to its end, and tells what was done. Then all are up and not paused, and
    /// nothing is injected any more, whatever happened; dropping the future before does the same.
    ///
    /// It goes by tokio's clock, so over [`memory`](Self::memory) with paused time it takes no time. Join it with what is under
    /// test, or use [`run_while`](Self::run_while).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Chaos, MockCluster};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(3).await;
    /// let chaos = Chaos::new().kill(50.0).restart(50.0).lasting(Duration::from_millis(100));
    ///
    /// let planned = cluster.schedule(&chaos);
    /// let report = cluster.run(chaos).await;
    /// assert_eq!(report.events(), planned);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When a server is down or paused when that begins, and when one cannot listen at its address any more.
    #[track_caller]
    pub fn run(&self, chaos: Chaos) -> impl Future<Output = ChaosReport> + Send + '_ {
        run(&self.servers, chaos, Location::caller())
    }

    /// Lets a schedule of failures happen to the servers while something else goes on. When that has ended, or the schedule has,
    /// everything is put back as [`run`](Self::run) does it. What goes on is never cut short: it is awaited, and what it gives is given
    /// back, with the report.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Chaos, MockCluster, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(2).await;
    /// cluster.mount(Stub::any().reply(json!({"value": 1})));
    /// let client = cluster.client(0).await;
    ///
    /// let chaos = Chaos::new().pause(100.0).resume(100.0);
    /// let load = client.call("Get", json!({})).wait_for_ready();
    /// let (reply, _report) = cluster.run_while(chaos, load).await;
    /// assert_eq!(reply.unwrap()["value"], 1);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn run_while<F: IntoFuture>(
        &self,
        chaos: Chaos,
        load: F,
    ) -> impl Future<Output = (F::Output, ChaosReport)> {
        run_while(&self.servers, chaos, load.into_future(), Location::caller())
    }

    /// What this chaos will do to the cluster, by the cluster's seed if it has none of its own. See [`Chaos::schedule`].
    #[must_use]
    pub fn schedule(&self, chaos: &Chaos) -> Vec<ChaosEvent> {
        let seed = self.chance.seed;
        chaos.schedule_by(seed, self.len())
    }
}
