//! Replies one after another, counts, priorities, turns, scopes.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Call, Client, Code, Error, MockServer, Sequence, Status, Stub, Value, json,
};

async fn lenient() -> MockServer {
    MockServer::builder()
        .memory()
        .allow_unmatched()
        .start()
        .await
}

async fn get(client: &Client) -> Result<Value, Error> {
    let reply = within(client.call("Get", json!({})).into_future()).await;
    reply.map(|reply| reply["by"].clone())
}

/// The replies and codes of so many calls.
async fn told(server: &MockServer, calls: usize) -> Vec<String> {
    let client = server.client().await;
    let mut told = Vec::new();
    for _ in 0..calls {
        told.push(match get(&client).await {
            Ok(by) => by.as_str().unwrap_or_default().to_owned(),
            Err(error) => format!("{:?}", error.code().expect("a code")),
        });
    }
    told
}

#[tokio::test]
async fn fails_twice_then_succeeds_and_the_last_reply_sticks() {
    let server = lenient().await;
    server.mount(
        Stub::method("Get")
            .reply(Status::unavailable("warming up"))
            .repeat(2)
            .then(json!({"by": "a"})),
    );
    assert_eq!(
        told(&server, 5).await,
        ["Unavailable", "Unavailable", "a", "a", "a"]
    );
}

#[tokio::test]
async fn then_unmatched_and_at_most_let_the_next_stub_serve() {
    let server = lenient().await;
    server.mount(Stub::any().reply(json!({"by": "rest"})));
    server.mount(
        Stub::method("Get")
            .reply(json!({"by": "limited"}))
            .at_most(1),
    );
    server.mount(
        Stub::method("Get")
            .reply(json!({"by": "one"}))
            .then(json!({"by": "two"}))
            .repeat(2)
            .then_unmatched(),
    );
    assert_eq!(
        told(&server, 6).await,
        ["one", "two", "two", "limited", "rest", "rest"]
    );

    let server = lenient().await;
    let stub = server.mount(
        Stub::method("Get")
            .reply(json!({"by": "a"}))
            .then(json!({"by": "b"}))
            .at_most(3),
    );
    assert_eq!(
        told(&server, 5).await,
        ["a", "b", "b", "FailedPrecondition", "FailedPrecondition"]
    );
    assert_eq!((stub.count(), stub.calls().len()), (3, 3));
}

/// All the ways in which two stubs differ, in one total order.
#[tokio::test]
async fn priority_comes_first_then_the_method_then_the_latest() {
    let server = lenient().await;
    let names = [
        "any low",
        "any",
        "method early",
        "method",
        "any high",
        "method highest",
    ];
    let stub = |name: &str| {
        let stub = if name.starts_with("any") {
            Stub::any()
        } else {
            Stub::method("Get")
        };
        let priority = match name.rsplit(' ').next() {
            Some("low") => -1,
            Some("high") => 1,
            Some("highest") => i32::MAX,
            _ => 0,
        };
        stub.priority(priority)
            .at_most(1)
            .reply(json!({"by": name}))
    };
    for name in names {
        server.mount(stub(name));
    }
    let expected = [
        "method highest",
        "any high",
        "method",
        "method early",
        "any",
        "any low",
        "Unimplemented",
    ];
    let mut told = told(&server, 7).await;
    // The method is known by its stubs, though none accepts.
    assert_eq!(told.pop().unwrap(), "FailedPrecondition");
    assert_eq!(told, expected[..6]);
}

/// With JSON stubs, which are found by their hash, among others.
#[tokio::test]
async fn the_order_is_the_same_among_stubs_that_are_found_by_their_json() {
    let server = lenient().await;
    let client = server.client().await;
    let mut expected = Vec::new();
    for number in 0..40 {
        let by = json!({"by": number});
        let stub = if number % 3 == 0 {
            Stub::any()
        } else {
            Stub::method("Get")
        };
        let stub = match number % 4 {
            0 => stub.when(json!({"a": 1.0, "b": [true]})),
            1 => stub.when(|call: &Call| call.request()["a"] == 1),
            2 => stub.when(json!({"a": 2})),
            _ => stub,
        };
        let priority = number % 5;
        server.mount(stub.priority(priority).at_most(1).reply(by));
        if number % 4 != 2 {
            expected.push((-priority, number % 3 == 0, -number));
        }
    }
    expected.sort_unstable();
    for (_, _, number) in expected {
        let reply = client
            .call("Get", json!({"b": [true], "a": 1}))
            .await
            .unwrap();
        assert_eq!(reply["by"], -number);
    }
    client
        .call("Get", json!({"b": [true], "a": 1}))
        .await
        .unwrap_err();
}

/// Whatever the threads do, each reply is given as often as it should be.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_are_counted_exactly() {
    let server = lenient().await;
    let rest = server.mount(Stub::any().reply(json!({"by": "rest"})));
    let stub = server.mount(
        Stub::method("Get")
            .reply(json!({"by": "a"}))
            .repeat(100)
            .then(json!({"by": "b"}))
            .repeat(50)
            .then_unmatched(),
    );
    let client = server.client().await;
    let calls: Vec<_> = (0..400)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { get(&client).await })
        })
        .collect();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for call in calls {
        let by = within(call).await.unwrap().unwrap();
        *counts.entry(by.to_string()).or_default() += 1;
    }
    assert_eq!(
        format!("{counts:?}"),
        r#"{"\"a\"": 100, "\"b\"": 50, "\"rest\"": 250}"#
    );
    assert_eq!((stub.count(), rest.count()), (150, 250));
}

#[tokio::test]
async fn a_sequence_serves_in_turn_only() {
    let server = lenient().await;
    let login = Sequence::new();
    let step = |name: &str| Stub::method(name).in_sequence(&login).reply(json!({}));
    server.mount(step("Hello"));
    server.mount(step("Login").times(1..=2));
    server.mount(step("Work").times(0..));
    server.mount(step("Bye"));
    let client = server.client().await;
    let call = |name: &'static str| {
        let client = client.clone();
        async move {
            let called = within(client.call(name, json!({})).into_future()).await;
            called.map_err(|error| error.status().expect("a status").message().to_owned())
        }
    };
    let early = call("Bye").await.unwrap_err();
    assert!(
        early.contains(
            "its turn in the sequence comes after Stub::method(\"Hello\") (tests/it/sequences.rs:"
        ) && early.ends_with("which expects exactly 1 call and got 0"),
        "{early}"
    );
    call("Hello").await.unwrap();
    call("Work").await.unwrap_err();
    call("Login").await.unwrap();
    call("Login").await.unwrap();
    call("Login").await.unwrap_err();
    // `Work` may be left out.
    call("Bye").await.unwrap();
    let late = call("Work").await.unwrap_err();
    assert!(
        late.contains("its turn in the sequence is over: Stub::method(\"Bye\")"),
        "{late}"
    );
    call("Hello").await.unwrap_err();
    server.verify().await.unwrap();
}

#[tokio::test]
async fn a_sequence_that_is_not_gone_through_fails_verification() {
    let server = lenient().await;
    let both = Sequence::new();
    server.mount(Stub::method("One").in_sequence(&both));
    server.mount(Stub::method("Two").in_sequence(&both).named("second"));
    server.client().await.call("One", json!({})).await.unwrap();
    let report = server.verify().await.unwrap_err();
    assert_eq!(report.problems().len(), 1);
    assert!(
        report.problems()[0].starts_with("`second` (tests/it/sequences.rs:"),
        "{report}"
    );
    assert!(
        report.problems()[0].ends_with(" expected exactly 1 call and got 0"),
        "{report}"
    );
}

#[tokio::test]
async fn a_scoped_stub_goes_with_its_guard_and_a_mounted_one_when_it_is_told_to() {
    let server = lenient().await;
    let base = server.mount(Stub::method("Get").reply(json!({"by": "base"})));
    let client = server.client().await;
    {
        let guard =
            server.mount_scoped(Stub::method("Get").reply(json!({"by": "scoped"})).times(1));
        assert_eq!(get(&client).await.unwrap(), "scoped");
        assert_eq!(guard.count(), 1);
    }
    assert_eq!(get(&client).await.unwrap(), "base");
    base.unmount();
    assert_eq!(
        get(&client).await.unwrap_err().code(),
        Some(Code::Unimplemented)
    );
    // Calls that a stub took stay its calls.
    assert_eq!(base.calls().len(), 1);
}

#[tokio::test]
async fn satisfied_waits_for_the_calls_that_a_stub_expects() {
    let server = lenient().await;
    let twice = server.mount(Stub::method("Get").reply(json!({})).times(2..=3));
    let client = server.client().await;
    let calling = tokio::spawn(async move {
        get(&client).await?;
        get(&client).await
    });
    within(twice.satisfied()).await;
    assert!(twice.count() >= 2);
    within(calling).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stub_that_expects_no_call_says_so_to_whoever_calls() {
    let server = lenient().await;
    let line = line!() + 1;
    server.mount(Stub::method("Get").never());
    let error = get(&server.client().await).await.unwrap_err();
    let text = error.status().unwrap().message().to_owned();
    assert_eq!(
        text,
        format!(r#"Stub::method("Get") (tests/it/sequences.rs:{line}:12) expects no calls"#)
    );
    let report = server.verify().await.unwrap_err();
    let expected = format!(
        r#"Stub::method("Get") (tests/it/sequences.rs:{line}:12) expected no calls and got 1"#
    );
    assert_eq!(report.problems(), [expected]);
}

#[test]
#[should_panic(expected = "`repeat` is about the reply before it, and there is none")]
fn repeat_needs_a_reply() {
    drop(Stub::any().repeat(2));
}

/// A thousand JSON stubs: each answers its own request, by a look into a table.
#[tokio::test]
async fn each_of_a_thousand_stubs_answers_its_own_request() {
    let server = Transport::Memory.start_echo().await;
    for times in 0..1000 {
        let message = times.to_string();
        server.mount(
            Stub::method("Echo/Say")
                .when(json!({"times": times}))
                .reply(json!({"message": message})),
        );
    }
    let client = server.client().await;
    for times in [0, 1, 500, 999] {
        let reply = client
            .call("Echo/Say", json!({"times": times}))
            .await
            .unwrap();
        assert_eq!(reply["message"], times.to_string());
    }
}

/// In a sequence too: the replies are given in their order, each once, whatever the threads do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_calls_in_a_sequence_are_counted_exactly() {
    for _ in 0..50 {
        let server = lenient().await;
        let order = Sequence::new();
        server.mount(Stub::method("Open").in_sequence(&order));
        let numbered = Stub::method("Get")
            .reply(json!({"by": 0}))
            .then(json!({"by": 1}));
        server.mount(
            numbered
                .then(json!({"by": 2}))
                .at_most(3)
                .in_sequence(&order),
        );
        let client = server.client().await;
        let calls: Vec<_> = (0..8)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move {
                    if n == 4 {
                        client.call("Open", json!({})).await?;
                    }
                    get(&client).await
                })
            })
            .collect();
        let mut given = Vec::new();
        for call in calls {
            given.extend(within(call).await.unwrap().ok());
        }
        // The one that opened comes after, so at least it is served; and none is given twice.
        given.sort_by_key(Value::as_u64);
        assert_eq!(given, [0, 1, 2].map(Value::from)[..given.len()]);
        assert!(!given.is_empty());
        server.reset();
    }
}

#[tokio::test]
async fn a_sequence_goes_on_without_a_stub_that_was_taken_away_and_says_when_one_has_had_its_calls()
{
    let server = lenient().await;
    let order = Sequence::new();
    let first = server.mount(Stub::method("First").in_sequence(&order));
    server.mount(
        Stub::method("Get")
            .in_sequence(&order)
            .reply(json!({"by": "a"}))
            .then(json!({"by": "b"})),
    );
    first.unmount();
    assert_eq!(told(&server, 2).await, ["a", "b"]);
    let error = get(&server.client().await).await.unwrap_err();
    let text = error.status().unwrap().message().to_owned();
    assert!(
        text.ends_with(": it has had the 2 calls of its turn"),
        "{text}"
    );
    server.verify().await.unwrap();

    // After a reset nothing waits for the stubs of before.
    let waiting = server.mount(Stub::method("Never").in_sequence(&order));
    server.reset();
    server.mount(
        Stub::method("Get")
            .in_sequence(&order)
            .reply(json!({"by": "c"})),
    );
    assert_eq!(told(&server, 1).await, ["c"]);
    assert_eq!(waiting.count(), 0);
}

#[tokio::test]
#[should_panic(expected = "it expects exactly 3 calls and serves at most 2")]
async fn a_count_that_cannot_be_had_is_told_when_the_stub_is_mounted() {
    let stub = Stub::any().times(3).at_most(2);
    lenient().await.mount(stub);
}

#[tokio::test]
#[should_panic(expected = "it expects 5 to 2 calls, which no number is")]
async fn a_range_without_a_number_is_told_when_the_stub_is_mounted() {
    let (least, most) = (5, 2);
    lenient().await.mount(Stub::any().times(least..=most));
}
