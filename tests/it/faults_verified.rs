//! Hits that are counted, awaited, verified, and told in the journal.

use crate::faults_probe::{Make, Wire, client, panic_text, squawk, without_places};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::{InjectedFault, Report};
use rpcplugin_testkit::{Fault, MockServer, Reason, Status, Stub, json};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::{task::Poll, time::Duration};

const MS: Duration = Duration::from_millis(1);

/// Whether it is ready when it is asked once.
async fn is_ready<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[tokio::test]
async fn each_hit_is_told_once_also_to_two_who_wait() {
    let server = Wire::all()[0].start().await;
    let caller = client(&server).await;
    let fault = server.inject(Fault::delay(Duration::ZERO).method("Squawk"));
    let (mut one, mut two) = (pin!(fault.hit()), pin!(fault.hit()));
    assert!(!is_ready(one.as_mut()).await && !is_ready(two.as_mut()).await);
    squawk(&caller).await.unwrap();
    let ready = [is_ready(one.as_mut()).await, is_ready(two.as_mut()).await];
    assert_eq!(ready, [true, false]);
    squawk(&caller).await.unwrap();
    within(two).await;
    assert!(!is_ready(pin!(fault.hit())).await);
    squawk(&caller).await.unwrap();
    squawk(&caller).await.unwrap();
    within(fault.hit()).await;
    within(fault.clone().hit()).await;
    assert!(!is_ready(pin!(fault.hit())).await);
    for n in 0..=4 {
        within(fault.wait_for_hits(n)).await;
    }
    assert!(!is_ready(pin!(fault.wait_for_hits(5))).await);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_for_what() {
    let patience = Duration::from_secs(3);
    let builder = MockServer::builder().memory().patience(patience);
    let server = builder.start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let fault = server.inject(Fault::reset(Reason::CANCEL).method("Get"));
    server
        .client()
        .await
        .call("Get", json!({}))
        .await
        .unwrap_err();
    fault.hit().await;
    for (what, told) in [(0, "another hit"), (2, "2 hits")] {
        let fault = fault.clone();
        let waiting = tokio::spawn(async move {
            match what {
                0 => fault.hit().await,
                n => fault.wait_for_hits(n).await,
            }
        });
        let panic = waiting.await.unwrap_err().into_panic();
        assert_eq!(
            panic_text(panic),
            format!("waited 3s at HERE for {told} of Fault::reset(CANCEL) (HERE), and 1 came")
        );
    }
    let none = server.inject(Fault::hold().method("Get"));
    let waiting = tokio::spawn(async move { none.wait_for_hits(1).await });
    let panic = waiting.await.unwrap_err().into_panic();
    let told = "waited 3s at HERE for 1 hit of Fault::hold (HERE), and 0 came";
    assert_eq!(panic_text(panic), told);
}

/// What is expected, how many calls come, and what is told.
type Expected = (fn(Fault) -> Fault, u32, Option<&'static str>);

const EXPECTED: [Expected; 7] = [
    (|fault| fault.times(2), 2, None),
    (|fault| fault.times(1), 0, Some("exactly 1 hit and got 0")),
    (|fault| fault.times(1), 2, Some("exactly 1 hit and got 2")),
    (|fault| fault.times(0), 1, Some("no hits and got 1")),
    (
        |fault| fault.times(1..),
        0,
        Some("at least 1 hit and got 0"),
    ),
    (|fault| fault.times(1..=2), 3, Some("1 to 2 hits and got 3")),
    (|fault| fault, 3, None),
];

async fn mock() -> MockServer {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    server
}

/// Lets so many calls pass the fault.
async fn pass(server: &MockServer, fault: &InjectedFault, calls: u32) {
    fault.open();
    let client = server.client().await;
    for _ in 0..calls {
        let call = client.call("Get", json!({})).into_future();
        within(call).await.expect("an answer");
    }
}

#[tokio::test]
async fn expected_hits_are_verified() {
    for (expecting, calls, told) in EXPECTED {
        let told = told.map(|told| format!("Fault::hold (HERE) expected {told}"));
        let fault = || expecting(Fault::hold().method("Get"));

        let server = mock().await;
        pass(&server, &server.inject(fault()), calls).await;
        let report = within(server.verify()).await.err();
        let problems = report.iter().flat_map(Report::problems);
        let problems: Vec<_> = problems.map(|problem| without_places(problem)).collect();
        assert_eq!(problems, Vec::from_iter(told.clone()));

        let server = mock().await;
        pass(&server, &server.inject(fault()), calls).await;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(server)));
        let text = dropped.err().map(panic_text);
        assert_eq!(text.is_some(), told.is_some());
        if let (Some(text), Some(told)) = (text, &told) {
            assert!(text.contains(&format!("\n1. {told}\n")), "{text}");
        }

        let server = mock().await;
        let removed = server.inject(fault());
        pass(&server, &removed, calls).await;
        removed.remove();
        within(server.verify()).await.unwrap();

        let server = mock().await;
        let scoped = server.inject_scoped(fault());
        pass(&server, &scoped, calls).await;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(scoped)));
        assert_eq!(dropped.err().map(panic_text), told);
        // It is not verified again.
        within(server.verify()).await.unwrap();
    }
}

/// A scoped fault that drops while its test fails says nothing on top of it.
#[tokio::test]
async fn a_scoped_fault_does_not_panic_in_a_panic() {
    let server = mock().await;
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let _scoped = server.inject_scoped(Fault::hold().times(1));
        panic!("the test failed");
    }));
    let text = failed.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(*text, "the test failed");
}

#[tokio::test]
async fn faulted_calls_are_told_in_the_journal() {
    let server = MockServer::builder().memory().start().await;
    server.mount(Stub::any().reply(json!({"n": 1})).times(0..));
    let client = server.client().await;
    let cases: [(Make, &str); 6] = [
        (
            || Fault::reset(Reason::CANCEL),
            "broken off by a fault {\"n\":1} · Fault::reset(CANCEL) (HERE)",
        ),
        (
            || Fault::http_status(503),
            "broken off by a fault {\"n\":1} · Fault::http_status(503) (HERE)",
        ),
        (
            || Fault::status(Status::not_found("no")),
            "NOT_FOUND · Fault::status(NOT_FOUND) (HERE)",
        ),
        (|| Fault::padding(3), "OK {\"n\":1} · Fault::padding (HERE)"),
        (
            Fault::missing_status,
            "OK {\"n\":1} · Fault::missing_status (HERE)",
        ),
        (
            || Fault::reset_before_trailers(Reason::CANCEL),
            "broken off by a fault {\"n\":1} · Fault::reset_before_trailers(CANCEL) (HERE)",
        ),
    ];
    for (fault, told) in cases {
        let fault = server.inject(fault().method("Get"));
        let _ = within(client.call("Get", json!({})).into_future()).await;
        fault.remove();
        let call = server.calls().pop().unwrap();
        let line = without_places(&call.to_string());
        assert_eq!(line.split_once(" → ").unwrap().1, told);
        let label = without_places(&call.faults().join(" · "));
        assert!(told.ends_with(&format!(" · {label}")), "{label}");
    }
    let two = [Fault::delay(MS), Fault::delay(MS)].map(|fault| server.inject(fault));
    client.call("Get", json!({})).await.unwrap();
    let line = without_places(&server.calls().pop().unwrap().to_string());
    let told = "OK {\"n\":1} · Fault::delay (HERE) · Fault::delay (HERE)";
    assert_eq!(line.split_once(" → ").unwrap().1, told);
    assert_eq!(two.map(|fault| fault.hits()), [1, 1]);
}
