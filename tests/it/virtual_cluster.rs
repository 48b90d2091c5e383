//! A thousand servers in this process, on a clock that passes when everybody waits, a tenth of which is killed every second.

use crate::support::within;
use pretty_assertions::{assert_eq, assert_ne};
use rpcplugin_testkit::client::RetryPolicy;
use rpcplugin_testkit::{Chaos, Client, MockCluster, MockServer, Outcome, Strategy, Stub, json};
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, sleep_until};

const SERVERS: usize = 1000;
const CALLERS: u64 = 20;
const CALLS: u64 = 40;

/// Which server answered which call, in the order of arrival, and what failed.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    calls: Vec<(usize, u64, Option<Outcome>)>,
    failed: Vec<u64>,
    retries: (u64, u64),
}

async fn story(seed: u64, idempotent: bool) -> Story {
    let cluster = MockServer::builder().memory().seed(seed);
    let cluster = cluster.start_cluster(SERVERS).await;
    cluster.mount(Stub::any().reply(json!({})).times(0..));
    let client = Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin)
        .retry(RetryPolicy::default().attempts(5))
        .seed(seed);
    let client = within(client.connect()).await.expect("it goes well");
    // A hundred of the thousand every second, for two seconds.
    let chaos = Chaos::new().seed(seed).kill(100.0).restart(20.0);
    let load = load(&client, idempotent);
    let (failed, report) = within(cluster.run_while(chaos, load)).await;
    assert!(report.events().len() > 100, "seed {seed}: {report:?}");
    let stats = client.stats();
    Story {
        calls: calls(&cluster),
        failed,
        retries: (stats.retries, stats.transparent_retries),
    }
}

async fn load(client: &Client, idempotent: bool) -> Vec<u64> {
    let callers = (0..CALLERS).map(|caller| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut failed = Vec::new();
            for n in 0..CALLS {
                let id = caller * CALLS + n;
                let call = client.call("Process", json!({"id": id}));
                let call = if idempotent { call.idempotent() } else { call };
                if call.await.is_err() {
                    failed.push(id);
                }
                // Virtual time: a call takes none of it.
                sleep_until(Instant::now() + Duration::from_millis(50)).await;
            }
            failed
        })
    });
    let mut failed = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        failed.extend(caller.await.expect("it goes well"));
    }
    failed
}

fn calls(cluster: &MockCluster) -> Vec<(usize, u64, Option<Outcome>)> {
    let addresses = cluster.addresses();
    let numbers: HashMap<_, _> = addresses.iter().zip(0..).collect();
    let calls = cluster.journal().calls();
    let told = calls.iter().filter(|call| call.method() == "Process");
    told.map(|call| {
        let id = call.request()["id"].as_u64().expect("it goes well");
        (numbers[call.server_address()], id, call.outcome())
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn no_idempotent_call_fails_among_a_thousand_servers_that_die_and_it_can_be_had_again() {
    let first = story(1, true).await;
    assert_eq!(first.failed, [0; 0]);
    assert!(first.calls.len() as u64 >= CALLERS * CALLS);
    assert_eq!(story(1, true).await, first);
    assert_ne!(story(2, true).await, first);
}

#[tokio::test(start_paused = true)]
async fn no_other_call_runs_twice_among_a_thousand_servers_that_die() {
    let story = story(3, false).await;
    let mut ran: HashMap<u64, u32> = HashMap::new();
    for (_, id, _) in &story.calls {
        *ran.entry(*id).or_default() += 1;
    }
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    // What failed had reached a server.
    for id in &story.failed {
        assert_eq!(ran.get(id), Some(&1), "{id}");
    }
}
