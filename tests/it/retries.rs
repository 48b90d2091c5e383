//! When calls are made again, and when endpoints are left alone, on a clock that passes when everybody waits.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{
    Backoff, ClientBuilder, ClientEvent, Ejection, RetryPolicy, Throttle,
};
use rpcplugin_testkit::{
    Client, Code, ConnectionState, Fault, MockCluster, MockServer, Reply, Status, Strategy, Stub,
    json,
};
use std::time::Duration;
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

/// 100 ms, 200 ms, 400 ms, up to a second, without jitter.
fn exact() -> RetryPolicy {
    let backoff = RetryPolicy::default().backoff;
    RetryPolicy::default().backoff(Backoff {
        jitter: 0.0,
        ..backoff
    })
}

async fn failing() -> MockServer {
    let server = MockServer::memory().await;
    server.mount(
        Stub::any()
            .reply(Reply::status(Code::Unavailable, "full"))
            .times(0..),
    );
    server
}

async fn connect(builder: ClientBuilder) -> Client {
    within(builder.connect()).await.expect("it connects")
}

#[tokio::test(start_paused = true)]
async fn attempts_are_ever_further_apart_and_say_how_many_came_before() {
    let server = failing().await;
    let client = connect(
        Client::builder()
            .address(server.address())
            .retry(exact().attempts(6)),
    )
    .await;
    within(client.call("Get", json!({})).into_future())
        .await
        .unwrap_err();
    let began = Instant::now();
    let call = client
        .call("Get", json!({}))
        .idempotent()
        .timeout(60_000 * MS);
    let error = within(call.into_future()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    let calls = &server.calls()[1..];
    let after: Vec<_> = calls
        .iter()
        .map(|call| (call.received_at() - began).as_millis())
        .collect();
    assert_eq!(after, [0, 100, 300, 700, 1500, 2500]);
    let before = calls.iter().map(|call| {
        let told = call.metadata().get("grpc-previous-rpc-attempts");
        told.map(|told| told.to_str().unwrap().to_owned())
    });
    let expected = [None, Some("1"), Some("2"), Some("3"), Some("4"), Some("5")];
    assert_eq!(
        before.collect::<Vec<_>>(),
        expected.map(|n| n.map(str::to_owned))
    );
    let left: Vec<_> = calls
        .iter()
        .map(|call| call.timeout().unwrap().as_millis())
        .collect();
    assert_eq!(left, [60_000, 59_900, 59_700, 59_300, 58_500, 57_500]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let server = failing().await;
    let client = connect(Client::builder().address(server.address()).retry(exact())).await;
    within(client.call("Get", json!({})).into_future())
        .await
        .unwrap_err();
    let began = Instant::now();
    let call = client.call("Get", json!({})).idempotent().timeout(250 * MS);
    let error = within(call.into_future()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert_eq!(began.elapsed(), 100 * MS);
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_of_ten_tokens_allows_four_retries() {
    let server = failing().await;
    let retry = exact().attempts(2).throttle(Throttle {
        tokens: 10,
        ratio: 0.1,
    });
    let client = connect(Client::builder().address(server.address()).retry(retry)).await;
    within(client.call("Get", json!({})).into_future())
        .await
        .unwrap_err();
    for _ in 0..6 {
        within(client.call("Get", json!({})).idempotent().into_future())
            .await
            .unwrap_err();
    }
    // The first, six calls, and a second attempt as long as more than five tokens are there.
    assert_eq!(server.calls().len(), 1 + 6 + 2);
    let stats = client.stats();
    assert_eq!((stats.retries, stats.throttled), (2, 4));
}

#[tokio::test(start_paused = true)]
async fn the_fifth_failure_in_a_row_ejects_and_one_call_tries_it_again() {
    let cluster = Transport::Memory.builder().start_cluster(2).await;
    cluster.mount(Stub::any().reply(json!({})));
    let ejection = Ejection {
        jitter: 0.0,
        ..Ejection::default()
    };
    let builder = Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin);
    let client = connect(builder.ejection(ejection)).await;
    while client
        .stats()
        .endpoints
        .iter()
        .any(|one| one.state != ConnectionState::Ready)
    {
        tokio::task::yield_now().await;
    }
    let mut events = client.events();
    let full = cluster[0].inject(Fault::status(Status::internal("broken")).method("Get"));
    let mut failed = 0;
    for _ in 0..20 {
        failed += u32::from(
            within(client.call("Get", json!({})).into_future())
                .await
                .is_err(),
        );
    }
    assert_eq!(failed, 5);
    let ejected = events.wait_for(|event| matches!(event, ClientEvent::Ejected { .. }));
    let ejected = within(ejected).await.unwrap();
    assert!(
        matches!(&ejected, ClientEvent::Ejected { address, penalty }
            if address == cluster[0].address() && *penalty == 1000 * MS),
        "{ejected:?}"
    );
    assert_eq!((cluster[0].connections(), full.hits()), (1, 5));

    // After a second one call goes there, and fails: two seconds more.
    tokio::time::sleep_until(Instant::now() + 1001 * MS).await;
    for _ in 0..20 {
        drop(within(client.call("Get", json!({})).into_future()).await);
    }
    assert_eq!(full.hits(), 6);
    full.remove();
    tokio::time::sleep_until(Instant::now() + 1900 * MS).await;
    within(client.call("Get", json!({})).into_future())
        .await
        .unwrap();
    assert!(client.stats().endpoints[0].is_ejected);
    tokio::time::sleep_until(Instant::now() + 101 * MS).await;
    for _ in 0..3 {
        within(client.call("Get", json!({})).into_future())
            .await
            .unwrap();
    }
    assert!(!client.stats().endpoints[0].is_ejected);
    let back = events.wait_for(|event| matches!(event, ClientEvent::Reinstated(_)));
    within(back).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_endpoint_is_never_ejected() {
    let cluster = Transport::Memory.builder().start_cluster(2).await;
    cluster.mount(
        Stub::any()
            .reply(Reply::status(Code::Internal, "broken"))
            .times(0..),
    );
    let client = connect(Client::builder().endpoints(cluster.addresses())).await;
    for _ in 0..50 {
        within(client.call("Get", json!({})).into_future())
            .await
            .unwrap_err();
    }
    let ejected = client
        .stats()
        .endpoints
        .iter()
        .filter(|one| one.is_ejected)
        .count();
    assert_eq!(ejected, 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_set_fails_or_waits_within_the_deadline() {
    let none: [&str; 0] = [];
    let lazy = || Client::builder().endpoints(none).connect_lazy().unwrap();
    let error = within(lazy().unary::<(), ()>("/a.B/C", ()).into_future())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "/a.B/C cannot be called: the client has no endpoints"
    );
    assert!(error.is_connect());

    let waiting = Client::builder()
        .endpoints(none)
        .wait_for_endpoints()
        .connect_lazy()
        .unwrap();
    for client in [
        waiting.unary::<(), ()>("/a.B/C", ()),
        lazy().unary("/a.B/C", ()).wait_for_ready(),
    ] {
        let began = Instant::now();
        let error = within(client.timeout(500 * MS).into_future())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::DeadlineExceeded));
        assert_eq!(
            error.to_string(),
            "/a.B/C at no endpoint exceeded its deadline of 500ms while waiting for an endpoint"
        );
        assert_eq!(began.elapsed(), 500 * MS);
    }

    let cluster: MockCluster = Transport::Memory.builder().start_cluster(2).await;
    cluster.mount(Stub::any().reply(json!({})));
    let call = tokio::spawn(waiting.call("Get", json!({})).into_future());
    tokio::task::yield_now().await;
    waiting.set_endpoints(cluster.addresses()).unwrap();
    within(call).await.unwrap().unwrap();
    assert!(waiting.remove_endpoint(cluster[0].address()).unwrap());
    assert_eq!(waiting.endpoints().len(), 1);
    let twice = waiting.set_endpoints([cluster[1].address(), cluster[1].address()]);
    let address = cluster[1].address();
    let told = twice.unwrap_err().to_string();
    assert_eq!(told, format!("{address} is given as an endpoint twice"));
}
