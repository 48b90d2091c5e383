use crate::client::health_policy::{HealthPolicy, Verdict};
use crate::client::monitor::harness::{
    Answer, Asked, Observed, Server, Step, ended, observe, refused, said,
};
use crate::wire::status;
use std::time::Duration;
use tonic::Code;

const SERVING: &str = "serving: its health service says SERVING";
const WATCH_LATE: &str = "not serving: no answer to Health/Watch within 3s";
const CHECK_LATE: &str = "not serving: no answer to Health/Check within 3s";
const NO_SERVICE: &str = "serving: it has no health service";

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn policy() -> HealthPolicy {
    HealthPolicy::new().service("plugin")
}

/// Whatever a server can answer to either method, and what that makes of it; `None` when it does not serve the method.
fn answers(method: &str) -> Vec<(Answer, Option<String>)> {
    let no = |why: &str| Some(format!("not serving: {why}"));
    let says = |what: &str| no(&format!("its health service says {what}"));
    let failed = |what: &str| no(&format!("Health/{method} failed: {what}"));
    let stranger = no("its health service does not know the service `plugin`");
    let late = no(&format!("no answer to Health/{method} within 3s"));
    let mut answers = vec![
        (said(0), says("UNKNOWN")),
        (said(1), Some(SERVING.to_owned())),
        (said(2), says("NOT_SERVING")),
        (said(3), stranger),
        (said(17), says("17, which is no status")),
        (said(-1), says("-1, which is no status")),
        (Answer::Silence, late.clone()),
        (Answer::Body(vec![Step::Hang]), late),
        (Answer::Body(vec![Step::Lost]), failed("UNAVAILABLE: gone")),
    ];
    for code in (1..=16).map(Code::from_i32) {
        let made = match code {
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => None,
            code => failed(&format!("{}: why", status::name(code))),
        };
        answers.push((refused(code), made.clone()));
        answers.push((ended(code), made));
    }
    answers
}

fn watch_answers() -> Vec<(Answer, Option<String>)> {
    let mut answers = answers("Watch");
    let over = "not serving: Health/Watch ended with OK".to_owned();
    answers.push((ended(Code::Ok), Some(over.clone())));
    answers.push((refused(Code::Ok), Some(over)));
    answers
}

fn check_answers() -> Vec<(Answer, Option<String>)> {
    let mut answers = answers("Check");
    let stranger = "not serving: its health service does not know the service `plugin`";
    for (answer, made) in &mut answers {
        if [refused(Code::NotFound), ended(Code::NotFound)].contains(answer) {
            *made = Some(stranger.to_owned());
        }
    }
    // The transport, at the same instant.
    let late = Answer::Body(vec![Step::Wait(secs(3)), Step::End(Code::DeadlineExceeded)]);
    answers.push((late, Some(CHECK_LATE.to_owned())));
    let missing = "not serving: Health/Check failed: INTERNAL: Missing response message.";
    answers.push((ended(Code::Ok), Some(missing.to_owned())));
    answers.push((refused(Code::Ok), Some(missing.to_owned())));
    answers
}

#[tokio::test(start_paused = true)]
async fn every_answer_to_watch_and_to_check_makes_its_verdict() {
    for (watch, by_watch) in watch_answers() {
        for (check, by_check) in check_answers() {
            let case = format!("{watch:?} to Watch and {check:?} to Check");
            let expected = match (&by_watch, &by_check) {
                (Some(made), _) | (None, Some(made)) => made,
                (None, None) => NO_SERVICE,
            };
            let server = Server::answering(watch.clone(), check.clone());
            let Observed { told, ended } = observe(&server, &policy(), 0.5, secs(4)).await;
            let texts: Vec<_> = told.iter().map(|(_, text)| text.as_str()).collect();
            // A watch that failed is over, and the verdict stays until it is open again.
            assert_eq!(texts.last(), Some(&expected), "{case}: {told:?}");
            assert!(texts.len() == 1, "{case}: {told:?}");
            assert_eq!(ended, by_watch.is_none() && by_check.is_none(), "{case}");
            let checks = server
                .asked()
                .iter()
                .filter(|asked| asked.method == "Check")
                .count();
            assert_eq!(checks, usize::from(by_watch.is_none()), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_has_a_deadline_and_a_watch_has_none_and_both_name_the_service() {
    for service in ["", "plugin"] {
        let server = Server::answering(refused(Code::Unimplemented), said(3));
        let policy = policy().service(service);
        let Observed { told, .. } = observe(&server, &policy, 0.5, secs(1)).await;
        let asked = |method: &str, timeout: Option<&str>| Asked {
            at: 0,
            method: method.to_owned(),
            service: service.to_owned(),
            header: timeout.map(str::to_owned),
            deadline: timeout.map(|_| 3000),
        };
        let expected = [asked("Watch", None), asked("Check", Some("3000m"))];
        assert_eq!(server.asked(), expected);
        let name = match service {
            "" => "the server as a whole (\"\")",
            _ => "the service `plugin`",
        };
        let text = format!("not serving: its health service does not know {name}");
        assert_eq!(told, [(0, text)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_changes_and_nothing_twice() {
    let wait = || Step::Wait(secs(100));
    let steps = [1, 1, 2, 2, 3, 1].map(|status| [Step::Says(status), wait()]);
    let steps = steps.into_iter().flatten().chain([Step::Hang]).collect();
    let server = Server::answering(Answer::Body(steps), said(1));
    let Observed { told, .. } = observe(&server, &policy(), 0.5, secs(3600)).await;
    let expected = [
        (0, SERVING),
        (200_000, "not serving: its health service says NOT_SERVING"),
        (
            400_000,
            "not serving: its health service does not know the service `plugin`",
        ),
        (500_000, SERVING),
    ];
    assert_eq!(told, expected.map(|(at, text)| (at, text.to_owned())));
    // However long it is silent after its first message: that is what keepalive is for.
    assert_eq!(server.times("Watch"), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_opened_again_with_the_backoff_of_connections() {
    for (dice, factor) in [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)] {
        let server = Server::answering(refused(Code::Unavailable), said(1));
        let Observed { told, .. } = observe(&server, &policy(), dice, secs(3000)).await;
        let text = "not serving: Health/Watch failed: UNAVAILABLE: why";
        assert_eq!(told, [(0, text.to_owned())]);
        let times = server.times("Watch");
        let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let unjittered = (0..).map(|n| (1000.0 * 1.6_f64.powi(n)).min(120_000.0));
        assert!(waits.len() > 20, "{waits:?}");
        for (wait, expected) in waits.iter().zip(unjittered) {
            let expected = expected * factor;
            assert!((f64::from(*wait) - expected).abs() <= 2.0, "{waits:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_resets_the_backoff_which_counts_from_the_opening_of_the_stream() {
    let server = Server::new(|method, nth| match (method, nth) {
        ("Watch", 3) => Answer::Body(vec![Step::Says(1), Step::End(Code::Ok)]),
        // It lasts longer than any wait.
        ("Watch", 4) => Answer::Body(vec![
            Step::Says(1),
            Step::Wait(secs(200)),
            Step::End(Code::Ok),
        ]),
        ("Watch", 5) => said(1),
        _ => refused(Code::Internal),
    });
    let Observed { told, .. } = observe(&server, &policy(), 0.5, secs(3600)).await;
    assert_eq!(server.times("Watch"), [0, 1000, 2600, 5160, 6160, 206_160]);
    let over = "not serving: Health/Watch ended with OK";
    let expected = [
        (0, "not serving: Health/Watch failed: INTERNAL: why"),
        (5160, SERVING),
        (5160, over),
        (6160, SERVING),
        (206_160, over),
        (206_160, SERVING),
    ];
    assert_eq!(told, expected.map(|(at, text)| (at, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_first_message_in_time_is_given_up_and_opened_again() {
    for silence in [Answer::Silence, Answer::Body(vec![Step::Hang])] {
        let server = Server::new(move |_, nth| match nth {
            0..=2 => silence.clone(),
            _ => said(1),
        });
        let Observed { told, .. } = observe(&server, &policy(), 0.5, secs(60)).await;
        // The wait counts from the opening, and it is over by then.
        assert_eq!(server.times("Watch"), [0, 3000, 6000, 9000]);
        let expected = [(3000, WATCH_LATE), (9000, SERVING)];
        assert_eq!(told, expected.map(|(at, text)| (at, text.to_owned())));
        assert_eq!(server.most_at_once(), 1, "the one given up was reset");
    }
}

#[tokio::test(start_paused = true)]
async fn polls_are_an_interval_apart_from_start_to_start() {
    for (dice, interval) in [(0.0, 9000), (0.5, 10_000), (1.0, 11_000)] {
        for (answer, made) in [
            (said(1), (0, SERVING)),
            (Answer::Silence, (3000, CHECK_LATE)),
        ] {
            let server = Server::answering(refused(Code::Unimplemented), answer);
            let Observed { told, .. } = observe(&server, &policy(), dice, secs(50)).await;
            assert_eq!(told, [(made.0, made.1.to_owned())]);
            let expected = (0..5).map(|nth| nth * interval).collect::<Vec<_>>();
            assert_eq!(server.times("Check")[..5], expected);
            assert_eq!(server.times("Watch"), [0], "it is not asked for twice");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_takes_longer_than_the_interval_is_followed_at_once() {
    let server = Server::answering(refused(Code::Unimplemented), Answer::Silence);
    let policy = policy().interval(secs(1));
    observe(&server, &policy, 0.5, secs(10)).await;
    assert_eq!(server.times("Check"), [0, 3000, 6000, 9000]);
    assert_eq!(server.most_at_once(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_lost_poll_changes_nothing_and_two_in_a_row_do() {
    let series = [said(1), said(2), said(1), Answer::Silence, said(2), said(1)];
    let server = Server::new(move |method, nth| match method {
        "Watch" => refused(Code::Unimplemented),
        _ => series[nth.min(5)].clone(),
    });
    let Observed { told, .. } = observe(&server, &policy(), 0.5, secs(90)).await;
    let expected = [
        (0, SERVING),
        (40_000, "not serving: its health service says NOT_SERVING"),
        (50_000, SERVING),
    ];
    assert_eq!(told, expected.map(|(at, text)| (at, text.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_no_longer_served_is_not_asked_for_again() {
    let server = Server::new(|method, nth| match (method, nth) {
        ("Watch", 0) => Answer::Body(vec![Step::Says(2), Step::End(Code::Unimplemented)]),
        ("Check", 0) => said(1),
        _ => refused(Code::Unimplemented),
    });
    let Observed { told, ended } = observe(&server, &policy(), 0.5, secs(60)).await;
    let not_serving = "not serving: its health service says NOT_SERVING";
    let expected = [(0, not_serving), (0, SERVING), (10_000, NO_SERVICE)];
    assert_eq!(told, expected.map(|(at, text)| (at, text.to_owned())));
    assert!(ended);
    assert_eq!(server.times("Watch"), [0]);
    assert_eq!(server.times("Check"), [0, 10_000]);
}

#[tokio::test(start_paused = true)]
#[tracing_test::traced_test]
async fn a_server_without_a_health_service_is_warned_of_once() {
    let server = Server::answering(refused(Code::Unimplemented), refused(Code::Unimplemented));
    observe(&server, &policy(), 0.5, secs(60)).await;
    logs_assert(|lines: &[&str]| {
        let text = "the server has no health service, so it counts as serving service=\"plugin\"";
        let count = lines.iter().filter(|line| line.contains(text)).count();
        let warned = count == 1 && lines.iter().any(|line| line.contains("WARN"));
        warned.then_some(()).ok_or_else(|| format!("{lines:#?}"))
    });
}

#[tokio::test(start_paused = true)]
async fn policies_at_their_limits_neither_panic_nor_spin() {
    let times = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];
    for (interval, timeout) in times
        .iter()
        .flat_map(|a| times.iter().map(move |b| (*a, *b)))
    {
        let policy = policy().interval(interval).timeout(timeout);
        for watch in [refused(Code::Unimplemented), Answer::Silence] {
            let server = Server::answering(watch, said(1));
            observe(&server, &policy, 1.0, Duration::from_millis(20)).await;
            let asked = server.asked().len();
            assert!((1..=22).contains(&asked), "{policy:?}: {asked}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_messages_are_no_answer_and_no_panic() {
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    for _ in 0..300 {
        let mut bytes: Vec<u8> = (0..dice.usize(..12)).map(|_| dice.u8(..)).collect();
        // Half of them look like one message.
        if dice.bool() {
            let length = u8::try_from(bytes.len()).unwrap();
            bytes.splice(0..0, [0, 0, 0, 0, length]);
        }
        let garbage = Answer::Body(vec![Step::Bytes(bytes), Step::End(Code::Ok)]);
        let watched = Server::answering(garbage.clone(), said(1));
        let polled = Server::answering(refused(Code::Unimplemented), garbage);
        for server in [watched, polled] {
            let Observed { told, ended } = observe(&server, &policy(), 0.5, secs(4)).await;
            assert!(!told.is_empty() && !ended, "seed {seed}: {told:?}");
        }
    }
}

#[test]
fn before_the_first_verdict_there_is_one_to_start_with() {
    let text = "its health service has not answered yet";
    assert_eq!(Verdict::default().why, text);
}
