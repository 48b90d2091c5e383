//! Several endpoints: calls go on while some of them do not.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClientEvent};
use rpcplugin_testkit::{Client, MockCluster, Strategy, Stub, json};
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
async fn when_all_endpoints_fail_the_error_lists_each() {
    let cluster = MockCluster::start(2).await;
    let client = Client::builder().endpoints(cluster.addresses()).connect();
    let client = within(client).await.unwrap();
    cluster[0].kill().await;
    cluster[1].kill().await;
    let error = within(client.call("Process", json!({})).into_future())
        .await
        .unwrap_err();
    println!("{error}");
    println!("{error:?}");
    println!("{:#?}", client.stats());
    panic!();
}
