//! The record of every call.

use crate::support::{Transport, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Address, Call, CallStream, Code, MockServer, Outcome, Reply, Stub, json};
use std::time::Duration;
use tokio_stream::StreamExt as _;

#[tokio::test]
async fn a_call_tells_what_came_and_what_became_of_it() {
    let server = MockServer::builder().allow_unmatched().start().await;
    server.mount(Stub::method("Get").named("one").reply(json!({"value": 1})));
    let client = server.client().await;
    client
        .call("kv.Get", json!({"key": "a"}))
        .timeout(Duration::from_secs(9))
        .await
        .unwrap();
    client.call("Put", json!({})).await.unwrap_err();

    let calls = server.calls();
    let get = &calls[0];
    assert_eq!(*get, ("kv.Get", json!({"key": "a"})));
    assert_eq!(("Get", json!({"key": "a"})), *get);
    assert_ne!(*get, ("Get", json!({"key": "b"})));
    assert_ne!(*get, ("Set", json!({"key": "a"})));
    assert_eq!(get.method(), "kv.Get");
    assert_eq!(get.service(), "rpcplugin.v1.Plugin");
    assert_eq!(get.path(), "/rpcplugin.v1.Plugin/Call");
    assert_eq!(get.reply(), Some(json!({"value": 1})));
    assert_eq!(get.outcome(), Some(Outcome::Ok));
    assert!(
        get.timeout()
            .is_some_and(|timeout| timeout <= Duration::from_secs(9))
    );
    assert!(
        get.stub()
            .is_some_and(|stub| stub.starts_with("`one` (tests/it/journal.rs:")),
        "{:?}",
        get.stub()
    );
    assert!(matches!(get.peer(), Address::Tcp { host, .. } if host == "127.0.0.1"));
    assert_eq!(get.connection_id(), 1);
    assert!(get.received_at() <= get.requests()[0].at());
    assert!(get.requests()[0].at() <= get.replies()[0].at());
    assert!(get.replies()[0].at() <= get.ended_at().unwrap());

    let put = &calls[1];
    assert_eq!(put.stub(), None);
    assert_eq!(put.reply(), None);
    assert_eq!(put.outcome(), Some(Outcome::Status(Code::Unimplemented)));
}

#[tokio::test]
async fn calls_are_numbered_by_connection_and_kept_in_order() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        server.mount(Stub::any().reply(json!({})));
        for n in 0..3 {
            server
                .client()
                .await
                .call("Echo", json!({"n": n}))
                .await
                .unwrap();
        }
        let seen: Vec<_> = server
            .calls()
            .iter()
            .map(|call| (call.connection_id(), call.request()["n"].clone()))
            .collect();
        assert_eq!(
            seen,
            [(1, json!(0)), (2, json!(1)), (3, json!(2))],
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn a_call_prints_as_the_tuple_that_it_compares_with() {
    let server = MockServer::builder()
        .memory()
        .schema(echo_schema())
        .start()
        .await;
    let address = server.address().clone();
    server.mount(Stub::method("Squawk").reply(json!({"message": "hi"})));
    server.mount(Stub::method("Join").reply(Reply::status(Code::Aborted, "enough")));
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Split").reply(reply));
    let client = server.client().await;
    client
        .call("Squawk", json!({"message": "hi"}))
        .await
        .unwrap();
    let two = tokio_stream::iter(["a", "b"]).map(|word| json!({"message": word}));
    client.call_client_stream("Join", two).await.unwrap_err();
    let _replies = client.call_server_stream("Split", json!({})).await.unwrap();
    let _held: CallStream = streams.accept().await;

    let request = |message: &str| {
        format!(
            r#"{{"bigNumber":0,"blob":"","counts":{{}},"message":"{message}","mood":"MOOD_UNSPECIFIED","ratio":0.0,"tags":[],"times":0}}"#
        )
    };
    let printed: Vec<_> = server
        .calls()
        .iter()
        .map(|call| format!("{call:?}"))
        .collect();
    let expected = [
        format!(
            r#"("Squawk", {}) from {address} → OK {{"blob":"","count":0,"message":"hi"}}"#,
            request("hi")
        ),
        format!(
            r#"("Join", [{}, {}]) from {address} → ABORTED"#,
            request("a"),
            request("b")
        ),
        format!(r#"("Split", {}) from {address} → in flight"#, request("")),
    ];
    assert_eq!(printed, expected);
    assert_eq!(
        server.journal().to_string(),
        expected
            .iter()
            .enumerate()
            .map(|(n, call)| format!("  {n}: {call}"))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[tokio::test]
async fn next_call_gives_each_call_once() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    let calling = tokio::spawn(async move {
        for n in 0..3 {
            client
                .call("Echo", json!({"n": n}))
                .await
                .expect("an answer");
        }
    });
    for n in 0..3 {
        assert_eq!(server.next_call().await, ("Echo", json!({"n": n})));
    }
    calling.await.unwrap();
    assert_eq!(server.wait_for_calls(2).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_fails_with_the_calls_that_came() {
    let server = MockServer::builder()
        .memory()
        .patience(Duration::from_secs(3))
        .start()
        .await;
    server.mount(Stub::any().reply(json!({"ok": true})));
    server
        .client()
        .await
        .call("Echo", json!({"n": 1}))
        .await
        .unwrap();
    let address = server.address().clone();
    let listed = format!(r#"  0: ("Echo", {{"n":1}}) from {address} → OK {{"ok":true}}"#);

    let server = std::sync::Arc::new(server);
    let waiting = std::sync::Arc::clone(&server);
    let line = line!() + 1;
    let waited = tokio::spawn(async move { waiting.wait_for_calls(2).await });
    let place = format!("tests/it/journal.rs:{line}:52");
    assert_eq!(
        panic_text(waited.await),
        format!("waited 3s for 2 calls at {place}, and 1 arrived\n{listed}")
    );

    server.next_call().await;
    let line = line!() + 1;
    let waited = tokio::spawn(async move { server.next_call().await });
    let place = format!("tests/it/journal.rs:{line}:51");
    assert_eq!(
        panic_text(waited.await),
        format!("waited 3s for the next call at {place}, after 1 that were taken before\n{listed}")
    );
}

fn panic_text<T: std::fmt::Debug>(joined: Result<T, tokio::task::JoinError>) -> String {
    let panic = joined.expect_err("it must panic").into_panic();
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[tokio::test]
async fn a_call_that_is_in_flight_grows_and_ends() {
    let server = MockServer::builder()
        .memory()
        .schema(echo_schema())
        .start()
        .await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::any().reply(reply));
    let client = server.client().await;
    let calling = tokio::spawn(
        client
            .call("Squawk", json!({"message": "hi"}))
            .into_future(),
    );
    let mut held = within(streams.accept()).await;
    let call: Call = server.calls()[0].clone();
    assert_eq!(
        (call.outcome(), call.reply(), call.ended_at()),
        (None, None, None)
    );
    held.send(json!({"message": "now"})).await.unwrap();
    held.finish();
    calling.await.unwrap().unwrap();
    assert_eq!(within(call.ended()).await, Outcome::Ok);
    assert_eq!(call.reply().unwrap()["message"], "now");
}

#[tokio::test]
async fn reset_forgets_stubs_and_calls_and_keeps_the_connection() {
    let server = MockServer::builder()
        .memory()
        .allow_unmatched()
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    client.call("Echo", json!({})).await.unwrap();
    server.reset();
    assert!(server.calls().is_empty());
    assert_eq!(
        client.call("Echo", json!({})).await.unwrap_err().code(),
        Some(Code::Unimplemented)
    );
    server.mount(Stub::any().reply(json!({"again": true})));
    client.call("Echo", json!({})).await.unwrap();
    assert_eq!(server.calls().len(), 2);
    assert_eq!(server.connections(), 1);
}
