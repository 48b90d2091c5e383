//! Which stub serves a call, and what stubs may do.

use crate::support::{Transport, echo, lenient_echo, within};
use echo::{EchoReply, EchoRequest};
use rpcplugin_testkit::{Call, Client, Code, MockServer, Reply, Status, Stub, json};
use std::sync::{Arc, Barrier};
use tokio::sync::Notify;

#[tokio::test]
async fn a_stub_is_named_in_every_way_that_a_method_is() {
    for name in [
        "echo.v1.Echo/Say",
        "/echo.v1.Echo/Say",
        "echo.v1.Echo.Say",
        "Echo.Say",
        "Echo/Say",
    ] {
        let server = lenient_echo().await;
        server.mount(Stub::method(name).reply(json!({"message": name})));
        let reply = server
            .client()
            .await
            .call("Echo/Say", json!({}))
            .await
            .unwrap();
        assert_eq!(reply["message"], name);
        assert_eq!(server.calls_to(name).len(), 1);
        let parrot = server
            .client()
            .await
            .call("Parrot/Say", json!({}))
            .await
            .unwrap_err();
        assert_eq!(parrot.code(), Some(Code::FailedPrecondition), "{name}");
    }
}

#[tokio::test]
async fn a_schemaless_stub_is_named_by_the_end_of_the_name() {
    let server = MockServer::builder()
        .memory()
        .allow_unmatched()
        .start()
        .await;
    server.mount(Stub::method("auth.Authenticate").reply(json!({"token": "t"})));
    let client = server.client().await;
    for name in [
        "auth.Authenticate",
        "auth/Authenticate",
        "my.auth.Authenticate",
    ] {
        assert_eq!(
            client.call(name, json!({})).await.unwrap()["token"],
            "t",
            "{name}"
        );
    }
    for name in ["Authenticate", "oauth.Authenticate", "auth.authenticate"] {
        let error = client.call(name, json!({})).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unimplemented), "{name}");
    }
}

#[tokio::test]
async fn a_method_comes_before_any_and_the_latest_before_the_rest() {
    let server = MockServer::memory().await;
    let client = server.client().await;
    let served = || async { client.call("Get", json!({})).await.expect("an answer")["by"].clone() };

    server.mount(Stub::any().reply(json!({"by": "any"})));
    assert_eq!(served().await, "any");
    server.mount(Stub::method("Get").reply(json!({"by": "method"})));
    assert_eq!(served().await, "method");
    server.mount(Stub::any().reply(json!({"by": "later any"})));
    assert_eq!(served().await, "method");
    server.mount(Stub::method("Get").reply(json!({"by": "later method"})));
    assert_eq!(served().await, "later method");
    server.mount(
        Stub::method("Get")
            .when(|_: &Call| false)
            .reply(json!({"by": "nobody"})),
    );
    assert_eq!(served().await, "later method");
    assert_eq!(
        client.call("Put", json!({})).await.unwrap()["by"],
        "later any"
    );
}

#[tokio::test]
async fn conditions_are_closures_and_json_and_all_of_them_hold() {
    let server = Transport::Memory.start_echo().await;
    let both = Stub::method("Echo/Say")
        .when(json!({"message": "hi", "times": 2.0}))
        .when(|call: &Call| {
            call.metadata()
                .get("x-tenant")
                .is_some_and(|tenant| tenant == "a")
        });
    server.mount(both.reply(json!({"message": "matched"})));
    server.mount(Stub::any().reply(json!({"message": "other"})));
    let client = server.client().await;
    let say = |args, tenant| {
        client
            .call("Echo/Say", args)
            .metadata("x-tenant", tenant)
            .into_future()
    };

    assert_eq!(
        say(json!({"message": "hi", "times": 2}), "a")
            .await
            .unwrap()["message"],
        "matched"
    );
    // Defaults are filled in on both sides.
    let spelled = json!({"message": "hi", "times": 2, "mood": "MOOD_UNSPECIFIED", "tags": []});
    assert_eq!(say(spelled, "a").await.unwrap()["message"], "matched");
    assert_eq!(
        say(json!({"message": "hi", "times": 2}), "b")
            .await
            .unwrap()["message"],
        "other"
    );
    assert_eq!(
        say(json!({"message": "hi", "times": 3}), "a")
            .await
            .unwrap()["message"],
        "other"
    );
}

#[tokio::test]
async fn a_typed_client_is_served_without_a_schema_by_prost_messages() {
    let server = MockServer::start().await;
    server.mount(Stub::method("echo.v1.Echo/Say").reply(|call: &Call| {
        let request: EchoRequest = call
            .message()
            .map_err(|error| Status::internal(error.to_string()))?;
        let message = request.message;
        Ok::<_, Status>(Reply::message(&EchoReply {
            message,
            ..EchoReply::default()
        }))
    }));
    server.mount(Stub::method("echo.v1.Parrot/Say").reply(json!({"message": "hi"})));
    let client = Client::connect(server.address()).await.unwrap();
    let request = EchoRequest {
        message: "hi".to_owned(),
        ..EchoRequest::default()
    };

    let reply: EchoReply = client
        .unary("/echo.v1.Echo/Say", request.clone())
        .await
        .unwrap();
    assert_eq!(reply.message, "hi");
    let error = client
        .unary::<_, EchoReply>("/echo.v1.Parrot/Say", request)
        .await
        .unwrap_err();
    assert_eq!(
        error.status().unwrap().message(),
        "the reply to /echo.v1.Parrot/Say is JSON, and the mock has no schema for that method: give \
         `MockServer::builder()` its `.descriptor_set(..)`, or reply with `Reply::message(..)`"
    );
    let call = &server.calls()[0];
    assert_eq!(call.method(), "Say");
    assert_eq!(call.service(), "echo.v1.Echo");
    assert_eq!(call.shape(), None);
    assert_eq!(call.request(), json!(null));
    assert_eq!(call.message::<EchoRequest>().unwrap().message, "hi");
}

#[tokio::test]
async fn a_stub_without_a_reply_answers_with_an_empty_message() {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::method("Echo/Say"));
    let reply = server
        .client()
        .await
        .call("Echo/Say", json!({}))
        .await
        .unwrap();
    assert_eq!(reply, json!({"message": "", "count": 0, "blob": ""}));
}

#[tokio::test]
async fn a_reply_that_does_not_fit_its_type_says_so() {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::method("Echo/Say").reply(json!({"massage": "hi"})));
    let error = server
        .client()
        .await
        .call("Echo/Say", json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Internal));
    assert!(
        error
            .status()
            .unwrap()
            .message()
            .starts_with("the JSON does not fit echo.v1.EchoReply: "),
        "{error}"
    );

    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!(["not", "an", "object"])));
    let error = server
        .client()
        .await
        .call("Echo", json!({}))
        .await
        .unwrap_err();
    assert_eq!(
        error.status().unwrap().message(),
        r#"the reply to a schemaless call is ["not","an","object"], expected a JSON object"#
    );
}

#[tokio::test]
async fn a_slow_reply_delays_no_other_call() {
    let server = MockServer::start().await;
    let release = Arc::new(Notify::new());
    let gate = Arc::clone(&release);
    server.mount(Stub::method("Slow").reply(move |_: Call| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            json!({"slow": true})
        }
    }));
    server.mount(Stub::method("Fast").reply(json!({"fast": true})));
    let client = server.client().await;
    let slow = tokio::spawn(client.call("Slow", json!({})).into_future());
    within(server.wait_for_calls(1)).await;
    for _ in 0..10 {
        assert_eq!(
            within(client.call("Fast", json!({})).into_future())
                .await
                .unwrap(),
            json!({"fast": true})
        );
    }
    assert_eq!(server.calls()[0].outcome(), None);
    release.notify_one();
    assert_eq!(within(slow).await.unwrap().unwrap(), json!({"slow": true}));
}

/// Two closures that block until both run: with a lock around user code neither would end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lock_is_held_while_closures_run() {
    let server = MockServer::start().await;
    let both = Arc::new(Barrier::new(2));
    let (matching, replying) = (Arc::clone(&both), both);
    let stub = Stub::method("Meet").when(move |_: &Call| {
        matching.wait();
        true
    });
    server.mount(stub.reply(move |_: &Call| {
        replying.wait();
        json!({"met": true})
    }));
    let client = server.client().await;
    let calls = [
        client.call("Meet", json!({})),
        client.call("Meet", json!({})),
    ];
    let [one, two] = calls.map(|call| tokio::spawn(call.into_future()));
    assert_eq!(within(one).await.unwrap().unwrap(), json!({"met": true}));
    assert_eq!(within(two).await.unwrap().unwrap(), json!({"met": true}));
}

#[tokio::test]
async fn a_closure_may_use_its_own_server() {
    let server = Arc::new(MockServer::memory().await);
    let inside = Arc::downgrade(&server);
    server.mount(
        Stub::method("First")
            .when(|call: &Call| call.is("First"))
            .reply(move |_: &Call| {
                let server = inside.upgrade().expect("the server is there");
                server.mount(Stub::method("Second").reply(json!({"mounted": "in a call"})));
                json!({"calls": server.calls().len()})
            }),
    );
    let client = server.client().await;
    assert_eq!(
        client.call("First", json!({})).await.unwrap(),
        json!({"calls": 1})
    );
    assert_eq!(
        client.call("Second", json!({})).await.unwrap(),
        json!({"mounted": "in a call"})
    );
}

#[tokio::test]
async fn a_closure_that_panics_answers_internal_and_the_server_lives_on() {
    let server = MockServer::builder().verify_on_drop(false).start().await;
    let fail = true;
    server.mount(Stub::method("Sync").reply(move |_: &Call| {
        assert!(!fail, "a bug in the test");
        json!({})
    }));
    server.mount(Stub::method("Async").reply(move |_: Call| async move {
        assert!(!fail, "another bug, {}", 2);
        json!({})
    }));
    server.mount(Stub::method("Fine").reply(json!({})));
    let client = server.client().await;
    let cases = [("Sync", "a bug in the test"), ("Async", "another bug, 2")];
    for (method, panic) in cases {
        let error = within(client.call(method, json!({})).into_future())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::Internal));
        assert_eq!(
            error.status().unwrap().message(),
            format!("the stub's reply panicked: {panic}")
        );
    }
    client.call("Fine", json!({})).await.unwrap();
    assert_eq!(server.connections(), 1);

    // The test is told, although its client may not care.
    let report = server.verify().await.unwrap_err();
    let told: Vec<_> = report
        .problems()
        .iter()
        .map(|text| text.replace(char::is_numeric, "0"))
        .collect();
    let address = "000.0.0.0:00000";
    assert_eq!(
        told,
        [
            format!(
                r#"the reply of Stub::method("Sync") (tests/it/stubs.rs:000:00) to ("Sync", {{}}) from {address} → in flight panicked: a bug in the test"#
            ),
            format!(
                r#"the reply of Stub::method("Async") (tests/it/stubs.rs:000:00) to ("Async", {{}}) from {address} → in flight panicked: another bug, 0"#
            ),
        ]
    );
}

#[tokio::test]
async fn a_condition_that_panics_answers_internal_too() {
    let server = MockServer::builder()
        .memory()
        .verify_on_drop(false)
        .start()
        .await;
    let fail = true;
    server.mount(Stub::any().when(move |_: &Call| {
        assert!(!fail, "a bug in the condition");
        true
    }));
    let address = server.address().clone();
    let error = within(server.client().await.call("Echo", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Internal));
    assert_eq!(
        error.status().unwrap().message(),
        "a stub's condition panicked: a bug in the condition"
    );
    assert_eq!(
        server.verify().await.unwrap_err().problems(),
        [format!(
            r#"a stub's condition panicked: a bug in the condition, asked about ("Echo", {{}}) from {address} → in flight"#
        )]
    );
}

#[tokio::test]
async fn an_unmatched_call_says_what_is_mounted() {
    let server = MockServer::builder()
        .memory()
        .allow_unmatched()
        .start()
        .await;
    let client = server.client().await;
    let unmatched = |method: &'static str| {
        let client = client.clone();
        async move {
            client
                .call(method, json!({"n": 1}))
                .await
                .expect_err("unmatched")
        }
    };
    let error = unmatched("Get").await;
    assert!(error.is_unknown_method());
    assert_eq!(
        error.status().unwrap().message(),
        "no stub for Get: nothing is mounted"
    );

    let line = line!() + 1;
    server.mount(Stub::method("Put").named("put a"));
    let error = unmatched("Get").await;
    assert_eq!(error.code(), Some(Code::Unimplemented));
    let expected = format!("no stub for Get; mounted are `put a` (tests/it/stubs.rs:{line}:12)");
    assert_eq!(error.status().unwrap().message(), expected);

    let line = line!() + 1;
    server.mount(Stub::method("Get").when(json!({"n": 2})));
    let error = unmatched("Get").await;
    assert_eq!(error.code(), Some(Code::FailedPrecondition));
    let expected = format!(
        "no stub for Get accepts this call; the nearest is Stub::method(\"Get\") (tests/it/stubs.rs:{line}:12): \
         the request as JSON (tests/it/stubs.rs:{line}:38): n: wanted 2, came 1"
    );
    assert_eq!(error.status().unwrap().message(), expected);
    assert_eq!(server.calls().len(), 3);
}

/// Headers have limits.
#[tokio::test]
async fn an_unmatched_call_names_a_few_of_many_stubs() {
    let server = MockServer::builder()
        .memory()
        .allow_unmatched()
        .start()
        .await;
    for n in 0..2000 {
        server.mount(Stub::method("Put").named(format!("{n:04}")));
    }
    let error = server
        .client()
        .await
        .call("Get", json!({}))
        .await
        .unwrap_err();
    let text = error.status().unwrap().message().to_owned();
    assert!(
        text.starts_with("no stub for Get; mounted are `0000` (tests/it/stubs.rs:"),
        "{text}"
    );
    assert!(text.ends_with(" and 1990 more"), "{text}");
}

#[tokio::test]
#[should_panic(
    expected = "cannot mount the stub: unknown method `Sy`: known are echo.v1.Echo/Chat, echo.v1.Echo/Join, \
    echo.v1.Echo/Say, echo.v1.Echo/Split, echo.v1.Parrot/Say, echo.v1.Parrot/Squawk"
)]
async fn a_stub_for_a_method_that_the_schema_lacks_panics_when_it_is_mounted() {
    Transport::Memory
        .start_echo()
        .await
        .mount(Stub::method("Sy"));
}

#[tokio::test]
#[should_panic(
    expected = "cannot mount the stub: `Say` is ambiguous: it could be echo.v1.Echo/Say, echo.v1.Parrot/Say"
)]
async fn a_stub_for_an_ambiguous_method_panics_when_it_is_mounted() {
    Transport::Memory
        .start_echo()
        .await
        .mount(Stub::method("Say"));
}

#[tokio::test]
#[should_panic(
    expected = "`grpc.health.v1.Health.Check` is served by the mock itself: use `set_health` for its health"
)]
async fn a_stub_for_a_service_of_the_mock_itself_panics_when_it_is_mounted() {
    Transport::Memory
        .start_echo()
        .await
        .mount(Stub::method("grpc.health.v1.Health/Check"));
}

#[tokio::test]
async fn stubs_can_be_mounted_while_calls_run() {
    let server = Transport::Tcp.start().await;
    server.mount(Stub::any().reply(json!({"n": 0})));
    let client = server.client().await;
    let calling = tokio::spawn(async move {
        for _ in 0..500 {
            client.call("Get", json!({})).await.expect("an answer");
        }
    });
    for n in 0..500 {
        server.mount(Stub::method("Get").reply(json!({"n": n})));
        tokio::task::yield_now().await;
    }
    within(calling).await.unwrap();
    assert_eq!(server.calls().len(), 500);
}
