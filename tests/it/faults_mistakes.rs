//! Faults that cannot be meant are told when they are injected, word for word.

use crate::faults_probe::{client, panic_text, squawk};
use crate::faults_when::{down, wire};
use crate::support::Transport;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::matchers::json_subset;
use rpcplugin_testkit::{Call, Fault, MockServer, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// The text that injecting panics with.
fn panic_of(server: &MockServer, fault: Fault) -> String {
    let injected = catch_unwind(AssertUnwindSafe(|| drop(server.inject(fault))));
    panic_text(injected.expect_err("it panics"))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn mistakes_are_told_word_for_word() {
    const CALLS: &str =
        "it happens before any call comes and any byte passes, so it has no condition about those";
    const REFUSED: &str = "a dial is refused before the server knows anything of it, so it has no condition; use \
        `Fault::close_on_accept` for some connections and not for others";
    const ONE: &str = "it is after so many messages and after so many bytes: say one";
    const TLS: &str = "the server speaks no TLS: build it with `.tls(..)` or `.mtls()`";
    const NONE: &str = "it is not about a message, and so after none";
    const FRAMES: &str = "it is about all frames of an answer, and so after nothing";
    const HELD: &str = "it is about all frames of an answer, and so has no moment to be held at";
    const WAY: &str = "only a fault of the byte stream has a direction";
    let cases: Vec<(Fault, &str, &str)> = vec![
        (
            down().after_messages(1).after_bytes(1),
            "status(UNAVAILABLE)",
            ONE,
        ),
        (Fault::cut().after_messages(1).after_bytes(1), "cut", ONE),
        (
            down().nth_call(1).nth_call_on_connection(1),
            "status(UNAVAILABLE)",
            "it counts calls in two ways: say one",
        ),
        (Fault::refuse().method("Squawk"), "refuse", REFUSED),
        (Fault::refuse().connection(1), "refuse", REFUSED),
        (Fault::refuse().at_most(1), "refuse", REFUSED),
        (Fault::refuse().probability(0.5), "refuse", REFUSED),
        (Fault::refuse().held(), "refuse", REFUSED),
        (Fault::refuse().after_bytes(1), "refuse", REFUSED),
        (
            Fault::close_on_accept().method("Squawk"),
            "close_on_accept",
            CALLS,
        ),
        (Fault::silence().nth_call(1), "silence", CALLS),
        (
            Fault::slow_accept(MS).after_messages(0),
            "slow_accept",
            CALLS,
        ),
        (
            Fault::max_connections(1).after_bytes(0),
            "max_connections",
            CALLS,
        ),
        (
            Fault::tls_failure().when(|_: &Call| true),
            "tls_failure",
            CALLS,
        ),
        (Fault::tls_failure(), "tls_failure", TLS),
        (Fault::tls_stall(), "tls_stall", TLS),
        (
            Fault::http_status(503).after_messages(1),
            "http_status(503)",
            NONE,
        ),
        (
            Fault::content_type("x").after_bytes(1),
            "content_type",
            NONE,
        ),
        (
            Fault::missing_status().after_messages(1),
            "missing_status",
            NONE,
        ),
        (
            Fault::no_message().after_bytes(1),
            "no_message",
            "it is about a message: use `after_messages`",
        ),
        (Fault::padding(1).after_messages(1), "padding", FRAMES),
        (Fault::frame_size(1).after_bytes(1), "frame_size", FRAMES),
        (Fault::padding(1).held(), "padding", HELD),
        (Fault::delay(MS).incoming(), "delay", WAY),
        (Fault::pings(1).outgoing(), "pings", WAY),
        (
            down().method("Say"),
            "status(UNAVAILABLE)",
            "`Say` is ambiguous: it could be echo.v1.Echo/Say, echo.v1.Parrot/Say",
        ),
        (
            down().method("Echo.Shout"),
            "status(UNAVAILABLE)",
            "unknown method `Echo.Shout`: known are echo.v1.Echo/Chat, echo.v1.Echo/Join, echo.v1.Echo/Say, echo.v1.Echo/Split, \
             echo.v1.Parrot/Say, echo.v1.Parrot/Squawk",
        ),
        (
            down()
                .method("Squawk")
                .when(json_subset(json!({"massage": "hi"}))),
            "status(UNAVAILABLE)",
            "fields of the request as JSON (HERE) can match no call of echo.v1.Parrot/Squawk: the JSON does not fit \
             echo.v1.EchoRequest: unrecognized field name 'massage'",
        ),
    ];
    let server = wire(Transport::Memory).start().await;
    for (fault, name, expected) in cases {
        let text = panic_of(&server, fault);
        let expected = format!("cannot inject Fault::{name}: {expected}");
        assert_eq!(text, expected);
    }
    // None of them was injected.
    squawk(&client(&server).await).await.unwrap();
}

#[test]
fn a_probability_is_from_0_to_1() {
    for (wrong, told) in [(-0.1, "-0.1"), (1.5, "1.5"), (f64::NAN, "NaN")] {
        let panic = catch_unwind(|| drop(down().probability(wrong))).unwrap_err();
        let text = panic.downcast::<String>().unwrap();
        assert_eq!(
            *text,
            format!("a probability is from 0 to 1, and {told} is not")
        );
    }
}
