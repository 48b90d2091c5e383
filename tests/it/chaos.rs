//! What chaos will do: a schedule that depends on its settings, its seed and the number of servers, and on nothing else.

use pretty_assertions::{assert_eq, assert_ne};
use rpcplugin_testkit::mock::{ChaosAction, ChaosEvent};
use rpcplugin_testkit::{Chaos, MockCluster, MockServer, Reason, Status};
use std::{
    collections::HashSet,
    mem::{Discriminant, discriminant},
    panic::catch_unwind,
    time::Duration,
};

const MS: Duration = Duration::from_millis(1);

/// One kind of failure.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Kill,
    Restart,
    Pause,
    Resume,
    Latency,
    Status,
    Reset,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Kill,
        Self::Restart,
        Self::Pause,
        Self::Resume,
        Self::Latency,
        Self::Status,
        Self::Reset,
    ];

    fn add(self, chaos: Chaos, rate: f64) -> Chaos {
        match self {
            Self::Kill => chaos.kill(rate),
            Self::Restart => chaos.restart(rate),
            Self::Pause => chaos.pause(rate),
            Self::Resume => chaos.resume(rate),
            Self::Latency => chaos.latency(rate, 50 * MS, 300 * MS),
            Self::Status => chaos.status(rate, Status::unavailable("chaos")),
            Self::Reset => chaos.reset(rate, Reason::INTERNAL_ERROR),
        }
    }

    fn action(self) -> Discriminant<ChaosAction> {
        discriminant(&match self {
            Self::Kill => ChaosAction::Kill,
            Self::Restart => ChaosAction::Restart,
            Self::Pause => ChaosAction::Pause,
            Self::Resume => ChaosAction::Resume,
            Self::Latency => ChaosAction::Latency(MS),
            Self::Status => ChaosAction::Status(Status::unavailable("")),
            Self::Reset => ChaosAction::Reset(Reason::NO_ERROR),
        })
    }

    /// Those of this kind.
    fn of(self, events: &[ChaosEvent]) -> Vec<ChaosEvent> {
        let is = |event: &&ChaosEvent| discriminant(&event.what) == self.action();
        events.iter().filter(is).cloned().collect()
    }

    /// What there has to be so that it always makes sense to some server of many.
    fn needs(self) -> Option<Self> {
        match self {
            Self::Restart => Some(Self::Kill),
            Self::Resume => Some(Self::Pause),
            Self::Kill | Self::Pause | Self::Latency | Self::Status | Self::Reset => None,
        }
    }
}

/// Everything, often.
pub(crate) fn everything(rate: f64) -> Chaos {
    let all = Kind::ALL.into_iter();
    all.fold(Chaos::new(), |chaos, kind| kind.add(chaos, rate))
}

fn times(events: &[ChaosEvent]) -> Vec<Duration> {
    events.iter().map(|event| event.at).collect()
}

#[test]
fn equal_seeds_give_equal_schedules_and_others_give_others() {
    let mut seen: Vec<Vec<ChaosEvent>> = Vec::new();
    for seed in [0, 1, 2, 42, u64::MAX] {
        let chaos = everything(2.0).seed(seed);
        let schedule = chaos.schedule(3);
        assert!(schedule.len() > 50, "{}", schedule.len());
        assert_eq!(chaos.clone().schedule(3), schedule);
        assert_eq!(everything(2.0).seed(seed).schedule(3), schedule);
        assert!(!seen.contains(&schedule));
        seen.push(schedule);
    }
    let chaos = everything(2.0).seed(42);
    assert_ne!(chaos.schedule(4), chaos.schedule(3));
    assert_ne!(everything(2.1).seed(42).schedule(3), chaos.schedule(3));
    // A longer one begins as the shorter one.
    let (short, long) = (
        chaos.schedule(3),
        chaos.clone().lasting(20_000 * MS).schedule(3),
    );
    assert!(long.len() > short.len());
    assert_eq!(long[..short.len()], short);
    assert_eq!(chaos.schedule(0), []);
    assert_eq!(Chaos::new().seed(42).schedule(3), []);
}

#[test]
fn the_seed_of_a_schedule_is_its_own_or_the_clusters() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster: MockCluster = MockServer::builder()
            .memory()
            .seed(7)
            .start_cluster(3)
            .await;
        let chaos = everything(2.0);
        assert_eq!(cluster.schedule(&chaos), chaos.clone().seed(7).schedule(3));
        let own = chaos.seed(8);
        assert_eq!(cluster.schedule(&own), own.schedule(3));
    });
    let panic = catch_unwind(|| Chaos::new().schedule(3)).unwrap_err();
    assert_eq!(
        panic.downcast_ref(),
        Some(&"this chaos has no seed of its own: say `.seed(..)`, or ask the cluster")
    );
}

#[test]
fn a_kind_that_is_added_leaves_the_times_of_the_others() {
    // So many servers that there is always one that it makes sense for.
    const SERVERS: usize = 300;
    for kind in Kind::ALL {
        let chaos = kind.add(Chaos::new().seed(42), 5.0);
        let alone = match kind.needs() {
            // Of many that are down or paused at once there is always one.
            Some(needed) => needed.add(chaos, 20.0),
            None => chaos,
        };
        // From when there are some.
        let times = |chaos: &Chaos| {
            let mut times = times(&kind.of(&chaos.schedule(SERVERS)));
            times.retain(|time| *time > 1000 * MS);
            times
        };
        let expected = times(&alone);
        assert!(expected.len() > 25, "{kind:?}: {}", expected.len());
        for added in Kind::ALL {
            if added == kind || Some(added) == kind.needs() {
                continue;
            }
            let more = added.add(alone.clone(), 3.0);
            assert_eq!(times(&more), expected, "{kind:?} + {added:?}");
        }
        // Also a second of the same kind, whose own times are others.
        let twice = times(&kind.add(alone.clone(), 5.0));
        let common = expected.iter().filter(|time| twice.contains(time)).count();
        assert_eq!(common, expected.len(), "{kind:?}");
        assert!(twice.len() > expected.len() + 20, "{kind:?}");
    }
}

/// What breaks calls changes nothing about which servers are up when.
#[test]
fn failures_of_calls_change_nothing_about_the_servers() {
    for seed in 0..20 {
        let base = Chaos::new()
            .seed(seed)
            .kill(1.0)
            .restart(1.0)
            .pause(1.0)
            .resume(1.0);
        let expected = base.schedule(3);
        let more = base
            .latency(3.0, MS, 200 * MS)
            .status(3.0, Status::internal("chaos"))
            .reset(3.0, Reason::CANCEL);
        let kinds = [Kind::Kill, Kind::Restart, Kind::Pause, Kind::Resume];
        let is = |event: &ChaosEvent| {
            kinds
                .iter()
                .any(|kind| kind.action() == discriminant(&event.what))
        };
        let mut left = more.schedule(3);
        left.retain(is);
        assert_eq!(left, expected, "{seed}");
    }
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts of events are small")]
fn rates_are_right_on_average_and_the_gaps_are_random() {
    const SECONDS: f64 = 1500.0;
    for kind in Kind::ALL {
        for rate in [0.5, 3.0] {
            let chaos = Chaos::new()
                .seed(42)
                .lasting(Duration::from_secs_f64(SECONDS));
            let chaos = kind.add(chaos, rate);
            // What undoes it is faster, or what it undoes, so that it always makes sense.
            let chaos = match kind {
                Kind::Kill => chaos.restart(30.0),
                Kind::Restart => chaos.kill(30.0),
                Kind::Pause => chaos.resume(30.0),
                Kind::Resume => chaos.pause(30.0),
                Kind::Latency | Kind::Status | Kind::Reset => chaos,
            };
            let events = times(&kind.of(&chaos.schedule(20)));
            let (count, mean) = (events.len() as f64, rate * SECONDS);
            assert!(
                (count - mean).abs() < 5.0 * mean.sqrt(),
                "{kind:?} {rate}: {count}"
            );
            // Of an exponential distribution, one in e is longer than the mean.
            let gaps = events
                .windows(2)
                .map(|pair| (pair[1] - pair[0]).as_secs_f64());
            let long = gaps.filter(|gap| *gap > 1.0 / rate).count() as f64 / count;
            assert!(
                (long - (-1.0_f64).exp()).abs() < 0.05,
                "{kind:?} {rate}: {long}"
            );
        }
    }
}

#[test]
fn no_rate_means_never() {
    let chaos = everything(0.0).seed(1).lasting(Duration::MAX);
    assert_eq!(chaos.schedule(3), []);
    for rate in [-1.0, 1001.0, f64::NAN, f64::INFINITY] {
        let panic = catch_unwind(|| Chaos::new().kill(rate)).unwrap_err();
        let text = format!("a rate is from 0 to 1000 per second, and {rate} is not");
        assert_eq!(panic.downcast_ref(), Some(&text));
    }
}

/// What the servers are like after some events, by the test's own account.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Servers {
    pub(crate) up: Vec<bool>,
    pub(crate) paused: Vec<bool>,
    slow: Vec<bool>,
}

impl Servers {
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            up: vec![true; servers],
            paused: vec![false; servers],
            slow: vec![false; servers],
        }
    }

    fn serving(&self) -> usize {
        let servers = self.up.iter().zip(&self.paused);
        servers.filter(|(up, paused)| **up && !**paused).count()
    }

    /// What an event makes of it; it must make sense.
    pub(crate) fn apply(&mut self, event: &ChaosEvent) {
        let number = event.server;
        let (up, paused, slow) = (self.up[number], self.paused[number], self.slow[number]);
        let sense = match &event.what {
            ChaosAction::Kill => std::mem::replace(&mut self.up[number], false),
            ChaosAction::Restart => !std::mem::replace(&mut self.up[number], true),
            ChaosAction::Pause => up && !std::mem::replace(&mut self.paused[number], true),
            ChaosAction::Resume => up && std::mem::replace(&mut self.paused[number], false),
            ChaosAction::Latency(_) => {
                up && !paused && !std::mem::replace(&mut self.slow[number], true)
            }
            ChaosAction::LatencyEnds => std::mem::replace(&mut self.slow[number], false),
            ChaosAction::Status(_) | ChaosAction::Reset(_) => up && !paused,
            other => panic!("{other}"),
        };
        assert!(sense, "{event}: up {up}, paused {paused}, slow {slow}");
    }
}

#[test]
fn every_event_makes_sense_and_enough_servers_stay_up() {
    let (mut kinds, mut least) = (HashSet::new(), HashSet::new());
    for seed in 0..40 {
        for servers in 1..=4 {
            for keep_up in 0..=servers + 1 {
                let chaos = everything(4.0).seed(seed).keep_up(keep_up);
                let mut state = Servers::new(servers);
                let (mut last, mut fewest) = (Duration::ZERO, servers);
                for event in chaos.schedule(servers) {
                    assert!(last <= event.at && event.at < 10_000 * MS, "{event}");
                    assert_eq!(event.at.subsec_nanos() % 1_000_000, 0, "{event}");
                    last = event.at;
                    kinds.insert(discriminant(&event.what));
                    state.apply(&event);
                    fewest = fewest.min(state.serving());
                    assert!(state.serving() >= keep_up.min(servers), "{event}");
                }
                least.insert((servers, keep_up, fewest));
            }
        }
    }
    assert_eq!(kinds.len(), Kind::ALL.len() + 1);
    // As many as may go down do.
    for servers in 1..=4 {
        for keep_up in 0..=servers {
            assert!(
                least.contains(&(servers, keep_up, keep_up)),
                "{servers} {keep_up}"
            );
        }
    }
}

#[test]
fn latency_ends_after_its_span_unless_all_is_over_before() {
    for seed in 0..20 {
        let chaos = Chaos::new().seed(seed).latency(2.0, 5 * MS, 400 * MS);
        let events = chaos.schedule(3);
        for (index, event) in events.iter().enumerate() {
            if event.what == ChaosAction::LatencyEnds {
                continue;
            }
            assert_eq!(event.what, ChaosAction::Latency(5 * MS));
            let ends = events[index + 1..]
                .iter()
                .find(|end| end.server == event.server);
            match ends {
                Some(end) => {
                    assert_eq!(end.what, ChaosAction::LatencyEnds);
                    let span = end.at - event.at;
                    assert_eq!(span, 400 * MS);
                }
                None => assert!(event.at + 400 * MS >= 10_000 * MS, "{event}"),
            }
        }
    }
}

#[test]
fn all_servers_get_their_share() {
    let chaos = Chaos::new()
        .seed(42)
        .status(100.0, Status::internal("chaos"));
    let mut share = [0; 4];
    for event in chaos.schedule(4) {
        share[event.server] += 1;
    }
    assert!(
        share.iter().all(|share| (190..=310).contains(share)),
        "{share:?}"
    );
}

#[test]
fn events_are_told_in_words() {
    let told: HashSet<String> = everything(20.0)
        .seed(1)
        .schedule(1)
        .iter()
        .map(|event| event.what.to_string())
        .collect();
    let expected = [
        "killed",
        "restarted",
        "paused",
        "resumed",
        "slower by 50ms",
        "not slower any more",
        "next call gets UNAVAILABLE \"chaos\"",
        "next call is reset by INTERNAL_ERROR",
    ];
    assert_eq!(told, expected.map(str::to_owned).into());
    let event = &Chaos::new().seed(42).kill(1.0).schedule(1)[0];
    let seconds = format!("{:.3}", event.at.as_secs_f64());
    assert_eq!(event.to_string(), format!("{seconds}s server 0: killed"));
}
