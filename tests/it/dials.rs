//! How often a dead server is dialled: as often as the backoff says, however many calls wish for it.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClientEvent, Events, RetryPolicy};
use rpcplugin_testkit::{
    Address, Client, Fault, MockCluster, MockServer, Strategy, Stub, json, mock::InjectedFault,
};
use std::{collections::HashMap, time::Duration};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

const SERVERS: usize = 10;
const DEAD: usize = 3;
const CALLERS: u32 = 64;
const SECOND: Duration = Duration::from_secs(1);
/// How long a dial may last.
const DIAL: Duration = Duration::from_secs(20);

/// How a server is dead.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Refuses,
    HangsUp,
    /// It accepts and says nothing.
    IsSilent,
}

impl Death {
    const ALL: [Self; 3] = [Self::Refuses, Self::HangsUp, Self::IsSilent];

    /// Kills it, with what counts the dials, if the server sees them.
    async fn befalls(self, server: &MockServer) -> Option<InjectedFault> {
        let handle = match self {
            Self::Refuses => None,
            Self::HangsUp => Some(server.inject(Fault::close_on_accept())),
            Self::IsSilent => Some(server.inject(Fault::withhold_settings())),
        };
        within(server.kill().into_future()).await;
        if handle.is_some() {
            within(server.restart()).await;
        }
        handle
    }
}

/// When each dead endpoint's dials failed, since their first, up to that long after it.
async fn failures(events: &mut Events, span: Duration) -> HashMap<Address, Vec<Instant>> {
    let end = Instant::now() + span;
    let mut failures: HashMap<Address, Vec<Instant>> = HashMap::new();
    while let Ok(event) = tokio::time::timeout_at(end, events.next()).await {
        match event.expect("the client is there") {
            ClientEvent::DialFailed { address, .. } => {
                failures.entry(address).or_default().push(Instant::now());
            }
            ClientEvent::Missed(missed) => panic!("{missed} events are missed"),
            _ => {}
        }
    }
    failures
}

async fn connected(cluster: &MockCluster, strategy: Strategy, backoff: Backoff) -> Client {
    let client = Client::builder()
        .endpoints(cluster.addresses())
        .strategy(strategy)
        .retry(RetryPolicy::default())
        .backoff(backoff)
        .seed(7);
    within(client.connect()).await.expect("it connects")
}

/// As many callers as that, each with a call every two seconds, at evenly spread times.
fn load(client: &Client) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = client.clone();
        let mut next = Instant::now() + 2 * SECOND * caller / CALLERS;
        callers.spawn(async move {
            loop {
                sleep_until(next).await;
                next += 2 * SECOND;
                let call = client.call("Process", json!({})).idempotent();
                call.await.expect("others serve it");
            }
        });
    }
    callers
}

#[tokio::test(start_paused = true)]
async fn dead_servers_are_dialled_as_often_as_the_backoff_says_under_load() {
    for death in Death::ALL {
        for jitter in [0.0, 0.2] {
            for strategy in [Strategy::First, Strategy::LeastRequest] {
                dials_follow_the_backoff(death, jitter, strategy).await;
            }
        }
    }
}

async fn dials_follow_the_backoff(death: Death, jitter: f64, strategy: Strategy) {
    let case = format!("{death:?} {jitter} {strategy}");
    let cluster = MockServer::builder().memory().start_cluster(SERVERS).await;
    cluster.mount(Stub::any().reply(json!({})).times(0..));
    let backoff = Backoff {
        jitter,
        ..Backoff::default()
    };
    let client = connected(&cluster, strategy, backoff).await;
    let mut events = client.events();
    let mut seen = Vec::new();
    for server in cluster.iter().take(DEAD) {
        seen.push(death.befalls(server).await);
    }
    let callers = load(&client);
    let failures = failures(&mut events, 60 * SECOND).await;
    drop(callers);
    // `First` keeps a standby, and dials nobody whom it has no use for.
    let eager = strategy != Strategy::First;
    assert_eq!(failures.len(), DEAD, "{case}");
    for (address, failed) in &failures {
        let gaps: Vec<_> = failed.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let scarce = if death == Death::IsSilent { 2 } else { 7 };
        assert!(!eager || gaps.len() >= scarce, "{case}: {address} {gaps:?}");
        for (n, gap) in (1..).zip(&gaps) {
            let (mut low, mut high) = (backoff.delay(n, 0.0), backoff.delay(n, 1.0));
            if death == Death::IsSilent {
                // A dial that hangs lasts 20 seconds, and the wait is counted from its start. The first may have been
                // refused, before the server came back without a word.
                high = high.max(DIAL) + if n == 1 { DIAL } else { Duration::ZERO };
                low = low.max(DIAL);
            }
            let slack = Duration::from_millis(2);
            let expected = low.saturating_sub(slack)..=high + slack;
            let what = format!("{case}: {address}: gap {n}");
            assert!(expected.contains(gap), "{what}: {gap:?}, not {expected:?}");
        }
    }
    for (server, seen) in cluster.iter().zip(&seen) {
        let told = failures.get(server.address()).map_or(0, Vec::len) as u64;
        // One may have failed before the server came back with its fault, and one may be under way.
        if let Some(seen) = seen {
            assert!(told.abs_diff(seen.hits()) <= 1, "{case}: {told}, {seen:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_came_back_is_dialled_anew_when_it_is_lost_again() {
    let cluster = MockServer::builder().memory().start_cluster(3).await;
    cluster.mount(Stub::any().reply(json!({})).times(0..));
    let backoff = Backoff {
        jitter: 0.0,
        ..Backoff::default()
    };
    let client = connected(&cluster, Strategy::RoundRobin, backoff).await;
    let mut events = client.events();
    for _ in 0..3 {
        // A connection that served nobody would count as one more in vain.
        for _ in 0..3 {
            let call = client.call("Process", json!({}));
            within(call.into_future()).await.expect("it is served");
        }
        within(cluster[0].kill().into_future()).await;
        let lost = Instant::now();
        let failures = failures(&mut events, 12 * SECOND).await;
        let after = failures[cluster[0].address()]
            .iter()
            .map(|at| (*at - lost).as_millis());
        assert_eq!(after.collect::<Vec<_>>(), [0, 1000, 2600, 5160, 9256]);
        within(cluster[0].restart()).await;
        let back = |event: &ClientEvent| matches!(event, ClientEvent::Connected(_));
        within(events.wait_for(back)).await.expect("it comes back");
        assert_eq!((Instant::now() - lost).as_millis(), 15810);
    }
}
