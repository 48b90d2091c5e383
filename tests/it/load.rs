//! Many calls at once.

use crate::support::{Transport, within};
use rpcplugin_testkit::{Call, Outcome, Stub, json};
use std::collections::HashSet;
use tokio::task::JoinSet;

const CALLS: u64 = 10_000;

async fn ten_thousand_at_once(transport: Transport) {
    let server = transport.start().await;
    server.mount(Stub::method("Echo").reply(|call: &Call| json!({"n": call.request()["n"]})));
    let client = server.client().await;
    let mut calls = JoinSet::new();
    for n in 0..CALLS {
        let call = client.call("Echo", json!({"n": n}));
        calls.spawn(async move { call.await.map(|reply| reply["n"] == n) });
    }
    let answers = within(calls.join_all()).await;
    let right = answers
        .into_iter()
        .filter(|answer| matches!(answer, Ok(true)))
        .count();
    assert_eq!(right as u64, CALLS, "{transport:?}");

    let recorded = server.calls();
    assert_eq!(recorded.len() as u64, CALLS);
    assert!(
        recorded
            .iter()
            .all(|call| call.outcome() == Some(Outcome::Ok))
    );
    let seen: HashSet<_> = recorded
        .iter()
        .filter_map(|call| call.request()["n"].as_u64())
        .collect();
    assert_eq!(seen.len() as u64, CALLS);
}

#[tokio::test]
async fn ten_thousand_concurrent_calls_are_answered_and_recorded() {
    for transport in Transport::ALL {
        ten_thousand_at_once(transport).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_concurrent_calls_are_answered_and_recorded_on_many_threads() {
    ten_thousand_at_once(Transport::Tcp).await;
}
