//! The record of every call.

use crate::support::{Transport, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Address, Call, CallStream, Code, Journal, MockServer, Outcome, Reply, Status, Stub, json,
};
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
    let server = Transport::Memory.start_echo().await;
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
    let server = Transport::Memory.start_echo().await;
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

/// Every way to narrow it, one by one and together.
#[tokio::test]
async fn the_journal_is_narrowed_by_everything_that_a_call_has() {
    let builder = MockServer::builder().memory().allow_unmatched();
    let server = builder.start().await;
    server.mount(Stub::method("kv.Get").named("getter").reply(json!({})));
    server.mount(Stub::method("kv.Fail").reply(Status::aborted("")));
    let (one, two) = (server.client().await, server.client().await);
    let get = one.call("kv.Get", json!({"n": 1}));
    get.metadata("x-tenant", "red")
        .metadata("x-tenant", "blue")
        .await
        .unwrap();
    two.call("kv.Get", json!({"n": 2}))
        .metadata_bin("x-id-bin", [0, 1, 2])
        .await
        .unwrap();
    two.call("kv.Fail", json!({})).await.unwrap_err();
    two.call("kv.Put", json!({})).await.unwrap_err();
    two.health_check().await.unwrap();

    let journal = server.journal();
    let methods = |journal: &Journal| {
        journal
            .calls()
            .iter()
            .map(|call| call.method().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(methods(&journal), ["kv.Get", "kv.Get", "kv.Fail", "kv.Put"]);
    assert_eq!(journal.to("Get").len(), 2);
    assert_eq!(journal.to("kv.Get").to("Get").len(), 2);
    assert_eq!(journal.to("kv.Get").to("Put").len(), 0);
    assert_eq!(journal.to("grpc.health.v1.Health/Check").len(), 1);
    assert_eq!(
        methods(&journal.served_by("getter").on_connection(2)),
        ["kv.Get"]
    );
    let label = journal.calls()[2].stub().unwrap();
    assert_eq!(methods(&journal.served_by(&label)), ["kv.Fail"]);
    assert_eq!(methods(&journal.unmatched()), ["kv.Put"]);
    assert_eq!(journal.ended(Outcome::Ok).len(), 2);
    assert_eq!(
        methods(&journal.ended(Outcome::Status(Code::Aborted))),
        ["kv.Fail"]
    );
    assert_eq!(journal.in_flight().len(), 0);
    assert_eq!(journal.with_metadata("x-tenant", "blue").len(), 1);
    assert_eq!(journal.with_metadata("x-tenant", "green").len(), 0);
    assert_eq!(journal.with_metadata("x-id-bin", "AAEC").len(), 1);
    assert_eq!(journal.from_peer(server.address()).len(), 4);
    assert_eq!(
        journal
            .from_peer(&Address::Memory("another".to_owned()))
            .len(),
        0
    );
    assert_eq!(
        journal.filter(|call| call.request()["n"] == 2).calls()[0].connection_id(),
        2
    );
    // It is a view: what comes later is in it.
    one.call("kv.Get", json!({"n": 3})).await.unwrap();
    assert_eq!(journal.served_by("getter").len(), 3);
    assert_eq!(journal.into_iter().count(), 5);
}

/// The oldest calls go, with the memory of their messages, and it is said how many.
#[tokio::test]
async fn the_journal_is_bounded_by_bytes() {
    let builder = MockServer::builder().memory().journal_limit(100_000);
    let server = builder.start().await;
    let stub = server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    let text = "x".repeat(1000);
    for n in 0..300 {
        client
            .call("Put", json!({"n": n, "text": text}))
            .await
            .unwrap();
    }
    let journal = server.journal();
    let (kept, dropped) = (journal.len(), journal.dropped());
    assert_eq!(kept + dropped, 300);
    assert!((50..80).contains(&kept), "{kept}");
    // The latest are there, and found by their method too.
    let numbers: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.request()["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (300 - kept as u64..300).collect::<Vec<_>>());
    assert_eq!(journal.to("Put").len(), kept);
    assert_eq!((stub.count(), stub.calls().len()), (300, kept));
    assert_eq!(within(server.wait_for_calls(300)).await.len(), kept);
    let first = within(server.next_call()).await;
    assert_eq!(first.request()["n"], dropped);
    let told = journal.to_string();
    let line = format!(
        "  (of {dropped} earlier calls there was no room in the journal's 100000 bytes)\n  0: "
    );
    assert!(told.starts_with(&line), "{told}");
}

/// A call in flight that outgrows the journal goes on, and a handle keeps what it had.
#[tokio::test]
async fn one_stream_larger_than_the_journal_costs_no_more_than_its_room() {
    let builder = MockServer::builder().memory().journal_limit(50_000);
    let server = builder.start().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Chat").reply(reply));
    let client = server.client().await;
    let said = tokio_stream::iter((0..500).map(|n| json!({"n": n, "text": "x".repeat(1000)})));
    let mut replies = within(client.call_bidi_stream("Chat", said).into_future())
        .await
        .unwrap();
    let mut held = within(streams.accept()).await;
    let mut received = 0;
    while within(held.recv()).await.unwrap().is_some() {
        received += 1;
    }
    assert_eq!(received, 500);
    assert_eq!((server.journal().len(), server.journal().dropped()), (0, 1));
    let kept = held.call().requests().len();
    assert!((30..60).contains(&kept), "{kept}");
    held.finish();
    assert_eq!(within(replies.message()).await.unwrap(), None);
    server.verify().await.unwrap();
}

#[tokio::test]
async fn secrets_are_not_printed_and_can_be_named() {
    let builder = MockServer::builder().memory().redact("X-Api-Key");
    let server = builder.start().await;
    server.mount(
        Stub::any().reply(
            Reply::json(json!({}))
                .metadata("x-api-key", "echoed-secret")
                .trailer("x-api-key", "trailing-secret"),
        ),
    );
    let client = server.client().await;
    let call = client
        .call("Get", json!({}))
        .metadata("x-api-key", "one-secret")
        .metadata("cookie", "two-secret");
    call.metadata("authorization", "three-secret")
        .metadata("x-open", "visible")
        .await
        .unwrap();
    let call = &server.calls()[0];
    let printed = format!(
        "{:?} {:?} {:?}",
        call.metadata(),
        call.reply_metadata(),
        call.status()
    );
    assert!(
        printed.contains("visible") && !printed.contains("secret"),
        "{printed}"
    );
    assert_eq!(
        call.metadata().get("x-api-key").unwrap().to_str().unwrap(),
        "one-secret"
    );

    let error = MockServer::builder()
        .redact("not a key")
        .try_start()
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "`not a key` cannot be a metadata key");
}

/// As `pretty_assertions` would show it: the two sides differ where they differ, and nowhere else.
#[tokio::test]
async fn a_comparison_of_a_call_and_a_tuple_shows_what_differs() {
    let builder = MockServer::builder().memory().schema(echo_schema());
    let server = builder.start().await;
    server.mount(Stub::method("Squawk"));
    let args = json!({"message": "hullo", "tags": ["a", "b"]});
    server.client().await.call("Squawk", args).await.unwrap();
    let expected = ("Squawk", json!({"message": "hello", "tags": ["a", "b"]}));
    let call = &server.calls()[0];
    let plain: String =
        strip_colours(&pretty_assertions::Comparison::new(call, &expected).to_string());
    let lines: Vec<_> = plain.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [
            "Diff < left / right > :",
            " (",
            "     \"Squawk\",",
            "     Object {",
            "<        \"message\": String(\"hullo\"),",
            ">        \"message\": String(\"hello\"),",
            "         \"tags\": Array [",
            "             String(\"a\"),",
            "             String(\"b\"),",
            "         ],",
            "     },",
            " )",
        ]
    );
}

fn strip_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or("", |(_, rest)| rest)
    })
}

/// A message of megabytes is one line that can be read.
#[tokio::test]
async fn long_messages_are_cut_when_they_are_printed() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})));
    let text = "é".repeat(1_000_000);
    server
        .client()
        .await
        .call("Put", json!({"text": text}))
        .await
        .unwrap();
    let printed = server.journal().to_string();
    assert!(printed.len() < 5000, "{}", printed.len());
    assert!(printed.contains("é… <20000"), "{}", &printed[3900..]);
}

/// It is asked whenever anything happens to a call, not only when messages come.
#[tokio::test]
async fn wait_until_sees_what_serves_a_call_and_its_metadata() {
    let server = MockServer::memory().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(
        Stub::method("Watch")
            .named("watcher")
            .reply(reply.metadata("x-a", "b")),
    );
    let client = server.client().await;
    let watching = tokio::spawn(client.call_server_stream("Watch", json!({})).into_future());
    within(server.wait_until(|journal| journal.served_by("watcher").len() == 1)).await;
    let has_metadata = |journal: &Journal| !journal.calls()[0].reply_metadata().is_empty();
    within(server.wait_until(has_metadata)).await;
    within(streams.accept()).await.finish();
    drop(within(watching).await.unwrap().unwrap());
}

/// Waiting does not cost more than what is waited for.
#[tokio::test]
async fn thousands_of_calls_are_waited_for_while_they_come() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    let calling = async {
        for _ in 0..3000 {
            client.call("Get", json!({})).await.expect("an answer");
        }
    };
    let waiting = server.wait_until(|journal| journal.to("Get").ended(Outcome::Ok).len() >= 3000);
    within(async { tokio::join!(calling, waiting) }).await;
}

#[tokio::test]
async fn a_stream_of_thousands_is_printed_in_a_line_that_can_be_read() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})));
    let said = tokio_stream::iter((0..5000).map(|n| json!({"n": n})));
    let joined = server.client().await;
    within(joined.call_client_stream("Join", said).into_future())
        .await
        .unwrap();
    let printed = server.journal().to_string();
    let expected = r#"  0: ("Join", [{"n":0}, {"n":1}, {"n":2}, {"n":3}, {"n":4}, {"n":5}, {"n":6}, {"n":7}, {"n":8}, {"n":9}, … 4989 more …, {"n":4999}]) from "#;
    assert!(printed.starts_with(expected), "{printed}");
}
