//! When faults happen: conditions, counts, order, and mistakes that are told.

use crate::faults_probe::{Wire, client, mount, squawk};
use crate::services::Real;
use crate::support::{Transport, echo, echo_schema, within};
use echo::echo_server::EchoServer;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::matchers::{field, json_subset, metadata, some_message};
use rpcplugin_testkit::{
    Auth, Call, Client, Code, Fault, MockServer, Outcome, Reason, Status, Stub, json,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tonic::{Request, metadata::MetadataValue};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const MS: Duration = Duration::from_millis(1);

fn wire(transport: Transport) -> Wire {
    Wire {
        transport,
        secure: false,
    }
}

fn down() -> Fault {
    Fault::status(Status::unavailable("down"))
}

/// A schemaless mock that answers everything, and how a call of it ends.
async fn any_mock() -> MockServer {
    let server = MockServer::builder().memory().seed(7).start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    server
}

async fn hit(client: &Client, method: &str) -> bool {
    let call = client.call(method, json!({})).into_future();
    match within(call).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(
                (error.code(), error.status().map(Status::message)),
                (Some(Code::Unavailable), Some("down"))
            );
            true
        }
    }
}

/// Which of these ways to write a method name mean which calls, with a schema and without one.
#[tokio::test]
async fn a_method_is_named_as_stubs_name_it() {
    let calls = [
        "/echo.v1.Echo/Say",
        "/echo.v1.Parrot/Say",
        "/echo.v1.Parrot/Squawk",
        "/grpc.health.v1.Health/Check",
    ];
    let with_schema: [(&str, [bool; 4]); 8] = [
        ("Squawk", [false, false, true, false]),
        ("Echo.Say", [true, false, false, false]),
        ("echo.v1.Parrot.Say", [false, true, false, false]),
        ("echo.v1.Echo/Say", [true, false, false, false]),
        ("/echo.v1.Echo/Say", [true, false, false, false]),
        ("grpc.health.v1.Health/Check", [false, false, false, true]),
        ("Health/Check", [false, false, false, true]),
        ("grpc.health.v1.Health/Watch", [false; 4]),
    ];
    let server = MockServer::builder()
        .memory()
        .schema(echo_schema())
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let client = server.client().await;
    for (written, expected) in with_schema {
        let fault = server.inject(down().method(written));
        for (path, expected) in calls.into_iter().zip(expected) {
            let before = fault.hits();
            let method: http::uri::PathAndQuery = path.parse().unwrap();
            let mut grpc = tonic::client::Grpc::new(client.clone());
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<(), ()>::default();
            let called = within(grpc.unary(Request::new(()), method, codec)).await;
            let hit = called.is_err_and(|status| status.message() == "down");
            assert_eq!(
                (hit, fault.hits() - before == 1),
                (expected, expected),
                "{written} {path}"
            );
        }
        fault.remove();
    }

    // Without a schema a method is whoever's it is, also one that the health service has too.
    let server = any_mock().await;
    let client = server.client().await;
    for written in ["Watch", "Check", "Get", "Service.Get"] {
        let fault = server.inject(down().method(written));
        for called in ["Watch", "Check", "Get", "Service.Get", "Other"] {
            let expected = called == written || (called, written) == ("Service.Get", "Get");
            assert_eq!(hit(&client, called).await, expected, "{written} {called}");
        }
        fault.remove();
    }
    let hold = server.inject(down().method("grpc.health.v1.Health/Check"));
    within(client.health_check()).await.unwrap_err();
    assert!(!hit(&client, "Check").await);
    assert_eq!(hold.hits(), 1);
}

/// Which calls of which connection are hit: three calls on the first, then three on the second, then one on the first.
#[tokio::test]
async fn calls_and_connections_are_counted() {
    let cases: [(fn() -> Fault, [u8; 7]); 12] = [
        (down, [1, 1, 1, 1, 1, 1, 1]),
        (|| down().nth_call(1), [1, 0, 0, 0, 0, 0, 0]),
        (|| down().nth_call(5), [0, 0, 0, 0, 1, 0, 0]),
        (|| down().nth_call(2..=4), [0, 1, 1, 1, 0, 0, 0]),
        (|| down().nth_call(6..), [0, 0, 0, 0, 0, 1, 1]),
        (|| down().nth_call_on_connection(2), [0, 1, 0, 0, 1, 0, 0]),
        (|| down().nth_call_on_connection(..3), [1, 1, 0, 1, 1, 0, 0]),
        (|| down().nth_call_on_connection(3..), [0, 0, 1, 0, 0, 1, 1]),
        (|| down().connection(2), [0, 0, 0, 1, 1, 1, 0]),
        (|| down().connection(1).nth_call(4), [0, 0, 0, 0, 0, 0, 1]),
        (|| down().at_most(2), [1, 1, 0, 0, 0, 0, 0]),
        (|| down().nth_call(2..).once(), [0, 1, 0, 0, 0, 0, 0]),
    ];
    for transport in Transport::ALL {
        for (number, (fault, expected)) in cases.iter().enumerate() {
            let server = transport.start().await;
            server.mount(Stub::any().reply(json!({})).times(0..));
            let (one, two) = (server.client().await, server.client().await);
            // Calls of another method are not counted.
            server.inject(Fault::delay(Duration::ZERO));
            let fault = server.inject(fault().method("Get"));
            let mut hits = Vec::new();
            for caller in [&one, &one, &one, &two, &two, &two, &one] {
                assert!(!hit(caller, "Other").await);
                hits.push(u8::from(hit(caller, "Get").await));
            }
            assert_eq!(hits, expected, "{transport:?} {number}");
            let sum: u8 = expected.iter().sum();
            assert_eq!(
                (fault.hits(), fault.active()),
                (u64::from(sum), 0),
                "{number}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_calls_at_once_exactly_so_many_are_hit() {
    for transport in Transport::ALL {
        for n in [0, 1, 17, 100, 200] {
            let server = transport.start().await;
            server.mount(Stub::any().reply(json!({})).times(0..));
            let client = server.client().await;
            let fault = server.inject(down().at_most(n).times(n.min(100)));
            let calls: Vec<_> = (0..100)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move { hit(&client, "Get").await })
                })
                .collect();
            let mut hits = 0;
            for call in calls {
                hits += u64::from(within(call).await.unwrap());
            }
            assert_eq!(
                (hits, fault.hits()),
                (n.min(100), n.min(100)),
                "{transport:?}"
            );
            within(server.verify()).await.unwrap();
        }
    }
}

/// Who decides by a message decides for all four shapes, for stubs and for services behind the mock.
#[tokio::test]
async fn metadata_and_messages_decide_in_all_shapes() {
    for mounted in [false, true] {
        for by_message in [false, true] {
            for transport in Transport::ALL {
                let server = wire(transport).builder().start().await;
                if mounted {
                    server.mount_service(EchoServer::new(Real));
                } else {
                    server.mount(Stub::any().reply(json!({"message": "x"})).times(0..));
                    server.mount(
                        Stub::method("Chat")
                            .reply(crate::support::repeat_what_is_said)
                            .times(0..),
                    );
                }
                let fault = if by_message {
                    down().when(some_message(json!({"message": "blue"})))
                } else {
                    down().when(metadata("x-tenant", "blue"))
                };
                let fault = server.inject(fault);
                let mut client = echo::echo_client::EchoClient::new(client(&server).await);
                for (colour, hits) in [("red", 0), ("blue", 4), ("green", 4)] {
                    let codes = codes(&mut client, colour).await;
                    let code = if colour == "blue" {
                        Code::Unavailable
                    } else {
                        Code::Ok
                    };
                    assert_eq!(
                        codes, [code; 4],
                        "{transport:?} {mounted} {by_message} {colour}"
                    );
                    assert_eq!(fault.hits(), hits);
                }
                let faulted: Vec<_> = server
                    .calls()
                    .iter()
                    .filter(|call| !call.faults().is_empty())
                    .map(Call::outcome)
                    .collect();
                assert_eq!(faulted, [Some(Outcome::Status(Code::Unavailable)); 4]);
                assert!(server.journal().unmatched().is_empty());
            }
        }
    }
}

/// How a call of each shape ends that says this, and has it in its metadata.
async fn codes(client: &mut echo::echo_client::EchoClient<Client>, colour: &str) -> [Code; 4] {
    fn tagged<T>(message: T, colour: &str) -> Request<T> {
        let mut request = Request::new(message);
        let value = MetadataValue::try_from(colour).expect("a value");
        request.metadata_mut().insert("x-tenant", value);
        request
    }
    async fn end<T>(streaming: Result<tonic::Response<tonic::Streaming<T>>, Status>) -> Code {
        let mut stream = match streaming {
            Ok(response) => response.into_inner(),
            Err(status) => return status.code(),
        };
        loop {
            match within(stream.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }
    let said = || crate::judges::request(colour);
    let one = within(client.say(tagged(said(), colour))).await;
    let split = within(client.split(tagged(said(), colour))).await;
    let join = within(client.join(tagged(tokio_stream::iter([said(), said()]), colour))).await;
    let chat = within(client.chat(tagged(tokio_stream::iter([said(), said()]), colour))).await;
    let code =
        |result: Result<(), Status>| result.map_or_else(|status| status.code(), |()| Code::Ok);
    [
        code(one.map(drop)),
        end(split).await,
        code(join.map(drop)),
        end(chat).await,
    ]
}

/// A client that waits for the response before it says anything else is not kept waiting by a matcher.
#[tokio::test]
async fn a_conversation_with_a_service_that_no_schema_knows_is_decided_by_its_first_message() {
    let server = MockServer::memory().await;
    server.mount_service(EchoServer::new(Real));
    let fault = server.inject(down().when(|call: &Call| call.requests().is_empty()));
    let mut client = echo::echo_client::EchoClient::new(server.client().await);
    let (words, spoken) = tokio::sync::mpsc::channel(1);
    let chat = client.chat(tokio_stream::wrappers::ReceiverStream::new(spoken));
    words.send(crate::judges::request("a")).await.unwrap();
    let mut replies = within(chat).await.unwrap().into_inner();
    let reply = within(replies.message()).await.unwrap().unwrap();
    assert_eq!(reply.message, "real a");
    drop(words);
    assert!(within(replies.message()).await.unwrap().is_none());
    assert_eq!(fault.hits(), 0);
}

#[tokio::test]
async fn health_checks_are_hit_by_the_name_of_the_service() {
    for transport in Transport::ALL {
        let server = wire(transport).start().await;
        let held = server.inject(
            Fault::hold()
                .method("grpc.health.v1.Health/Check")
                .when(field("service", "echo.v1.Echo")),
        );
        let client = client(&server).await;
        let check = |service: &str| {
            let mut health = HealthClient::new(client.clone());
            let service = service.to_owned();
            tokio::spawn(async move { health.check(HealthCheckRequest { service }).await })
        };
        let hanging = check("echo.v1.Echo");
        within(held.hit()).await;
        within(check("")).await.unwrap().unwrap();
        within(check("echo.v1.Parrot")).await.unwrap().unwrap();
        squawk(&client).await.unwrap();
        assert!(!hanging.is_finished());
        assert_eq!((held.hits(), held.held(), held.active()), (1, 1, 1));
        held.release(1);
        within(hanging).await.unwrap().unwrap();
        assert_eq!((held.held(), held.active()), (0, 0), "{transport:?}");
        let calls = server.calls_to("grpc.health.v1.Health/Check");
        let told: Vec<_> = calls.iter().map(|call| call.faults().len()).collect();
        assert_eq!(told.iter().sum::<usize>(), 1);
    }
}

/// The first that breaks wins; the others are not hit, and keep their counts; delays add up.
#[tokio::test(start_paused = true)]
async fn several_faults_have_an_order() {
    let server = any_mock().await;
    let client = server.client().await;
    let first = server.inject(Fault::status(Status::unavailable("down")).at_most(2));
    let second = server.inject(Fault::reset(Reason::INTERNAL_ERROR).at_most(1));
    let third = server.inject(Fault::status(Status::not_found("third")).once());
    let delays = [10, 20, 30].map(|n| server.inject(Fault::delay(n * MS)));
    let mut got = Vec::new();
    for _ in 0..5 {
        let began = tokio::time::Instant::now();
        let ended = client.call("Get", json!({})).await;
        let code = ended.map_or_else(|error| error.code().unwrap_or(Code::Ok), |_| Code::Ok);
        let hits = [first.hits(), second.hits(), third.hits()];
        got.push((code, hits, began.elapsed() / 10));
    }
    let delayed = 6 * MS;
    assert_eq!(
        got,
        [
            // What answers at once comes before what was injected later.
            (Code::Unavailable, [1, 0, 0], Duration::ZERO),
            (Code::Unavailable, [2, 0, 0], Duration::ZERO),
            (Code::Internal, [2, 1, 0], Duration::ZERO),
            (Code::NotFound, [2, 1, 1], Duration::ZERO),
            (Code::Ok, [2, 1, 1], delayed),
        ]
    );
    assert_eq!(delays.map(|delay| delay.hits()), [1, 1, 1]);
    let outcomes: Vec<_> = server
        .calls()
        .iter()
        .map(|call| (call.outcome().unwrap(), call.faults().len()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Outcome::Status(Code::Unavailable), 1),
            (Outcome::Status(Code::Unavailable), 1),
            (Outcome::Faulted, 1),
            (Outcome::Status(Code::NotFound), 1),
            (Outcome::Ok, 3),
        ]
    );
}

#[tokio::test]
async fn what_was_planned_and_not_reached_is_given_back() {
    for transport in Transport::ALL {
        let server = wire(transport).start().await;
        mount(&server);
        let client = client(&server).await;
        // It asks for the schema before its first call, which is a call too.
        squawk(&client).await.unwrap();
        let fault = server.inject(
            Fault::reset(Reason::CANCEL)
                .after_messages(2)
                .once()
                .times(1),
        );
        // One message, and the end.
        squawk(&client).await.unwrap();
        squawk(&client).await.unwrap();
        assert_eq!((fault.hits(), fault.active()), (0, 0));
        let split = || async {
            let call = client.server_stream::<_, echo::EchoReply>(
                "/echo.v1.Echo/Split",
                echo::EchoRequest::default(),
            );
            let stream = within(call.into_future()).await.unwrap();
            within(tokio_stream::StreamExt::collect::<Vec<_>>(stream)).await
        };
        assert_eq!(
            split().await.iter().filter(|reply| reply.is_ok()).count(),
            2
        );
        assert_eq!(
            split().await.iter().filter(|reply| reply.is_ok()).count(),
            5
        );
        within(server.verify()).await.unwrap();
    }
}

#[tokio::test]
async fn calls_that_are_refused_get_no_fault() {
    let auth = Auth::tokens();
    let server = MockServer::builder()
        .memory()
        .auth(auth.clone())
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let fault = server.inject(down());
    let health = server.inject(
        Fault::hold()
            .method("grpc.health.v1.Health/Check")
            .nth_call(2..),
    );
    let client = server.client().await;
    let before = fault.hits();
    let error = within(client.call("Get", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Unauthenticated));
    assert_eq!((fault.hits() - before, health.hits()), (0, 0));
    assert!(server.calls()[0].faults().is_empty());
}

#[tokio::test]
async fn a_matcher_that_panics_fails_its_call_and_verification() {
    let builder = MockServer::builder().memory().verify_on_drop(false);
    let server = builder.start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let bad = server.inject(down().when(|_: &Call| -> bool { panic!("a bug in the test") }));
    let client = server.client().await;
    let error = within(client.call("Get", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.status().map(Status::message)),
        (
            Some(Code::Internal),
            Some("a fault's condition panicked: a bug in the test")
        )
    );
    bad.remove();
    assert!(!hit(&client, "Get").await);
    let report = within(server.verify()).await.unwrap_err();
    let problem = report.problems()[0].split(" from ").next().unwrap();
    assert_eq!(
        problem,
        "a fault's condition panicked: a bug in the test, asked about (\"Get\", {})"
    );
}

/// The text that injecting panics with.
fn panic_of(server: &MockServer, fault: Fault) -> String {
    let injected = catch_unwind(AssertUnwindSafe(|| drop(server.inject(fault))));
    let panic = injected.expect_err("it panics");
    let text = panic.downcast::<String>().expect("text");
    // Where matchers stand.
    text.split('(')
        .map(|part| match part.split_once(')') {
            Some((place, rest)) if place.starts_with("tests/") => format!("HERE){rest}"),
            _ => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("(")
}

#[tokio::test]
async fn mistakes_are_told_word_for_word() {
    const CALLS: &str =
        "it happens before any call comes and any byte passes, so it has no condition about those";
    const REFUSED: &str = "a dial is refused before the server knows anything of it, so it has no condition; use \
        `Fault::close_on_accept` for some connections and not for others";
    const ONE: &str = "it is after so many messages and after so many bytes: say one";
    const TLS: &str = "the server speaks no TLS: build it with `.tls(..)` or `.mtls()`";
    const NONE: &str = "it is not about a message, and so after none";
    const FRAMES: &str = "it is about all frames of an answer, and so after nothing";
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
