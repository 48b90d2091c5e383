//! When faults happen: methods, counts, and the order of several.

use crate::faults_probe::{Make, Wire, client, mount, squawk};
use crate::support::{Transport, echo, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Auth, Client, Code, Fault, MockServer, Outcome, Reason, Status, Stub, json,
};
use std::time::Duration;
use tonic::Request;

const MS: Duration = Duration::from_millis(1);

pub(crate) fn wire(transport: Transport) -> Wire {
    Wire {
        transport,
        secure: false,
    }
}

pub(crate) fn down() -> Fault {
    Fault::status(Status::unavailable("down"))
}

/// A schemaless mock that answers everything, and how a call of it ends.
pub(crate) async fn any_mock() -> MockServer {
    let server = MockServer::builder().memory().seed(7).start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    server
}

pub(crate) async fn hit(client: &Client, method: &str) -> bool {
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
    let cases: [(Make, [u8; 7]); 12] = [
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
            // A reset is a reply that is lost, and waits until there is one.
            (Code::Internal, [2, 1, 0], delayed),
            (Code::NotFound, [2, 1, 1], Duration::ZERO),
            (Code::Ok, [2, 1, 1], delayed),
        ]
    );
    assert_eq!(delays.map(|delay| delay.hits()), [2, 2, 2]);
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
            (Outcome::Faulted, 4),
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
