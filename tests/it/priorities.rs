//! Endpoints of several priorities: the next take calls while those before cannot.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, Events, RetryPolicy};
use rpcplugin_testkit::{Client, Endpoint, Fault, MockCluster, Status, Strategy, Stub, json};
use std::collections::HashSet;

const STRATEGIES: [Strategy; 5] = [
    Strategy::First,
    Strategy::LeastRequest,
    Strategy::Random,
    Strategy::RoundRobin,
    Strategy::Weighted,
];

/// The first two servers have priority 0, the next two 1, and so on. They are told in reverse.
fn endpoints(cluster: &MockCluster) -> Vec<Endpoint> {
    let tiers = (0_u32..).zip(cluster.addresses());
    let endpoint = |(n, address): (u32, _)| Endpoint::from(address).priority(n / 2);
    let mut endpoints: Vec<_> = tiers.map(endpoint).collect();
    endpoints.reverse();
    endpoints
}

async fn started(strategy: Strategy, size: usize) -> (MockCluster, Client, Events) {
    let cluster = MockCluster::memory(size).await;
    cluster.mount(Stub::any().reply(json!({})).times(0..));
    let builder = Client::builder()
        .endpoints(endpoints(&cluster))
        .strategy(strategy)
        .retry(RetryPolicy::default())
        .seed(5);
    let client = builder.connect_lazy().expect("nothing is wrong");
    let events = client.events();
    (cluster, client, events)
}

async fn connections(events: &mut Events, count: usize) {
    for _ in 0..count {
        let is_one = |event: &ClientEvent| matches!(event, ClientEvent::Connected(_));
        within(events.wait_for(is_one)).await.expect("it connects");
    }
}

/// Which servers take a hundred calls.
async fn takers(cluster: &MockCluster, client: &Client) -> HashSet<usize> {
    let counts = || -> Vec<_> { cluster.iter().map(|server| server.calls().len()).collect() };
    let before = counts();
    for _ in 0..100 {
        let call = client.call("Process", json!({})).idempotent();
        within(call.into_future()).await.expect("it is served");
    }
    let grown = (0..).zip(before.into_iter().zip(counts()));
    let grown = grown.filter(|(_, (before, after))| after > before);
    grown.map(|(server, _)| server).collect()
}

#[tokio::test]
async fn the_next_priority_takes_calls_while_the_one_before_cannot() {
    for strategy in STRATEGIES {
        let (cluster, client, mut events) = started(strategy, 4).await;
        let is_first = strategy == Strategy::First;
        // `First` connects one and a standby, which are 1 and 0 here.
        connections(&mut events, if is_first { 2 } else { 4 }).await;
        let both = if is_first { vec![1] } else { vec![0, 1] };
        assert_eq!(takers(&cluster, &client).await, both.into_iter().collect());

        cluster[1].kill().await;
        assert_eq!(takers(&cluster, &client).await, [0].into(), "{strategy}");
        cluster[0].kill().await;
        let taken = takers(&cluster, &client).await;
        let next = if is_first { vec![3] } else { vec![2, 3] };
        assert_eq!(taken, next.into_iter().collect(), "{strategy}");

        cluster[0].restart().await;
        let back = |event: &ClientEvent| matches!(event, ClientEvent::Connected(at) if at == cluster[0].address());
        within(events.wait_for(back)).await.expect("it comes back");
        assert_eq!(takers(&cluster, &client).await, [0].into(), "{strategy}");
    }
}

#[tokio::test]
async fn only_the_priority_after_the_one_that_takes_calls_is_connected() {
    let (cluster, client, mut events) = started(Strategy::RoundRobin, 8).await;
    connections(&mut events, 4).await;
    assert_eq!(takers(&cluster, &client).await, [0, 1].into());
    let dialled = |client: &Client| {
        let stats = client.stats();
        let used = stats.endpoints.iter().map(|endpoint| {
            let counts = endpoint.counts;
            counts.connected + counts.dials_failed > 0
        });
        used.collect::<Vec<_>>()
    };
    let mut expected = vec![true; 4];
    expected.extend([false; 4]);
    assert_eq!(dialled(&client), expected);

    cluster[0].kill().await;
    cluster[1].kill().await;
    connections(&mut events, 2).await;
    expected[4..6].fill(true);
    assert_eq!(dialled(&client), expected);
    assert_eq!(takers(&cluster, &client).await, [2, 3].into());
}

#[tokio::test]
async fn a_call_that_failed_at_all_of_its_priority_goes_to_the_next() {
    // `First` has no third connection yet.
    for strategy in STRATEGIES.into_iter().skip(1) {
        let (cluster, client, mut events) = started(strategy, 4).await;
        connections(&mut events, 4).await;
        for server in [&cluster[0], &cluster[1]] {
            server.inject(Fault::status(Status::unavailable("busy")));
        }
        let call = client.call("Process", json!({})).idempotent();
        within(call.into_future()).await.expect("the next serve it");
        let calls: Vec<_> = cluster.iter().map(|server| server.calls().len()).collect();
        assert_eq!(calls[0], 1, "{strategy}: {calls:?}");
        assert_eq!(calls[1], 1, "{strategy}: {calls:?}");
        assert_eq!(calls[2] + calls[3], 1, "{strategy}: {calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn first_dials_a_third_server_when_one_of_two_is_ejected() {
    let (cluster, client, mut events) = started(Strategy::First, 3).await;
    connections(&mut events, 2).await;
    for server in [&cluster[0], &cluster[1]] {
        server.inject(Fault::status(Status::unavailable("busy")));
    }
    let mut failed = 0;
    while client
        .call("Process", json!({}))
        .idempotent()
        .await
        .is_err()
    {
        failed += 1;
        assert!(failed < 10, "{:#?}", client.stats());
    }
    // It takes five failures in a row to be ejected.
    assert!(failed >= 1);
    assert!(takers(&cluster, &client).await.contains(&2));
}

#[tokio::test]
async fn a_priority_that_is_told_anew_moves_the_calls_and_keeps_the_connection() {
    let (cluster, client, mut events) = started(Strategy::RoundRobin, 4).await;
    connections(&mut events, 4).await;
    assert_eq!(takers(&cluster, &client).await, [0, 1].into());
    let reversed = endpoints(&cluster).into_iter().map(|endpoint| {
        let priority = 1 - endpoint.priority;
        endpoint.priority(priority).tags(["moved"])
    });
    client.set_endpoints(reversed).expect("nothing is wrong");
    assert_eq!(takers(&cluster, &client).await, [2, 3].into());
    let stats = client.stats();
    assert_eq!(stats.endpoints[0].endpoint.tags, ["moved"]);
    assert!(stats.endpoints.iter().all(|one| one.counts.connected == 1));
}
