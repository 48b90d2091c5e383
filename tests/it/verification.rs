//! What a test is told that did not go as its stubs expect, word for word.

use crate::support::{echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::matchers::{field, metadata};
use rpcplugin_testkit::{Call, Code, MockServer, Reply, Stub, json};
use std::{panic, sync::Arc, time::Duration};

/// A server that is not verified when it is dropped.
async fn server() -> MockServer {
    let builder = MockServer::builder().memory().schema(echo_schema());
    builder.verify_on_drop(false).start().await
}

/// The panic of a closure.
fn panic_of(run: impl FnOnce()) -> String {
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(run));
    let panic = panicked.expect_err("it must panic");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[tokio::test]
async fn the_report_names_what_was_expected_and_what_came_nearest() {
    let server = server().await;
    let address = server.address().clone();
    let first = line!() + 1;
    server.mount(
        Stub::method("Squawk")
            .named("greeting")
            .when(json!({"message": "hello", "tags": ["a", "b"]}))
            .times(2),
    );
    server.mount(
        Stub::method("Squawk")
            .when(metadata("x-tenant", "blue"))
            .when(field("times", 3))
            .when(|call: &Call| call.request()["ratio"] == 0.5),
    );
    server.mount(Stub::method("Echo/Say").named("unused"));
    let client = server.client().await;
    let args = json!({"message": "hullo", "tags": ["a"], "times": 1});
    let call = client.call("Squawk", args).metadata("x-tenant", "red");
    let error = call.await.unwrap_err();
    assert_eq!(error.code(), Some(Code::FailedPrecondition));
    let place = |line: u32, column: u32| format!("tests/it/verification.rs:{line}:{column}");
    let (here, when) = (place(first, 12), place(first + 3, 14));
    let shortened = format!(
        "no stub for echo.v1.Parrot/Squawk accepts this call; the nearest is `greeting` ({here}): the request as JSON \
         ({when}): message: wanted \"hello\", came \"hullo\"; tags[1]: wanted \"b\", came nothing; times: wanted 0, came 1"
    );
    assert_eq!(error.status().unwrap().message(), shortened);

    let report = server.verify().await.unwrap_err();
    let request = r#"{"bigNumber":0,"blob":"","counts":{},"message":"hullo","mood":"MOOD_UNSPECIFIED","ratio":0.0,"tags":["a"],"times":1}"#;
    let second = first + 6;
    let expected = format!(
        r#"the mock server at {address} did not get what it expects
1. `greeting` ({here}) expected exactly 2 calls and got 0
2. unmatched call: ("Squawk", {request}) from {address} → FAILED_PRECONDITION
   no stub for echo.v1.Parrot/Squawk accepts it; nearest of 2:
     `greeting` ({here})
       NO  the request as JSON ({when})
             message: wanted "hello", came "hullo"
             tags[1]: wanted "b", came nothing
             times: wanted 0, came 1
     Stub::method("Squawk") ({})
       NO  metadata `x-tenant` ({})
             wanted "blue", came "red"
       NO  `times` is 3 ({})
             wanted 3, came 1
       NO  a closure ({})
             it says no
all calls:
  0: ("Squawk", {request}) from {address} → FAILED_PRECONDITION"#,
        place(second, 12),
        place(second + 2, 14),
        place(second + 3, 14),
        place(second + 4, 14),
    );
    assert_eq!(report.to_string(), expected);
    assert_eq!(format!("{report:?}"), expected);
    assert_eq!(report.unmatched().len(), 1);
}

/// Conditions that hold are shown too, and secrets are not.
#[tokio::test]
async fn a_stub_that_stands_aside_and_one_with_a_secret_are_explained() {
    let server = server().await;
    server.mount(
        Stub::method("Squawk")
            .named("spent")
            .when(field("times", 0))
            .at_most(1),
    );
    server.mount(
        Stub::method("Echo/Say")
            .named("secret")
            .when(metadata("authorization", "Bearer hunter2")),
    );
    let client = server.client().await;
    let squawk = || client.call("Squawk", json!({}));
    squawk().await.unwrap();
    squawk().await.unwrap_err();
    let say = client
        .call("Echo/Say", json!({}))
        .metadata("authorization", "Bearer 12345");
    let error = say.await.unwrap_err();
    let report = server.verify().await.unwrap_err();
    let told = without_places(&report.problems()[0]);
    let (_, told) = told.split_once('\n').unwrap();
    assert_eq!(
        told,
        "no stub for echo.v1.Parrot/Squawk accepts it; nearest of 1:\n  `spent` (HERE)\n    ok  `times` is 0 (HERE)\n    \
         NO  it has served the 1 call that it is for"
    );
    let secret = "wanted \"<redacted>\", came \"<redacted>\"";
    assert!(error.to_string().contains(secret), "{error}");
    assert!(report.to_string().contains(secret), "{report}");
    for text in [
        report.to_string(),
        format!("{error:?}"),
        format!("{:?}", server.calls()),
        format!("{:?}", server.calls()[2].metadata()),
    ] {
        assert!(
            !text.contains("hunter2") && !text.contains("12345"),
            "{text}"
        );
    }
    assert_eq!(
        server.calls()[2]
            .metadata()
            .get("authorization")
            .unwrap()
            .to_str()
            .unwrap(),
        "Bearer 12345"
    );
}

fn without_places(text: &str) -> String {
    let mut parts = text.split("tests/it/verification.rs:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|c: char| c.is_numeric() || c == ':');
        format!("{text}HERE{rest}")
    })
}

#[tokio::test]
async fn dropping_the_server_panics_with_the_report() {
    let server = MockServer::builder().memory().start().await;
    let address = server.address().clone();
    let line = line!() + 1;
    server.mount(Stub::method("Get").times(1..));
    let text = panic_of(|| drop(server));
    assert_eq!(
        text,
        format!(
            "the mock server at {address} did not get what it expects\n\
             1. Stub::method(\"Get\") (tests/it/verification.rs:{line}:12) expected at least 1 call and got 0\n\
             no calls came\n\
             (verified when the server was dropped; in a test that returns a `Result`, an error on its way out is hidden by \
             this: build the server with `.verify_on_drop(false)` and end the test with `server.verify().await?`)"
        )
    );
}

/// A panic in a destructor while another one unwinds would end the whole test binary.
#[tokio::test]
async fn a_test_that_fails_already_is_not_aborted() {
    let two = [MockServer::memory().await, MockServer::memory().await];
    for server in &two {
        server.mount(Stub::any().times(1));
    }
    let guarded = MockServer::memory().await;
    let text = panic_of(move || {
        let _two = two;
        let _guard = guarded.mount_scoped(Stub::any().times(7));
        let text = String::from("the test's own assertion");
        panic::panic_any(text);
    });
    assert_eq!(text, "the test's own assertion");

    // One that fails while its neighbours are dropped does not abort either.
    let two = [MockServer::memory().await, MockServer::memory().await];
    for server in &two {
        server.mount(Stub::any().times(1));
    }
    let text = panic_of(|| drop(two));
    assert!(text.contains("expected exactly 1 call and got 0"), "{text}");
}

#[tokio::test]
async fn a_scoped_stub_is_verified_when_its_guard_is_dropped() {
    let server = MockServer::memory().await;
    let address = server.address().clone();
    let line = line!() + 1;
    let guard = server.mount_scoped(Stub::method("Get").named("twice").times(2));
    server.client().await.call("Get", json!({})).await.unwrap();
    let expected = format!(
        "`twice` (tests/it/verification.rs:{line}:24) expected exactly 2 calls and got 1\n  0: (\"Get\", {{}}) from {address} → OK {{}}"
    );
    assert_eq!(panic_of(|| drop(guard)), expected);
    // It is not verified once more.
    server.verify().await.unwrap();
}

#[tokio::test]
async fn unmatched_calls_fail_unless_they_are_allowed_and_their_status_can_be_chosen() {
    let strict = MockServer::builder()
        .memory()
        .unmatched_status(Code::NotFound)
        .verify_on_drop(false)
        .start()
        .await;
    let lenient = MockServer::builder()
        .memory()
        .allow_unmatched()
        .start()
        .await;
    for server in [&strict, &lenient] {
        server.mount(Stub::method("Get").when(json!({"key": "a"})));
        let client = server.client().await;
        client.call("Get", json!({"key": "b"})).await.unwrap_err();
        client.call("Put", json!({})).await.unwrap_err();
    }
    let codes = |server: &MockServer| {
        server
            .calls()
            .iter()
            .map(|call| call.status().unwrap().code())
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&strict), [Code::NotFound, Code::Unimplemented]);
    assert_eq!(
        codes(&lenient),
        [Code::FailedPrecondition, Code::Unimplemented]
    );
    assert_eq!(strict.verify().await.unwrap_err().unmatched().len(), 2);
    lenient.verify().await.unwrap();
    strict.reset();
    strict.verify().await.unwrap();
}

#[tokio::test]
async fn a_hundred_unmatched_calls_are_counted_and_ten_are_told() {
    let server = server().await;
    let client = server.client().await;
    for _ in 0..100 {
        client.call("Squawk", json!({})).await.unwrap_err();
    }
    let report = server.verify().await.unwrap_err();
    assert_eq!(
        (report.unmatched().len(), report.problems().len()),
        (10, 11)
    );
    assert_eq!(report.problems()[10], "… and 90 more unmatched calls");
    // The first calls and the latest.
    let (first, last) = ("\n  24: (\"Squawk\"", "\n  … 50 more\n  75: (\"Squawk\"");
    let told = report.to_string();
    assert!(told.contains(first) && told.contains(last), "{told}");
    assert!(
        !told.contains("\n  25: ") && told.contains("\n  99: "),
        "{told}"
    );
}

/// Verification waits for what is in flight; what does not end is named.
#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_waited_for_and_named_if_they_do_not_end() {
    let builder = MockServer::builder()
        .memory()
        .patience(Duration::from_secs(3));
    let server = Arc::new(builder.verify_on_drop(false).start().await);
    let address = server.address().clone();
    let (reply, gate) = Reply::gate(json!({"ok": true}));
    server.mount(Stub::method("Held").reply(reply));
    let client = server.client().await;
    let held = tokio::spawn(client.call("Held", json!({})).into_future());
    gate.arrived(1).await;

    let report = server.verify().await.unwrap_err();
    assert_eq!(
        report.problems(),
        [format!(
            r#"a call has not ended: ("Held", {{}}) from {address} → in flight"#
        )]
    );

    let verifying = Arc::clone(&server);
    let verifying = tokio::spawn(async move { verifying.verify().await });
    tokio::task::yield_now().await;
    gate.open();
    within(verifying).await.unwrap().unwrap();
    within(held).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_tells_what_was_waited_for() {
    let builder = MockServer::builder()
        .memory()
        .patience(Duration::from_secs(3));
    let server = builder.start().await;
    let stub = server.mount(Stub::method("Get").named("get"));
    server.client().await.call("Get", json!({})).await.unwrap();
    let listed = format!("  0: (\"Get\", {{}}) from {} → OK {{}}", server.address());
    let server = Arc::new(server);

    let waiting = Arc::clone(&server);
    let line = line!() + 3;
    let waited = tokio::spawn(async move {
        waiting
            .wait_until(|journal| journal.to("Put").len() == 1)
            .await
    });
    assert_eq!(
        joined_panic(waited).await,
        format!(
            "waited 3s for the journal to be as expected at tests/it/verification.rs:{line}:14\n{listed}"
        )
    );

    let line = line!() + 4;
    let waited = tokio::spawn(async move {
        stub.unmount();
        let never = server.mount(Stub::method("Get").named("later").times(2));
        never.satisfied().await
    });
    let text = joined_panic(waited).await;
    let (mounted, place) = (line - 1, "tests/it/verification.rs");
    assert_eq!(
        text,
        format!(
            "waited 3s at {place}:{line}:15 for exactly 2 calls to `later` ({place}:{mounted}:28), and 0 came\n{listed}"
        )
    );
}

async fn joined_panic<T: std::fmt::Debug>(joined: tokio::task::JoinHandle<T>) -> String {
    let panic = joined.await.expect_err("it must panic").into_panic();
    panic.downcast_ref::<String>().expect("a text").clone()
}

/// In a test that returns an error, this is the last line, and no panic hides the error.
#[tokio::test]
async fn a_report_is_an_error_that_a_test_can_return() {
    async fn test() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let builder = MockServer::builder().memory().verify_on_drop(false);
        let server = builder.start().await;
        server.mount(Stub::method("Get").times(1));
        "x".parse::<u8>()?;
        server.verify().await?;
        Ok(())
    }
    let error = test().await.unwrap_err();
    assert_eq!(error.to_string(), "invalid digit found in string");
}
