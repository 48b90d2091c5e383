//! Several endpoints: calls go on while some of them do not.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClientEvent, RetryPolicy};
use rpcplugin_testkit::{Client, Code, MockCluster, Reply, Strategy, Stub, json};
use std::time::Duration;

fn quick() -> Backoff {
    Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(20),
        ..Backoff::default()
    }
}

const STRATEGIES: [Strategy; 5] = [
    Strategy::First,
    Strategy::LeastRequest,
    Strategy::Random,
    Strategy::RoundRobin,
    Strategy::Weighted,
];

#[tokio::test]
async fn calls_go_on_when_an_instance_dies_and_come_back_when_it_does() {
    for strategy in STRATEGIES {
        let cluster = MockCluster::start(3).await;
        cluster.mount(Stub::method("Process").reply(json!({"ok": true})));
        let client = Client::builder()
            .endpoints(cluster.addresses())
            .strategy(strategy)
            .backoff(quick());
        let client = within(client.connect()).await.unwrap();
        let mut events = client.events();

        cluster[0].kill().await;
        for _ in 0..100 {
            let call = client.call("Process", json!({})).idempotent();
            within(call.into_future()).await.unwrap();
        }
        cluster[0].restart().await;
        let address = cluster[0].address().clone();
        let back =
            events.wait_for(|event| matches!(event, ClientEvent::Connected(at) if *at == address));
        within(back).await.unwrap();
        let before = cluster[0].calls().len();
        for _ in 0..100 {
            within(client.call("Process", json!({})).into_future())
                .await
                .unwrap();
        }
        assert!(cluster[0].calls().len() > before, "{strategy}");
        assert_eq!(cluster.journal().len(), 200, "{strategy}");
    }
}

#[tokio::test]
async fn when_all_endpoints_fail_the_error_lists_each_with_its_own_cause() {
    let cluster = MockCluster::start(3).await;
    cluster.mount(Stub::any().reply(json!({})));
    let client = Client::builder().endpoints(cluster.addresses()).connect();
    let client = within(client).await.unwrap();
    within(client.call("Process", json!({})).into_future())
        .await
        .unwrap();
    for server in &cluster {
        server.kill().await;
    }
    let error = within(client.call("Process", json!({})).into_future())
        .await
        .unwrap_err();
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(error.code(), Some(Code::Unavailable));
    let text = error.to_string();
    let mut lines = text.lines();
    let first = "/rpcplugin.v1.Plugin/Call cannot be called: no endpoint takes calls:";
    assert_eq!(lines.next(), Some(first));
    for server in &cluster {
        let line = lines.next().unwrap_or_default();
        let refused = "Connection refused (os error 111) (";
        let expected = format!("  cannot connect to {}: {refused}", server.address());
        assert!(
            line.starts_with(&expected) && line.ends_with(" ago)"),
            "{text}"
        );
    }
    assert_eq!(lines.next(), None, "{text}");
}

#[tokio::test]
async fn a_call_that_fails_everywhere_tells_every_attempt() {
    let cluster = MockCluster::start(2).await;
    cluster.mount(Stub::any().reply(Reply::status(Code::Unavailable, "full")));
    let retry = RetryPolicy::default().attempts(3).backoff(quick());
    let client = Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin)
        .retry(retry);
    let client = within(client.connect()).await.unwrap();

    let call = client.call("Process", json!({})).idempotent();
    let error = within(call.into_future()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    let text = error.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "/rpcplugin.v1.Plugin/Call failed after 3 attempts, its attempts are used up:"
    );
    for line in &lines[1..] {
        assert!(line.ends_with(": UNAVAILABLE: full"), "{text}");
    }
    assert_eq!(lines.len(), 4, "{text}");

    // One that may not be repeated is told as ever.
    let call = client.call("Process", json!({}));
    let error = within(call.into_future()).await.unwrap_err().to_string();
    assert!(error.starts_with("Process at 127.0.0.1:"), "{error}");
    assert!(error.ends_with(" failed: UNAVAILABLE: full"), "{error}");
    assert_eq!(cluster.journal().len(), 4);
}
