//! What may happen, and how often.

use crate::mock::chaos::event::{ChaosAction, ChaosEvent};
use crate::mock::chaos::schedule::Schedule;
use h2::Reason;
use std::time::Duration;
use tonic::Status;

/// Failures of a [cluster](crate::MockCluster::run), or of [one server](crate::MockServer::run), by a schedule that is drawn from
/// a seed, and so happens again.
///
/// Each kind of failure comes at random times (a [Poisson process](https://en.wikipedia.org/wiki/Poisson_point_process)), so
/// often per second for all servers together, and takes one of those that it makes sense for. If there is none, it does not
/// happen. The times of one kind do not depend on which other kinds there are.
///
/// ```
/// use rpcplugin_testkit::{Chaos, MockCluster, Reason, Status, Stub, json};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let cluster = MockCluster::start(3).await;
/// cluster.mount(Stub::any().reply(json!({"value": 1})));
/// let client = cluster.client(0).await;
///
/// let chaos = Chaos::new()
///     .kill(20.0)
///     .restart(60.0)
///     .status(20.0, Status::unavailable("chaos"))
///     .reset(20.0, Reason::INTERNAL_ERROR)
///     .keep_up(1);
/// let load = async {
///     let mut answered = 0;
///     for _ in 0..100 {
///         let call = client.call("Get", json!({})).timeout(Duration::from_secs(1));
///         answered += usize::from(call.await.is_ok());
///     }
///     answered
/// };
/// let (answered, report) = cluster.run_while(chaos, load).await;
///
/// println!("{answered} of 100 calls were answered\n{report}");
/// assert!(cluster.iter().all(|server| server.is_up()));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until a cluster or a server runs it"]
pub struct Chaos {
    pub(super) seed: Option<u64>,
    pub(super) kinds: Vec<Kind>,
    pub(super) keep_up: usize,
    pub(super) lasting: Duration,
}

/// One kind of failure.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    /// How often, per second.
    pub(super) rate: f64,
    pub(super) action: ChaosAction,
    /// How long it lasts, if it ends by itself.
    pub(super) span: Duration,
}

/// More often than this is a mistake.
const MOST: f64 = 1000.0;

impl Default for Chaos {
    fn default() -> Self {
        Self::new()
    }
}

impl Chaos {
    /// Ten seconds in which nothing happens.
    pub fn new() -> Self {
        Self {
            seed: None,
            kinds: Vec::new(),
            keep_up: 0,
            lasting: Duration::from_secs(10),
        }
    }

    /// What it is drawn from. Default: the [seed](crate::mock::MockServerBuilder::seed) of the server or the cluster, which a failing test
    /// prints, and which the environment variable `RPCPLUGIN_TESTKIT_SEED` sets. The same seed means the same schedule for as
    /// long as the version of this crate is the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// [Kills](crate::MockServer::kill) a server that is up, so often per second.
    ///
    /// # Panics
    ///
    /// When the rate is not from 0 to 1000.
    #[track_caller]
    pub fn kill(self, rate: f64) -> Self {
        self.add(rate, ChaosAction::Kill)
    }

    /// [Restarts](crate::MockServer::restart) a server that it has killed.
    ///
    /// # Panics
    ///
    /// When the rate is not from 0 to 1000.
    #[track_caller]
    pub fn restart(self, rate: f64) -> Self {
        self.add(rate, ChaosAction::Restart)
    }

    /// [Pauses](crate::MockServer::pause) a server that is up and not paused.
    ///
    /// # Panics
    ///
    /// When the rate is not from 0 to 1000.
    #[track_caller]
    pub fn pause(self, rate: f64) -> Self {
        self.add(rate, ChaosAction::Pause)
    }

    /// [Resumes](crate::MockServer::resume) a server that is up and that it has paused.
    ///
    /// # Panics
    ///
    /// When the rate is not from 0 to 1000.
    #[track_caller]
    pub fn resume(self, rate: f64) -> Self {
        self.add(rate, ChaosAction::Resume)
    }

    /// Makes everything pass later by `delay`, [both ways](crate::Fault::latency), for a span of time, on a server that is up, not
    /// paused, and not slower already.
    ///
    /// # Panics
    ///
    /// When the rate is not from 0 to 1000.
    #[track_caller]
    pub fn latency(self, rate: f64, delay: Duration, span: Duration) -> Self {
        let mut this = self.add(rate, ChaosAction::Latency(delay));
        if let Some(kind) = this.kinds.last_mut() {
            kind.span = span;
        }
        this
    }

    /// Lets the next call on a server that is up and not paused have [this status](crate::Fault::status).
    ///
    /// # Panics
    ///
    /// When the rate is not from 0 to 1000.
    #[track_caller]
    pub fn status(self, rate: f64, status: Status) -> Self {
        self.add(rate, ChaosAction::Status(status))
    }

    /// [Resets](crate::Fault::reset) the next call on a server that is up and not paused.
    ///
    /// # Panics
    ///
    /// When the rate is not from 0 to 1000.
    #[track_caller]
    pub fn reset(self, rate: f64, reason: Reason) -> Self {
        self.add(rate, ChaosAction::Reset(reason))
    }

    #[track_caller]
    fn add(mut self, rate: f64, action: ChaosAction) -> Self {
        assert!(
            (0.0..=MOST).contains(&rate),
            "a rate is from 0 to {MOST} per second, and {rate} is not"
        );
        let span = Duration::ZERO;
        self.kinds.push(Kind { rate, action, span });
        self
    }

    /// Leaves so many servers up and not paused at any time. Default: none.
    pub fn keep_up(mut self, servers: usize) -> Self {
        self.keep_up = servers;
        self
    }

    /// How long it lasts. Default: 10 s.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.lasting = time;
        self
    }

    /// What will happen to so many servers, in order. It depends on nothing but the settings, the seed and that number.
    ///
    /// ```
    /// use rpcplugin_testkit::Chaos;
    /// use std::time::Duration;
    ///
    /// let chaos = Chaos::new().seed(42).kill(0.5).restart(1.0).lasting(Duration::from_secs(30));
    /// for event in chaos.schedule(3) {
    ///     println!("{event}"); // 0.532s server 1: killed
    /// }
    /// assert_eq!(chaos.schedule(3), chaos.clone().schedule(3));
    /// ```
    ///
    /// # Panics
    ///
    /// When it has no [seed](Self::seed) of its own. That of a cluster is known to the cluster: see
    /// [`MockCluster::schedule`](crate::MockCluster::schedule).
    #[must_use]
    #[track_caller]
    pub fn schedule(&self, servers: usize) -> Vec<ChaosEvent> {
        let Some(seed) = self.seed else {
            panic!("this chaos has no seed of its own: say `.seed(..)`, or ask the cluster");
        };
        self.schedule_by(seed, servers)
    }

    /// The same, by this seed if it has none of its own.
    pub(crate) fn schedule_by(&self, seed: u64, servers: usize) -> Vec<ChaosEvent> {
        Schedule::new(self, self.seed.unwrap_or(seed), servers).collect()
    }
}
