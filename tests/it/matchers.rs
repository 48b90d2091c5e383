//! What each matcher accepts, as people would expect it of protobuf messages.

use crate::support::{echo, echo_schema, lenient_echo, within};
use echo::EchoRequest;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::matchers::{
    all, any, connection, deadline, every_message, field, json_subset, message, message_count,
    metadata, metadata_bin, no_deadline, no_metadata, not, peer, request, some_message, typed,
};
use rpcplugin_testkit::mock::Matcher;
use rpcplugin_testkit::{
    Address, Call, Client, MockServer, Reply, Status, Stub, Value, json, matchers,
};
use std::time::Duration;

/// Whether a stub with this matcher takes a unary call with this request.
async fn accepts(matcher: impl Matcher + 'static, request: Value) -> bool {
    let server = lenient_echo().await;
    server.mount(Stub::method("Echo/Say").when(matcher));
    let client = server.client().await;
    within(client.call("Echo/Say", request).into_future())
        .await
        .is_ok()
}

/// What is wanted, what comes, and whether it is equal and whether it is a subset.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn json_is_compared_as_messages_are() {
    let typed = "type.googleapis.com/echo.v1.EchoReply";
    let cases = [
        (
            "zero is the default",
            json!({}),
            json!({"times": 0}),
            true,
            true,
        ),
        ("zero is wanted", json!({"times": 0}), json!({}), true, true),
        (
            "zero is no three",
            json!({"times": 0}),
            json!({"times": 3}),
            false,
            false,
        ),
        (
            "nothing is wanted",
            json!({}),
            json!({"times": 3}),
            false,
            true,
        ),
        (
            "an empty text",
            json!({"message": ""}),
            json!({}),
            true,
            true,
        ),
        ("an empty list", json!({"tags": []}), json!({}), true, true),
        ("an empty map", json!({"counts": {}}), json!({}), true, true),
        (
            "enum zero",
            json!({"mood": "MOOD_UNSPECIFIED"}),
            json!({}),
            true,
            true,
        ),
        (
            "enum by number",
            json!({"mood": 2}),
            json!({"mood": "MOOD_LOUD"}),
            true,
            true,
        ),
        (
            "enum of another value",
            json!({"mood": 1}),
            json!({"mood": 2}),
            false,
            false,
        ),
        (
            "names of the file",
            json!({"big_number": 7}),
            json!({"bigNumber": 7}),
            true,
            true,
        ),
        (
            "64 bits as text",
            json!({"bigNumber": "9007199254740993"}),
            json!({"bigNumber": 9_007_199_254_740_993_i64}),
            true,
            true,
        ),
        (
            "64 bits to the last digit",
            json!({"bigNumber": 9_007_199_254_740_992_i64}),
            json!({"bigNumber": 9_007_199_254_740_993_i64}),
            false,
            false,
        ),
        (
            "an integer as a double",
            json!({"times": 2.0}),
            json!({"times": 2}),
            true,
            true,
        ),
        (
            "bytes in either base64",
            json!({"blob": "-_8"}),
            json!({"blob": "+/8="}),
            true,
            true,
        ),
        (
            "optional unset",
            json!({"nickname": null}),
            json!({}),
            true,
            true,
        ),
        (
            "optional unset is not empty",
            json!({"nickname": null}),
            json!({"nickname": ""}),
            false,
            false,
        ),
        (
            "optional empty is not unset",
            json!({"nickname": ""}),
            json!({}),
            false,
            false,
        ),
        (
            "optional empty",
            json!({"nickname": ""}),
            json!({"nickname": ""}),
            true,
            true,
        ),
        (
            "a oneof",
            json!({"user": "u"}),
            json!({"user": "u"}),
            true,
            true,
        ),
        (
            "a oneof of default",
            json!({"user": ""}),
            json!({"user": ""}),
            true,
            true,
        ),
        (
            "a oneof is set",
            json!({"user": ""}),
            json!({}),
            false,
            false,
        ),
        (
            "the other of a oneof",
            json!({"room": 0}),
            json!({"user": ""}),
            false,
            false,
        ),
        (
            "neither of a oneof",
            json!({"user": null, "room": null}),
            json!({}),
            true,
            true,
        ),
        (
            "a list in order",
            json!({"tags": ["a", "b"]}),
            json!({"tags": ["a", "b"]}),
            true,
            true,
        ),
        (
            "a list in another order",
            json!({"tags": ["b", "a"]}),
            json!({"tags": ["a", "b"]}),
            false,
            false,
        ),
        (
            "a part of a list",
            json!({"tags": ["a"]}),
            json!({"tags": ["a", "b"]}),
            false,
            false,
        ),
        (
            "a map",
            json!({"counts": {"a": 1, "b": 0}}),
            json!({"counts": {"b": 0, "a": 1}}),
            true,
            true,
        ),
        (
            "a part of a map",
            json!({"counts": {"a": 1}}),
            json!({"counts": {"a": 1, "b": 2}}),
            false,
            true,
        ),
        (
            "a map without the key",
            json!({"counts": {"a": 0}}),
            json!({"counts": {}}),
            false,
            false,
        ),
        (
            "a wrapper",
            json!({"label": "x"}),
            json!({"label": "x"}),
            true,
            true,
        ),
        (
            "a wrapper of default is set",
            json!({"label": ""}),
            json!({}),
            false,
            false,
        ),
        (
            "a wrapper that is null",
            json!({"limit": null}),
            json!({}),
            true,
            true,
        ),
        (
            "a wrapped 64 bits as text",
            json!({"limit": "5"}),
            json!({"limit": 5}),
            true,
            true,
        ),
        (
            "an empty message is set",
            json!({"inner": {}}),
            json!({}),
            false,
            false,
        ),
        (
            "an empty message",
            json!({"inner": {}}),
            json!({"inner": {"times": 0}}),
            true,
            true,
        ),
        (
            "a part of a message",
            json!({"inner": {"times": 1}}),
            json!({"inner": {"times": 1, "message": "m"}}),
            false,
            true,
        ),
        (
            "a part of a part",
            json!({"inner": {"inner": {"big_number": "1"}}}),
            json!({"inner": {"message": "m", "inner": {"bigNumber": 1, "ratio": 2}}}),
            false,
            true,
        ),
        (
            "an Any",
            json!({"extra": {"@type": typed, "message": "a"}}),
            json!({"extra": {"@type": typed, "message": "a", "count": 0}}),
            true,
            true,
        ),
        (
            "a part of an Any",
            json!({"extra": {"@type": typed, "message": "a"}}),
            json!({"extra": {"@type": typed, "message": "a", "count": 1}}),
            false,
            true,
        ),
        (
            "an Any of another content",
            json!({"extra": {"@type": typed, "message": "a"}}),
            json!({"extra": {"@type": typed, "message": "b"}}),
            false,
            false,
        ),
        (
            "a time in another zone",
            json!({"sentAt": "2026-01-01T01:00:00+01:00"}),
            json!({"sent_at": "2026-01-01T00:00:00Z"}),
            true,
            true,
        ),
        (
            "a struct",
            json!({"settings": {"a": [1, {"b": null}]}}),
            json!({"settings": {"a": [1.0, {"b": null}]}}),
            true,
            true,
        ),
        (
            "a part of a struct",
            json!({"settings": {"a": 1}}),
            json!({"settings": {"a": 1, "b": 2}}),
            false,
            true,
        ),
    ];
    for (what, wanted, came, equal, subset) in cases {
        let found = (
            accepts(matchers::json(wanted.clone()), came.clone()).await,
            accepts(json_subset(wanted.clone()), came.clone()).await,
        );
        assert_eq!(found, (equal, subset), "{what}: {wanted} against {came}");
        // A stub for any method is not told the type beforehand, and finds the same.
        let server = lenient_echo().await;
        server.mount(Stub::any().when(wanted));
        let said = server
            .client()
            .await
            .call("Echo/Say", came)
            .into_future()
            .await;
        assert_eq!(said.is_ok(), equal, "{what}, by a stub for any method");
    }
}

#[tokio::test]
async fn a_field_is_found_by_its_path_and_compared_by_its_type() {
    let came = json!({
        "message": "hi", "bigNumber": 5, "mood": 1, "tags": ["a", "b"], "counts": {"x.y": 0, "z": 3},
        "inner": {"inner": {"times": 4}, "tags": ["c"]}, "settings": {"deep": [{"er": true}]}, "room": 0
    });
    let cases = [
        ("message", json!("hi"), true),
        ("message", json!("ho"), false),
        ("times", json!(0), true),
        ("bigNumber", json!("5"), true),
        ("big_number", json!(5.0), true),
        ("mood", json!(1), true),
        ("mood", json!("MOOD_CALM"), true),
        ("mood", json!("MOOD_LOUD"), false),
        ("tags", json!(["a", "b"]), true),
        ("tags[1]", json!("b"), true),
        ("tags.0", json!("a"), true),
        ("tags[7]", json!(null), true),
        ("counts.z", json!(3), true),
        ("/counts/x.y", json!(0), true),
        ("counts.w", json!(0), false),
        ("inner.inner.times", json!(4), true),
        ("inner.tags[0]", json!("c"), true),
        ("inner.inner", json!({"times": 4}), true),
        ("inner.inner.inner", json!(null), true),
        ("inner.inner.inner.times", json!(null), true),
        ("settings.deep[0].er", json!(true), true),
        ("room", json!(0), true),
        ("user", json!(null), true),
        ("nickname", json!(""), false),
    ];
    for (path, wanted, expected) in cases {
        let found = accepts(field(path, wanted.clone()), came.clone()).await;
        assert_eq!(found, expected, "{path} is {wanted}");
        let closure = accepts(field(path, |value: &Value| !value.is_null()), came.clone());
        assert_eq!(
            closure.await,
            path != "tags[7]"
                && path != "counts.w"
                && path != "user"
                && path != "nickname"
                && !path.contains("inner.inner.inner"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn metadata_is_matched_by_value_closure_and_bytes() {
    let server = lenient_echo().await;
    let stub = |name: &str, matcher: Box<dyn FnOnce(Stub) -> Stub>| {
        server.mount(
            matcher(Stub::method("Squawk").named(name))
                .reply(json!({"message": name}))
                .at_most(1),
        );
    };
    stub(
        "absent",
        Box::new(|stub| stub.when(no_metadata("x-tenant"))),
    );
    stub(
        "bytes",
        Box::new(|stub| stub.when(metadata_bin("x-blob-bin", [0, 159, 255]))),
    );
    stub(
        "second of two",
        Box::new(|stub| stub.when(metadata("X-Tenant", "green"))),
    );
    stub(
        "closure",
        Box::new(|stub| stub.when(metadata("x-tenant", |value: &str| value.ends_with("e")))),
    );
    let client = server.client().await;
    let call = || client.call("Squawk", json!({}));
    let tenant = |value: &str| call().metadata("x-tenant", value);
    let calls = [
        (tenant("blue"), "closure"),
        (tenant("red").metadata("x-tenant", "green"), "second of two"),
        (
            tenant("red").metadata_bin("x-blob-bin", [0, 159, 255]),
            "bytes",
        ),
        (call(), "absent"),
    ];
    for (call, name) in calls {
        assert_eq!(call.await.unwrap()["message"], name);
    }
    tenant("red").await.unwrap_err();
}

#[tokio::test]
async fn deadline_peer_and_connection_are_matched() {
    let server = lenient_echo().await;
    let mount = |name: &str, stub: Stub| server.mount(stub.reply(json!({"message": name})));
    mount(
        "short",
        Stub::method("Squawk").when(deadline(..=Duration::from_secs(5))),
    );
    mount(
        "long",
        Stub::method("Squawk").when(deadline(Duration::from_secs(6)..)),
    );
    mount("none", Stub::method("Squawk").when(no_deadline()));
    // Its own timeout is sent whenever a call has none.
    let builder = Client::builder()
        .address(server.address())
        .schema(echo_schema());
    let client = builder.no_timeout().connect().await.unwrap();
    let none = || client.call("Squawk", json!({})).into_future();
    let call = |timeout| {
        client
            .call("Squawk", json!({}))
            .timeout(timeout)
            .into_future()
    };
    assert_eq!(
        call(Duration::from_secs(4)).await.unwrap()["message"],
        "short"
    );
    assert_eq!(
        call(Duration::from_secs(400)).await.unwrap()["message"],
        "long"
    );
    assert_eq!(none().await.unwrap()["message"], "none");

    mount("second", Stub::method("Squawk").when(connection(2)));
    let other = server.client().await;
    assert_eq!(
        other.call("Squawk", json!({})).await.unwrap()["message"],
        "second"
    );
    let memory = peer(|peer: &Address| matches!(peer, Address::Memory(_)));
    mount("pipe", Stub::method("Squawk").when(memory));
    assert_eq!(none().await.unwrap()["message"], "pipe");
    mount(
        "tcp",
        Stub::method("Squawk").when(peer(|peer: &Address| matches!(peer, Address::Tcp { .. }))),
    );
    assert_eq!(none().await.unwrap()["message"], "pipe");
}

#[tokio::test]
async fn streamed_messages_are_matched_by_number_and_content() {
    let said = [json!({"message": "a"}), json!({"message": "b", "times": 1})];
    let takes = |matcher: fn(Stub) -> Stub| {
        let said = said.clone();
        async move {
            let server = lenient_echo().await;
            server.mount(matcher(Stub::method("Join")));
            let client = server.client().await;
            let joined = client.call_client_stream("Join", tokio_stream::iter(said));
            within(joined.into_future()).await.is_ok()
        }
    };
    assert!(takes(|stub| stub.when(json!([{"message": "a"}, {"message": "b", "times": 1}]))).await);
    assert!(!takes(|stub| stub.when(json!([{"message": "a"}]))).await);
    assert!(takes(|stub| stub.when(json_subset(json!([{}, {"message": "b"}])))).await);
    assert!(takes(|stub| stub.when(message_count(2))).await);
    assert!(takes(|stub| stub.when(message_count(1..3))).await);
    assert!(!takes(|stub| stub.when(message_count(3..))).await);
    assert!(takes(|stub| stub.when(message(0, json!({"message": "a", "times": 0})))).await);
    assert!(!takes(|stub| stub.when(message(1, json!({"message": "b"})))).await);
    assert!(!takes(|stub| stub.when(message(2, |_: &Value| true))).await);
    assert!(takes(|stub| stub.when(some_message(|value: &Value| value["times"] == 1))).await);
    assert!(!takes(|stub| stub.when(some_message(json!({"message": "c"})))).await);
    assert!(takes(|stub| stub.when(every_message(|value: &Value| value["message"] != ""))).await);
    assert!(!takes(|stub| stub.when(every_message(|value: &Value| value["times"] == 0))).await);
    assert!(takes(|stub| stub.when(field("1.times", 1))).await);
}

/// By its first message, whether that is written as itself or as a list of one.
#[tokio::test]
async fn a_call_that_streams_both_ways_is_matched_by_its_first_message() {
    for wanted in [json!({"message": "a"}), json!([{"message": "a"}])] {
        for named in [true, false] {
            let server = lenient_echo().await;
            let stub = if named {
                Stub::method("Chat")
            } else {
                Stub::any()
            };
            let wanted = wanted.clone();
            server.mount(
                stub.when(wanted.clone())
                    .reply(Reply::stream([json!({"count": 1})])),
            );
            let client = server.client().await;
            let said = [json!({"message": "a"}), json!({"message": "b"})];
            let mut replies = within(
                client
                    .call_bidi_stream("Chat", tokio_stream::iter(said))
                    .into_future(),
            )
            .await
            .unwrap();
            assert_eq!(
                replies.message().await.unwrap().unwrap()["count"],
                1,
                "{wanted} {named}"
            );
            let other =
                client.call_bidi_stream("Chat", tokio_stream::once(json!({"message": "b"})));
            within(other.into_future()).await.unwrap_err();
        }
    }
}

/// A condition on metadata alone needs no message: the client may wait for the headers before it sends one.
#[tokio::test]
async fn a_bidi_call_is_answered_before_its_first_message_when_no_condition_looks_at_it() {
    let server = lenient_echo().await;
    let blue = all((metadata("x-tenant", "blue"), not(no_deadline())));
    server.mount(
        Stub::method("Chat")
            .when(blue)
            .reply(Reply::stream([json!({"count": 1})])),
    );
    let client = server.client().await;
    let silent = tokio_stream::pending();
    let chat = client
        .call_bidi_stream("Chat", silent)
        .metadata("x-tenant", "blue");
    let mut replies = within(chat.into_future()).await.unwrap();
    assert_eq!(
        within(replies.message()).await.unwrap().unwrap()["count"],
        1
    );
}

#[tokio::test]
async fn closures_see_json_and_prost_types() {
    let came = json!({"message": "hi", "times": 2});
    assert!(accepts(request(|value: &Value| value["times"] == 2), came.clone()).await);
    assert!(!accepts(request(|value: &Value| value["times"] == 3), came.clone()).await);
    assert!(
        accepts(
            typed(|request: &EchoRequest| request.times == 2),
            came.clone()
        )
        .await
    );
    assert!(
        !accepts(
            typed(|request: &EchoRequest| request.message.is_empty()),
            came.clone()
        )
        .await
    );
    assert!(accepts(|call: &Call| call.is("Say"), came).await);

    // Prost types need no schema.
    let server = MockServer::memory().await;
    server.mount(
        Stub::method("Echo/Say")
            .when(typed(|request: &EchoRequest| request.times == 2))
            .reply(Reply::default()),
    );
    let client = Client::connect(server.address()).await.unwrap();
    let request = EchoRequest {
        times: 2,
        ..EchoRequest::default()
    };
    let reply: echo::EchoReply = client.unary("/echo.v1.Echo/Say", request).await.unwrap();
    assert_eq!(reply, echo::EchoReply::default());
}

#[tokio::test]
async fn matchers_are_combined() {
    let say = |message: &str| json!({"message": message, "times": 1});
    let one = || field("times", 1);
    assert!(accepts(all((one(), field("message", "a"))), say("a")).await);
    assert!(!accepts(all((one(), field("message", "a"))), say("b")).await);
    assert!(accepts(any((field("times", 7), json_subset(say("a")))), say("a")).await);
    assert!(!accepts(any((field("times", 7), json!({"message": "a"}))), say("a")).await);
    assert!(accepts(not(field("message", "b")), say("a")).await);
    assert!(!accepts(not(one()), say("a")).await);
    assert!(
        accepts(
            any(vec![field("message", "x"), field("message", "a")]),
            say("a")
        )
        .await
    );
    assert!(!accepts(any(Vec::<Value>::new()), say("a")).await);
    assert!(accepts(all(Vec::<Value>::new()), say("a")).await);
}

/// What a stub can never match is told when it is mounted, word for word.
#[tokio::test]
async fn a_condition_that_no_call_can_satisfy_is_told_when_it_is_mounted() {
    let server = lenient_echo().await;
    let told = |stub: Stub| {
        let mounted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.mount(stub)));
        let panic = mounted.map(|_| ()).expect_err("it must panic");
        let text = panic.downcast_ref::<String>().expect("a text").clone();
        // Lines and columns are shown elsewhere.
        without_places(&text)
    };
    assert_eq!(
        told(Stub::method("Echo/Say").when(json!({"massage": "hi"}))),
        "cannot mount Stub::method(\"Echo.Say\") (HERE): the request as JSON (HERE) can match no call of echo.v1.Echo/Say: the JSON \
         does not fit echo.v1.EchoRequest: unrecognized field name 'massage'"
    );
    assert_eq!(
        told(
            Stub::method("Echo/Say")
                .named("typo")
                .when(field("inner.massage", "hi"))
        ),
        "cannot mount `typo` (HERE): `inner.massage` is \"hi\" (HERE) can match no call of echo.v1.Echo/Say: echo.v1.EchoRequest has no \
         field `massage`; it has message, times, big_number, mood, tags, counts, nickname, user, room, sent_at, blob, ratio, \
         extra, label, limit, settings, inner"
    );
    assert_eq!(
        told(Stub::method("Echo/Say").when(field("tags.first", "hi"))),
        "cannot mount Stub::method(\"Echo.Say\") (HERE): `tags.first` is \"hi\" (HERE) can match no call of echo.v1.Echo/Say: tags is a \
         list, and `first` is no index"
    );
    assert_eq!(
        told(Stub::method("Join").when(json!({"message": "hi"}))),
        "cannot mount Stub::method(\"Join\") (HERE): the request as JSON (HERE) can match no call of echo.v1.Echo/Join: the client \
         streams: expected an array with all its messages"
    );
    assert_eq!(
        told(Stub::method("Chat").when(json!([{}, {}]))),
        "cannot mount Stub::method(\"Chat\") (HERE): the request as JSON (HERE) can match no call of echo.v1.Echo/Chat: a call that \
         streams both ways is matched by its first message: expected that one alone"
    );
    assert_eq!(
        told(Stub::method("Echo/Say").when(field("times", "many"))),
        "cannot mount Stub::method(\"Echo.Say\") (HERE): `times` is \"many\" (HERE) can match no call of echo.v1.Echo/Say: the JSON does \
         not fit echo.v1.EchoRequest: `times`: invalid digit found in string"
    );
}

/// The text with each `file:line:column` as `HERE`.
fn without_places(text: &str) -> String {
    let mut parts = text.split("tests/it/matchers.rs:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_numeric() || c == ':');
        format!("{text}HERE{rest}")
    })
}

/// A stub that the headers rule out holds nobody up: the client may wait for the response before it sends a message.
#[tokio::test]
async fn a_stream_that_the_headers_rule_out_is_refused_before_its_first_message() {
    let schema = MockServer::builder().schema(echo_schema());
    for builder in [schema, MockServer::builder()] {
        let server = builder.allow_unmatched().start().await;
        let failing = Stub::any().when(metadata("x-fail", "1"));
        server.mount(failing.reply(Status::unavailable("down")));
        // A closure is no obstacle if the headers rule its stub out.
        let closure = Stub::any().when(metadata("x-fail", "2"));
        server.mount(closure.reply(|_: &Call| json!({})));
        let client = Client::connect(server.address()).await.unwrap();
        let silent = || tokio_stream::pending::<EchoRequest>();
        let chat = client.bidi_stream::<_, echo::EchoReply>("/echo.v1.Echo/Chat", silent());
        within(chat.into_future()).await.unwrap_err();
        let join = client.client_stream::<_, echo::EchoReply>("/echo.v1.Echo/Join", silent());
        within(join.into_future()).await.unwrap_err();
        assert_eq!(server.journal().unmatched().len(), 2);
    }
}

/// A stub for any method is told the types by the call.
#[tokio::test]
async fn fields_and_messages_are_canonical_for_stubs_of_any_method_too() {
    let said = json!({"message": "a", "bigNumber": 3, "mood": 2});
    type Narrow = fn(Stub) -> Stub;
    let cases: [(&str, Narrow); 5] = [
        ("a name of the file", |stub| {
            stub.when(field("big_number", "3"))
        }),
        ("an enum by number", |stub| stub.when(field("mood", 2))),
        ("an unset field", |stub| {
            stub.when(field("nickname", Value::Null))
        }),
        ("a message", |stub| {
            stub.when(message(
                0,
                json!({"message": "a", "big_number": 3, "mood": 2}),
            ))
        }),
        ("all messages", |stub| {
            stub.when(every_message(
                json!({"message": "a", "big_number": 3, "mood": 2}),
            ))
        }),
    ];
    for (what, stub) in cases {
        let server = lenient_echo().await;
        server.mount(stub(Stub::any()));
        let client = server.client().await;
        let call = client.call("Echo/Say", said.clone()).into_future();
        assert!(within(call).await.is_ok(), "{what}");
    }
    let server = lenient_echo().await;
    server.mount(Stub::any().when(field("massage", "a")));
    let error = server
        .client()
        .await
        .call("Echo/Say", said)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("echo.v1.EchoRequest has no field `massage`"),
        "{error}"
    );
}

/// A schemaless integer without a double of its own is the nearest that has, on both sides.
#[tokio::test]
async fn large_schemaless_integers_match_themselves() {
    let server = MockServer::memory().await;
    let large = json!({"id": 1_152_921_504_606_846_977_i64, "ids": [u64::MAX]});
    server.mount(Stub::method("Get").when(large.clone()).reply(json!({})));
    server
        .client()
        .await
        .call("Get", large.clone())
        .await
        .unwrap();
    assert_eq!(server.calls()[0], ("Get", large));
}

/// Binary values may be joined by commas on the way, with or without padding.
#[tokio::test]
async fn joined_binary_values_are_matched_one_by_one() {
    let server = MockServer::builder().schema(echo_schema()).start().await;
    server.mount(Stub::method("Squawk").when(metadata_bin("x-blob-bin", [0, 159, 255, 1])));
    let requests = crate::raw::connect(&server).await;
    let request = crate::raw::grpc("/echo.v1.Parrot/Squawk").header("x-blob-bin", "AAEC, AJ//AQ==");
    let (_, headers, _) = crate::raw::exchange(&requests, request, &[&[0; 5]]).await;
    assert_eq!(headers.get("grpc-status").unwrap(), "0");
}
