//! What the tests of clients with several endpoints share.

use crate::support::within;
use rpcplugin_testkit::client::{ClientBuilder, ClientEvent, Events};
use rpcplugin_testkit::{
    Address, Client, Code, ConnectionState, Error, MockCluster, Strategy, Stub, Value, json,
};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const STRATEGIES: [Strategy; 5] = [
    Strategy::First,
    Strategy::LeastRequest,
    Strategy::Random,
    Strategy::RoundRobin,
    Strategy::Weighted,
];

/// All codes but `OK`.
pub(crate) fn failures() -> impl Iterator<Item = Code> {
    (1..=16).map(Code::from_i32)
}

/// Servers in this process that answer every call.
pub(crate) async fn answering_cluster(servers: usize) -> MockCluster {
    answering(MockCluster::memory(servers).await)
}

/// Servers that answer every call.
pub(crate) fn answering(cluster: MockCluster) -> MockCluster {
    cluster.mount(Stub::any().reply(json!({})).times(0..));
    cluster
}

pub(crate) fn balanced(cluster: &MockCluster) -> ClientBuilder {
    Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin)
        .seed(7)
}

pub(crate) async fn connect(builder: ClientBuilder) -> Client {
    within(builder.connect()).await.expect("it connects")
}

/// A client that is connected to all endpoints that it dials at first, and has looked up how methods are called.
pub(crate) async fn ready(builder: ClientBuilder) -> Client {
    let client = connect(builder).await;
    // By `First` the third is dialled when it is needed.
    let is_ready = |state| matches!(state, ConnectionState::Ready | ConnectionState::Idle);
    eventually(|| {
        let endpoints = client.stats().endpoints;
        endpoints.iter().all(|one| is_ready(one.state))
    })
    .await;
    within(client.call("Warm", json!({})).into_future())
        .await
        .expect("it answers");
    client
}

pub(crate) async fn get(client: &Client) -> Result<Value, Error> {
    within(client.call("Get", json!({})).into_future()).await
}

/// Lets this time pass, on a clock that passes when everybody waits.
pub(crate) async fn passing(time: Duration) {
    tokio::time::sleep_until(Instant::now() + time).await;
}

/// Waits until this is so. Nothing tells a test of it. A paused clock passes in the end, so that what never is so fails.
pub(crate) async fn eventually(holds: impl Fn() -> bool) {
    within(async {
        let mut looks = 0;
        while !holds() {
            looks += 1;
            match looks % 1000 {
                0 => passing(Duration::from_millis(50)).await,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
}

/// Waits until there is a connection to that server.
pub(crate) async fn connected(events: &mut Events, to: &Address) {
    let wanted = |event: &ClientEvent| matches!(event, ClientEvent::Connected(at) if at == to);
    within(events.wait_for(wanted)).await.expect("a client");
}

/// Waits until the connection to that server is lost.
pub(crate) async fn lost(events: &mut Events, to: &Address) {
    let wanted =
        |event: &ClientEvent| matches!(event, ClientEvent::Lost { address, .. } if address == to);
    within(events.wait_for(wanted)).await.expect("a client");
}
