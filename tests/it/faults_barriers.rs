//! Faults in the test's hands: counted, awaited, held, released, taken away, and verified.

use crate::faults_probe::{Wire, alone, client, squawk};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Client, Code, Delay, Fault, MockServer, Outcome, Reason, Status, Stub, json,
};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::{task::Poll, time::Duration};
use tokio::{runtime::Handle, task::JoinHandle};

const MS: Duration = Duration::from_millis(1);

type Ended = Result<rpcplugin_testkit::Value, rpcplugin_testkit::Error>;

fn start(client: &Client) -> JoinHandle<Ended> {
    tokio::spawn(client.call("Squawk", json!({})).into_future())
}

/// Waits until this is so. Nothing tells a test of it.
async fn until(holds: impl Fn() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whether it is ready when it is asked once.
async fn is_ready<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

/// Each call on a connection of its own, so that each can be cut by itself.
#[tokio::test]
async fn of_five_calls_that_are_held_exactly_the_released_are_cut() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let cut = server.inject(Fault::cut().method("Squawk").held());
        let mut calls = Vec::new();
        for n in 1..=5 {
            let client = client(&server).await;
            calls.push((start(&client), client));
            within(cut.wait_for_hits(n)).await;
        }
        assert_eq!(
            (cut.held(), cut.active(), cut.hits()),
            (5, 5, 5),
            "{wire:?}"
        );
        assert_eq!(server.journal().in_flight().len(), 5);
        for released in 1..=2 {
            cut.release(1);
            until(|| calls.iter().filter(|(call, _)| call.is_finished()).count() == released).await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert_eq!(
                calls.iter().filter(|(call, _)| call.is_finished()).count(),
                released
            );
            assert_eq!(cut.held(), 5 - released);
        }
        // What is held when it is taken away goes on as if it had not been.
        cut.remove();
        let mut ends = Vec::new();
        for (call, client) in calls {
            let ended = within(call).await.unwrap();
            ends.push(ended.map(drop).map_err(|error| error.code()));
            drop(client);
        }
        let lost = Err(Some(Code::Unavailable));
        assert_eq!(ends, [lost, lost, Ok(()), Ok(()), Ok(())], "{wire:?}");
        let mut outcomes: Vec<_> = server
            .calls()
            .iter()
            .map(|call| call.outcome().unwrap())
            .collect();
        outcomes.sort_by_key(|outcome| *outcome == Outcome::Ok);
        let (lost, ok) = (Outcome::Dropped, Outcome::Ok);
        assert_eq!(outcomes, [lost, lost, ok, ok, ok]);
        alone(&server).await;
        assert_eq!((cut.held(), cut.active(), cut.hits()), (0, 0, 5));
    }
}

fn holding() -> [(&'static str, fn() -> Fault); 6] {
    [
        ("hold", || Fault::hold().method("Squawk")),
        ("hold, held", || Fault::hold().method("Squawk").held()),
        ("delay", || Fault::delay(Duration::MAX).method("Squawk")),
        ("cut, held", || Fault::cut().method("Squawk").held()),
        ("status, held", || {
            Fault::status(Status::not_found("")).method("Squawk").held()
        }),
        ("reset, held", || {
            Fault::reset(Reason::CANCEL)
                .after_messages(1)
                .method("Squawk")
                .held()
        }),
    ]
}

#[tokio::test]
async fn a_client_that_gives_up_is_let_go() {
    for wire in Wire::all() {
        for (name, fault) in holding() {
            let server = wire.start().await;
            let caller = client(&server).await;
            let fault = server.inject(fault());
            let call = start(&caller);
            within(fault.hit()).await;
            assert_eq!(fault.active(), 1, "{name}");
            call.abort();
            let recorded = server.calls_to("Squawk").pop().unwrap();
            assert_eq!(
                within(recorded.ended()).await,
                Outcome::Cancelled,
                "{wire:?} {name}"
            );
            assert_eq!(recorded.faults().len(), 1);
            until(|| fault.active() == 0 && fault.held() == 0).await;
            fault.remove();
            squawk(&caller).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_released_once_goes_on() {
    for (name, fault) in &holding()[..2] {
        let server = Wire::all()[0].start().await;
        let caller = client(&server).await;
        let fault = server.inject(fault());
        let calls = [start(&caller), start(&caller)];
        within(fault.wait_for_hits(2)).await;
        until(|| fault.held() == 2).await;
        fault.release(1);
        until(|| calls.iter().filter(|call| call.is_finished()).count() == 1).await;
        assert_eq!(fault.held(), 1, "{name}");
        fault.open();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        squawk(&caller).await.unwrap();
        assert_eq!((fault.hits(), fault.held(), fault.active()), (3, 0, 0));
    }
}

/// {how the server ends} × {what holds its calls}: nobody hangs, and no task is left.
#[tokio::test]
async fn a_server_ends_while_calls_are_held() {
    let tasks = Handle::current().metrics().num_alive_tasks();
    for wire in Wire::all() {
        for (name, fault) in holding() {
            for way in ["kill", "shutdown", "drop"] {
                let server = wire.start().await;
                let caller = client(&server).await;
                let fault = server.inject(fault());
                let calls = [start(&caller), start(&caller)];
                within(fault.wait_for_hits(2)).await;
                match way {
                    "kill" => within(server.kill().into_future()).await,
                    "shutdown" => within(server.shutdown(MS)).await,
                    _ => {}
                }
                let record = server.journal();
                if way != "drop" {
                    assert_eq!(
                        (fault.active(), fault.held()),
                        (0, 0),
                        "{wire:?} {name} {way}"
                    );
                }
                drop(server);
                for call in calls {
                    let error = within(call).await.unwrap().unwrap_err();
                    assert_eq!(
                        error.code(),
                        Some(Code::Unavailable),
                        "{wire:?} {name} {way}"
                    );
                }
                drop(caller);
                until(|| Handle::current().metrics().num_alive_tasks() <= tasks).await;
                assert_eq!(
                    (fault.active(), fault.held()),
                    (0, 0),
                    "{wire:?} {name} {way}"
                );
                let outcomes: Vec<_> = record
                    .to("Squawk")
                    .calls()
                    .iter()
                    .map(rpcplugin_testkit::Call::outcome)
                    .collect();
                assert_eq!(
                    outcomes,
                    [Some(Outcome::Dropped); 2],
                    "{wire:?} {name} {way}"
                );
                // They have nothing to take away any more.
                fault.release(1);
                fault.remove();
            }
        }
    }
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

/// The text that it panics with, without the line.
fn without_line(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast::<String>().expect("text");
    let mut told = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("tests/it/faults_barriers.rs:") {
        told = told + before + "HERE";
        rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ':');
    }
    told + rest
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
            without_line(panic),
            format!("waited 3s at HERE for {told} of Fault::reset(CANCEL) (HERE), and 1 came")
        );
    }
    let none = server.inject(Fault::hold().method("Get"));
    let waiting = tokio::spawn(async move { none.wait_for_hits(1).await });
    let panic = waiting.await.unwrap_err().into_panic();
    let told = "waited 3s at HERE for 1 hit of Fault::hold (HERE), and 0 came";
    assert_eq!(without_line(panic), told);
}

#[tokio::test]
async fn expected_hits_are_verified() {
    let cases: [(fn(Fault) -> Fault, u32, Option<&str>); 7] = [
        (|fault| fault.times(2), 2, None),
        (
            |fault| fault.times(1),
            0,
            Some("expected exactly 1 hit and got 0"),
        ),
        (
            |fault| fault.times(1),
            2,
            Some("expected exactly 1 hit and got 2"),
        ),
        (
            |fault| fault.times(0),
            1,
            Some("expected no hits and got 1"),
        ),
        (
            |fault| fault.times(1..),
            0,
            Some("expected at least 1 hit and got 0"),
        ),
        (
            |fault| fault.times(1..=2),
            3,
            Some("expected 1 to 2 hits and got 3"),
        ),
        (|fault| fault, 3, None),
    ];
    for (number, (fault, calls, told)) in cases.into_iter().enumerate() {
        let told = told.map(|told| format!("Fault::hold (HERE) {told}"));
        for way in ["verify", "drop", "scoped", "removed"] {
            let builder = MockServer::builder().memory();
            let server = builder.start().await;
            server.mount(Stub::any().reply(json!({})).times(0..));
            let fault = fault(Fault::hold().method("Get"));
            let scoped =
                (way == "scoped").then(|| server.inject_scoped(Fault::hold().method("Other")));
            drop(scoped);
            let client = server.client().await;
            let call = async || {
                for _ in 0..calls {
                    within(client.call("Get", json!({})).into_future())
                        .await
                        .unwrap();
                }
            };
            let problem = match way {
                "scoped" => {
                    let fault = server.inject_scoped(fault);
                    fault.open();
                    call().await;
                    catch_unwind(AssertUnwindSafe(|| drop(fault)))
                        .err()
                        .map(without_line)
                }
                _ => {
                    let fault = server.inject(fault);
                    fault.open();
                    call().await;
                    if way == "removed" {
                        fault.remove();
                    }
                    None
                }
            };
            match way {
                "verify" => {
                    let report = within(server.verify()).await.err();
                    let problems = report.map(|report| report.problems().to_vec());
                    let problems: Vec<_> = problems
                        .into_iter()
                        .flatten()
                        .map(|text| without_line(Box::new(text)))
                        .collect();
                    assert_eq!(problems, Vec::from_iter(told.clone()), "{number}");
                }
                "drop" => {
                    let dropped = catch_unwind(AssertUnwindSafe(|| drop(server)));
                    let text = dropped.err().map(without_line);
                    assert_eq!(text.is_some(), told.is_some(), "{number}");
                    if let (Some(text), Some(told)) = (text, &told) {
                        assert!(text.contains(&format!("\n1. {told}\n")), "{text}");
                    }
                }
                "scoped" => {
                    assert_eq!(problem, told, "{number}");
                    // It is not verified again.
                    within(server.verify()).await.unwrap();
                }
                _ => within(server.verify()).await.unwrap(),
            }
        }
    }
}

#[tokio::test]
async fn a_scoped_fault_is_undone_when_it_drops() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let caller = client(&server).await;
        squawk(&caller).await.unwrap();
        for fault in [
            Fault::hold().method("Squawk"),
            Fault::stall(),
            Fault::silence(),
            Fault::refuse(),
        ] {
            let name = format!("{fault:?}");
            let scoped = server.inject_scoped(fault);
            let call = start(&caller);
            let dialling = tokio::spawn(crate::faults_probe::dialling(&server).connect());
            within(scoped.wait_for_hits(1)).await;
            drop(scoped);
            within(call).await.unwrap().unwrap();
            let dialled = within(dialling).await.unwrap();
            assert!(
                dialled.is_ok() || name.contains("refuse"),
                "{wire:?} {name}"
            );
            squawk(&client(&server).await).await.unwrap();
        }
    }
}

/// Which of so many calls are hit, and by what.
async fn draws(server: MockServer, calls: usize) -> Vec<(bool, bool)> {
    server.mount(Stub::any().reply(json!({})).times(0..));
    let late = server.inject(Fault::delay(MS).method("Get").probability(0.2));
    let bad = server.inject(
        Fault::status(Status::unavailable(""))
            .method("Get")
            .probability(0.05),
    );
    let client = server.client().await;
    let mut hits = Vec::with_capacity(calls);
    let mut before = (0, 0);
    for _ in 0..calls {
        let _ = client.call("Get", json!({})).await;
        let after = (late.hits(), bad.hits());
        hits.push((after.0 > before.0, after.1 > before.1));
        before = after;
    }
    hits
}

#[tokio::test(start_paused = true)]
async fn dice_are_independent_and_repeat_with_the_seed() {
    let server = |seed| {
        MockServer::builder()
            .memory()
            .seed(seed)
            .journal_limit(1 << 20)
            .start()
    };
    let draw = draws(server(1).await, 10_000).await;
    let count = |hit: fn(&(bool, bool)) -> bool| draw.iter().filter(|draw| hit(draw)).count();
    let (late, bad) = (count(|draw| draw.0), count(|draw| draw.1));
    let either = count(|draw| draw.0 || draw.1);
    // Six standard deviations, of a draw that is always the same.
    assert!(late.abs_diff(2000) < 240, "{late}");
    assert!(bad.abs_diff(500) < 131, "{bad}");
    // A call that is answered by the status is not delayed as well if that comes first: 20 % of the rest, and 5 %.
    assert!(either.abs_diff(2400) < 256, "{either}");
    assert_eq!(draws(server(1).await, 500).await, draw[..500]);
    assert_ne!(draws(server(2).await, 500).await, draw[..500]);
}

/// The dice that decide are not disturbed by delays that are drawn when their time comes.
#[tokio::test(start_paused = true)]
async fn which_calls_are_hit_does_not_depend_on_when_they_come() {
    let mut drawn = Vec::new();
    for at_once in [1, 10] {
        let server = MockServer::builder().memory().seed(5).start().await;
        server.mount(Stub::any().reply(json!({})).times(0..));
        let jitter = Delay::uniform(MS..=100 * MS);
        server.inject(Fault::delay(jitter).after_messages(1).probability(0.5));
        let client = server.client().await;
        let mut hits = Vec::new();
        for _ in 0..100 / at_once {
            let calls: Vec<_> = (0..at_once)
                .map(|_| tokio::spawn(client.call("Get", json!({})).into_future()))
                .collect();
            for call in calls {
                call.await.unwrap().unwrap();
            }
        }
        for call in server.calls() {
            hits.push(call.faults().len());
        }
        drawn.push(hits);
    }
    assert_eq!(drawn[0], drawn[1]);
    assert!(drawn[0].contains(&0) && drawn[0].contains(&1));
}

#[tokio::test]
async fn the_seed_is_in_the_report_of_whoever_drew() {
    for (random, fault) in [
        (true, Fault::hold().method("Get").probability(0.5).times(1)),
        (
            true,
            Fault::latency(Delay::uniform(MS..=2 * MS))
                .connection(9)
                .times(1),
        ),
        (false, Fault::hold().method("Get").times(1)),
    ] {
        let server = MockServer::builder().memory().seed(42).start().await;
        server.inject(fault);
        let report = within(server.verify()).await.unwrap_err().to_string();
        let told =
            "\ndelays and faults were drawn from a seed: RPCPLUGIN_TESTKIT_SEED=42 repeats them";
        assert_eq!(report.ends_with(told), random, "{report}");
    }
}

#[test]
fn the_seed_of_the_environment_repeats_the_draw() {
    let seed = std::path::Path::new("77");
    crate::process::alone(
        "faults_barriers::draw_with_77",
        &[("RPCPLUGIN_TESTKIT_SEED", seed)],
    );
}

#[tokio::test(start_paused = true)]
#[ignore = "run by the test above, in a process of its own"]
async fn draw_with_77() {
    let said = MockServer::builder().memory().seed(77).start().await;
    let expected = draws(said, 300).await;
    assert_eq!(draws(MockServer::memory().await, 300).await, expected);
}

#[tokio::test]
async fn faulted_calls_are_told_in_the_journal() {
    let server = MockServer::builder().memory().start().await;
    server.mount(Stub::any().reply(json!({"n": 1})).times(0..));
    let client = server.client().await;
    let cases: [(fn() -> Fault, &str); 6] = [
        (
            || Fault::reset(Reason::CANCEL),
            "broken off by a fault · Fault::reset(CANCEL) (HERE)",
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
            || Fault::missing_status(),
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
        let line = without_line(Box::new(call.to_string()));
        assert_eq!(line.split_once(" → ").unwrap().1, told);
        let label = without_line(Box::new(call.faults().join(" · ")));
        assert!(told.ends_with(&format!(" · {label}")), "{label}");
    }
    let two = [Fault::delay(MS), Fault::delay(MS)].map(|fault| server.inject(fault));
    client.call("Get", json!({})).await.unwrap();
    let line = without_line(Box::new(server.calls().pop().unwrap().to_string()));
    let told = "OK {\"n\":1} · Fault::delay (HERE) · Fault::delay (HERE)";
    assert_eq!(line.split_once(" → ").unwrap().1, told);
    assert_eq!(two.map(|fault| fault.hits()), [1, 1]);
}

/// A thousand connections, each delayed, sliced, flipped or cut: when they are gone nothing is left of them.
#[tokio::test]
async fn nothing_is_left_of_a_thousand_connections() {
    let tasks = Handle::current().metrics().num_alive_tasks();
    for transport in Transport::ALL {
        let server = transport.start().await;
        server.mount(Stub::any().reply(json!({})).times(0..));
        let faults = [
            Fault::latency(Duration::ZERO),
            Fault::slices(64, Duration::ZERO).connection(..500),
            Fault::flip_bytes(1).after_bytes(100).connection(100..200),
            Fault::cut().after_bytes(120).connection(200..300),
            Fault::pings(2).method("Get").nth_call_on_connection(1),
            Fault::slow_accept(Duration::ZERO),
        ]
        .map(|fault| server.inject(fault));
        for _ in 0..350 {
            if let Ok(client) = within(Client::connect(server.address())).await {
                let _ = within(client.call("Get", json!({})).into_future()).await;
            }
        }
        alone(&server).await;
        assert_eq!(
            faults.each_ref().map(|fault| fault.active()),
            [0; 6],
            "{transport:?}"
        );
        assert!(faults[0].hits() >= 350);
        drop(server);
        until(|| Handle::current().metrics().num_alive_tasks() <= tasks).await;
    }
}
