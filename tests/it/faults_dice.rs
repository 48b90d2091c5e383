//! Faults that happen with a probability, or take a time that is drawn.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Delay, Fault, MockServer, Status, Stub, json};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

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
        "faults_dice::draw_with_77",
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
