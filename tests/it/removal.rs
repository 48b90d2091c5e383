//! Endpoints come and go while calls run.

use crate::support::{Transport, echo_schema, within};
use pretty_assertions::{assert_eq, assert_ne};
use rpcplugin_testkit::client::{Backoff, ClientBuilder, ClientEvent, Events};
use rpcplugin_testkit::{
    Client, Code, ConnectionState, Endpoint, Error, MockCluster, Outcome, Reply, Strategy, Stub,
    json,
};
use std::collections::HashMap;
use std::sync::{
    Arc, Barrier,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::{thread, time::Duration};
use tokio::{runtime::Handle, task::JoinSet, time::Instant};

const CALLERS: usize = 64;
const CHANGES: usize = 25;

pub(crate) fn quick(builder: ClientBuilder) -> ClientBuilder {
    builder.backoff(Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(20),
        ..Backoff::default()
    })
}

pub(crate) async fn connect(builder: ClientBuilder) -> Client {
    within(quick(builder).connect()).await.expect("it connects")
}

/// Passes when it is so, without looking at a clock.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    within(wait).await;
}

pub(crate) async fn all_ready(client: &Client) {
    let ready = || {
        let endpoints = client.stats().endpoints;
        endpoints
            .iter()
            .all(|one| one.state == ConnectionState::Ready)
    };
    until(ready).await;
}

/// What happened to the endpoint, up to the event that is waited for.
async fn told(events: &mut Events, last: &str) -> Vec<String> {
    let mut all = Vec::new();
    while all.last().is_none_or(|event| event != last) {
        let event = within(events.next()).await.expect("the client is there");
        all.push(match event {
            ClientEvent::Connected(_) => "connected".to_owned(),
            ClientEvent::EndpointAdded(endpoint) => format!("added, weight {}", endpoint.weight),
            ClientEvent::EndpointRemoved(endpoint) => {
                format!("removed, weight {}", endpoint.weight)
            }
            other => format!("{other:?}"),
        });
    }
    all
}

/// Calls with a number of its own each time, until it is told to stop. Gives the calls that failed.
async fn call_on(client: Client, ids: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Vec<(u64, Error)> {
    let mut failed = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let id = ids.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = client.call("Process", json!({"id": id})).await {
            failed.push((id, error));
        }
    }
    failed
}

/// Adds and removes endpoints, so that there is always one, while so many calls arrive between two changes.
async fn change(client: &Client, cluster: &MockCluster, ids: &AtomicU64) {
    let mut dice = numbers(7);
    for n in 0..CHANGES {
        let (server, there) = (&cluster[dice(cluster.len())], client.endpoints());
        let is_in = there.iter().any(|one| one.address == *server.address());
        match (is_in, there.len()) {
            (true, 1) => {
                let next = cluster.addresses()[(n + 1) % cluster.len()].clone();
                client.set_endpoints([next]).expect("it is set");
            }
            (true, _) => assert!(client.remove_endpoint(server.address()).expect("removed")),
            (false, _) => client.add_endpoint(server.address()).expect("it is added"),
        }
        let upto = ids.load(Ordering::SeqCst) + 64;
        until(|| ids.load(Ordering::SeqCst) >= upto).await;
    }
}

/// Numbers below a limit that follow from the seed.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |limit| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).expect("31 bits") % limit
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_come_and_go_and_no_call_fails_or_runs_twice() {
    let strategies = [
        Strategy::First,
        Strategy::LeastRequest,
        Strategy::Random,
        Strategy::RoundRobin,
        Strategy::Weighted,
    ];
    for (strategy, transport) in strategies.into_iter().zip(Transport::ALL.iter().cycle()) {
        let cluster = transport.builder().start_cluster(5).await;
        cluster.mount(Stub::method("Process").reply(json!({})));
        let builder = Client::builder().endpoints(&cluster.addresses()[..3]);
        let client = connect(builder.strategy(strategy)).await;
        let (ids, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (ids, stop) = (Arc::clone(&ids), Arc::clone(&stop));
            callers.spawn(call_on(client.clone(), ids, stop));
        }
        change(&client, &cluster, &ids).await;
        stop.store(true, Ordering::SeqCst);
        let failed: Vec<_> = within(callers.join_all())
            .await
            .into_iter()
            .flatten()
            .collect();
        assert!(failed.is_empty(), "{strategy} {transport:?}: {failed:?}");

        let mut ran: HashMap<u64, u32> = HashMap::new();
        for call in cluster.journal().calls() {
            let id = call.request()["id"].as_u64().expect("a number");
            *ran.entry(id).or_default() += 1;
        }
        assert_eq!(ran.len() as u64, ids.load(Ordering::SeqCst), "{strategy}");
        let twice: Vec<_> = ran.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{strategy} {transport:?}: {twice:?}");
        let called = cluster.counts().iter().filter(|calls| **calls > 0).count();
        assert!(called > 3, "{strategy}: {:?}", cluster.counts());
        // Those that are out have no connection, and the others one at most.
        let there = client.endpoints();
        for server in &cluster {
            let most = there.iter().filter(|one| one.address == *server.address());
            let most = most.count();
            until(|| server.connections() <= most).await;
        }
    }
}

#[tokio::test]
async fn calls_in_flight_on_an_endpoint_that_is_removed_finish_and_then_its_connection_closes() {
    for transport in Transport::ALL {
        let cluster = transport.builder().start_cluster(2).await;
        let (held, gate) = Reply::gate(json!({"from": 0}));
        let (stream, mut streams) = Reply::channel();
        cluster[0].mount(Stub::method("Process").reply(held));
        cluster[0].mount(Stub::method("Watch").reply(stream));
        cluster[1].mount(Stub::method("Process").reply(json!({"from": 1})));
        let builder = Client::builder().endpoints(cluster.addresses());
        let client = connect(builder.strategy(Strategy::First)).await;
        all_ready(&client).await;
        let mut events = client.events();
        let unary = tokio::spawn(client.call("Process", json!({})).into_future());
        within(gate.arrived(1)).await;
        let replies = client.call_server_stream("Watch", json!({}));
        let mut replies = within(replies.into_future()).await.unwrap();
        let mut feed = within(streams.accept()).await;

        assert!(client.remove_endpoint(cluster[0].address()).unwrap());
        assert!(!client.remove_endpoint(cluster[0].address()).unwrap());
        assert_eq!(told(&mut events, "removed, weight 1").await.len(), 1);
        assert_eq!(client.stats().endpoints.len(), 1);
        for _ in 0..10 {
            let reply = within(client.call("Process", json!({})).into_future()).await;
            assert_eq!(reply.unwrap(), json!({"from": 1}));
        }
        for n in 0..3 {
            within(feed.send(json!({"n": n}))).await.unwrap();
            assert_eq!(
                within(replies.message()).await.unwrap(),
                Some(json!({"n": n}))
            );
        }
        gate.open();
        assert_eq!(within(unary).await.unwrap().unwrap(), json!({"from": 0}));
        // The stream holds it open.
        assert_eq!(cluster[0].connections(), 1);
        feed.finish();
        assert_eq!(within(replies.message()).await.unwrap(), None);
        until(|| cluster[0].connections() == 0).await;
        assert_eq!(cluster[1].connections(), 1);
        let outcomes = cluster[0].calls();
        let outcomes: Vec<_> = outcomes.iter().map(|call| call.outcome()).collect();
        assert_eq!(outcomes, [Some(Outcome::Ok), Some(Outcome::Ok)]);
        // The client that is left has lost nothing.
        assert_eq!(client.stats().endpoints[0].counts.lost, 0);
    }
}

#[tokio::test]
async fn an_endpoint_that_comes_back_has_a_connection_of_its_own_beside_the_one_that_drains() {
    let cluster = MockCluster::start(2).await;
    let (stream, mut streams) = Reply::channel();
    cluster.mount(Stub::method("Process").reply(json!({})));
    cluster[0].mount(Stub::method("Watch").reply(stream));
    let builder = Client::builder().endpoints(cluster.addresses());
    let client = connect(builder.strategy(Strategy::First)).await;
    all_ready(&client).await;
    let replies = client.call_server_stream("Watch", json!({}));
    let mut replies = within(replies.into_future()).await.unwrap();
    let feed = within(streams.accept()).await;

    let mut events = client.events();
    let address = cluster[0].address();
    client.remove_endpoint(address).unwrap();
    client
        .add_endpoint(Endpoint::new(address).unwrap().weight(3))
        .unwrap();
    let expected = ["removed, weight 1", "added, weight 3", "connected"];
    assert_eq!(told(&mut events, "connected").await, expected);
    assert_eq!(cluster[0].connections(), 2);
    let expected = [cluster[1].address(), cluster[0].address()];
    let there = client.endpoints();
    assert_eq!(
        there.iter().map(|one| &one.address).collect::<Vec<_>>(),
        expected
    );

    // Another weight is no other endpoint.
    client
        .add_endpoint(Endpoint::new(address).unwrap().weight(9))
        .unwrap();
    assert_eq!(client.endpoints()[1].weight, 9);
    client.remove_endpoint(cluster[1].address()).unwrap();
    within(client.call("Process", json!({})).into_future())
        .await
        .unwrap();
    let process = &cluster[0].calls_to("Process")[0];
    assert_ne!(process.connection_id(), feed.call().connection_id());
    assert_eq!(client.stats().endpoints[0].counts.connected, 1);
    feed.finish();
    assert_eq!(within(replies.message()).await.unwrap(), None);
    until(|| cluster[0].connections() == 1).await;
    assert_eq!(
        told(&mut events, "removed, weight 1").await,
        ["removed, weight 1"]
    );
}

/// Each of them looks at the endpoints and changes them at the same time as others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_are_added_at_the_same_time_are_all_there() {
    let none: [&str; 0] = [];
    for _ in 0..50 {
        let client = quick(Client::builder().endpoints(none))
            .connect_lazy()
            .unwrap();
        let (runtime, start) = (Handle::current(), Barrier::new(8));
        thread::scope(|scope| {
            for n in 0..8 {
                let (client, runtime, start) = (&client, &runtime, &start);
                scope.spawn(move || {
                    let _entered = runtime.enter();
                    start.wait();
                    for m in 0..4 {
                        client.add_endpoint(format!("memory:none-{n}-{m}")).unwrap();
                    }
                    let first = format!("memory:none-{n}-0");
                    assert!(client.remove_endpoint(first.as_str()).unwrap());
                });
            }
        });
        assert_eq!(client.endpoints().len(), 8 * 3);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_last_endpoint_calls_fail_or_wait_and_the_one_in_flight_finishes() {
    for waits in [false, true] {
        let server = Transport::Memory.start_echo().await;
        let (held, gate) = Reply::gate(json!({"count": 7}));
        server.mount(Stub::any().reply(held));
        let mut builder = Client::builder()
            .address(server.address())
            .schema(echo_schema());
        if waits {
            builder = builder.wait_for_endpoints();
        }
        let client = connect(builder).await;
        let unary = |n: u32| client.call("Echo/Say", json!({"times": n}));
        let held = tokio::spawn(unary(1).into_future());
        within(gate.arrived(1)).await;
        client.remove_endpoint(server.address()).unwrap();
        assert_eq!(*client.state().borrow(), ConnectionState::Idle);
        let began = Instant::now();
        let error = unary(2).timeout(Duration::from_millis(300));
        let error = within(error.into_future()).await.unwrap_err();
        let (code, waited) = match waits {
            true => (Code::DeadlineExceeded, 300),
            false => (Code::Unavailable, 0),
        };
        assert_eq!(error.code(), Some(code), "{error}");
        assert_eq!(began.elapsed().as_millis(), waited);

        let late = tokio::spawn(unary(3).wait_for_ready().into_future());
        tokio::task::yield_now().await;
        gate.open();
        assert_eq!(within(held).await.unwrap().unwrap()["count"], 7);
        until(|| server.connections() == 0).await;
        client.add_endpoint(server.address()).unwrap();
        within(late).await.unwrap().unwrap();
        assert_eq!(server.calls().len(), 2);
    }
}
