//! An independent judge of both wings: a stock Python grpcio, which shares no code with `h2` or tonic.
//!
//! The scripts of `tests/grpcio` are the other side of every call. They tell what they saw, and it is judged here.

use crate::process::Running;
use crate::python;
use crate::support::{Transport, echo, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Call, Client, Code, Error, MockServer, Outcome, Reply, ServingStatus};
use rpcplugin_testkit::{Status, Stub, Value, json};
use std::{collections::BTreeMap, future::pending, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tonic::metadata::KeyAndValueRef::{Ascii, Binary};
use tonic::metadata::MetadataMap;

const REFUSAL: &str = "zu groß: 150 % 🚫\nzweite Zeile";
const DETAILS: &[u8] = b"opaque \x00\xff";

/// A server that listens, and a client of it that knows nothing but its address.
async fn connected(bind: &str) -> (Running, Client) {
    let (python, address) = python::server(bind, &[]).await;
    let client = within(Client::connect(address)).await;
    (python, client.expect("a server that is ready accepts"))
}

/// All values of the keys that the tests and the scripts send, as JSON.
fn plain(metadata: &MetadataMap) -> Value {
    let mut plain = BTreeMap::<_, Vec<Value>>::new();
    for pair in metadata.iter() {
        let (key, value) = match pair {
            Ascii(key, value) => (key.as_str(), json!(value.to_str().ok())),
            Binary(key, value) => (key.as_str(), json!(value.to_bytes().ok().map(Vec::from))),
        };
        if key.starts_with("x-") {
            plain.entry(key).or_default().push(value);
        }
    }
    json!(plain)
}

/// A status as the scripts tell it.
fn failure(error: &Error) -> Value {
    let status = error.status().expect("it came from the server");
    let (code, trailers) = (status.code() as i32, plain(status.metadata()));
    json!([code, status.message(), status.details(), trailers])
}

/// The two failures of every server of these tests.
fn refused() -> Value {
    json!([8, REFUSAL, DETAILS, {"x-hint-bin": [[0, 255]]}])
}

fn aborted() -> Value {
    json!([10, "that was all", [], {"x-hint": ["again"]}])
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_stock_python_client_calls_the_mock_in_all_four_shapes_over_tcp_and_a_unix_socket() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let server = transport.start_echo().await;
        python::serve_shapes(&server);
        let mut python = python::client(&server, "shapes");
        assert_eq!(python.told().await, python::shapes());
        python.finish().await;

        let full = json!({
            "message": "héllo", "times": -3, "bigNumber": 9_007_199_254_740_993_i64, "mood": "MOOD_LOUD",
            "tags": ["a", "", "c"], "counts": {"one": 1, "zero": 0}, "nickname": "", "room": 0,
            "sentAt": "2024-02-29T12:00:00.000000001Z", "blob": "AP8=", "ratio": 0.1,
        });
        let said = |texts: &[&str]| texts.iter().map(|text| json!({"message": text})).collect();
        let expected = [
            ("echo.v1.Echo/Say", full),
            ("echo.v1.Echo/Split", json!({"message": "a b c"})),
            ("echo.v1.Echo/Join", said(&["x", "y", ""])),
            ("echo.v1.Echo/Chat", said(&["one", "two"])),
        ];
        let calls = server.calls();
        assert_eq!(calls[..4], expected);
        let typed: echo::EchoRequest = calls[0].message().unwrap();
        assert_eq!(typed.nickname.as_deref(), Some(""));
        assert_eq!(typed.target, Some(echo::echo_request::Target::Room(0)));
        assert_eq!(calls[1].replies().len(), 3);
        // Each request of the chat came after the reply to the one before.
        let (requests, replies) = (calls[3].requests(), calls[3].replies());
        assert!(replies[0].at() <= requests[1].at() && replies.len() == 2);
        for call in &calls {
            let ended = (call.outcome(), call.timeout(), call.connection_id());
            assert_eq!(ended, (Some(Outcome::Ok), None, 1), "{call}");
            let agent = call.metadata().get("user-agent").unwrap();
            assert!(agent.to_str().unwrap().starts_with("grpc-python/"));
        }
    }
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn metadata_passes_both_ways_between_a_python_client_and_the_mock() {
    let server = Transport::Tcp.start_echo().await;
    let reply = Reply::json(json!({})).metadata("x-head", "one");
    let reply = reply.metadata("x-head", "2, 3").trailer("x-tail", "~");
    let reply = reply.metadata_bin("x-head-bin", [0, 255]);
    server.mount(Stub::any().reply(reply.trailer_bin("x-tail-bin", "")));
    let mut python = python::client(&server, "metadata");
    let initial = json!({"x-head": ["one", "2, 3"], "x-head-bin": [[0, 255]]});
    let trailing = json!({"x-tail": ["~"], "x-tail-bin": [[]]});
    assert_eq!(python.told().await, json!([initial, trailing]));
    python.finish().await;
    let sent = json!({"x-tag": ["one", "2, 3"], "x-raw-bin": [[0, 255, 44]], "x-empty-bin": [[]]});
    assert_eq!(plain(server.calls()[0].metadata()), sent);
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_reads_the_status_that_the_mock_gives() {
    let server = MockServer::builder().schema(echo_schema());
    let server = server.allow_unmatched().start().await;
    let refusal = Reply::status(Code::ResourceExhausted, REFUSAL).details(DETAILS);
    server.mount(Stub::method("Echo.Say").reply(refusal.trailer_bin("x-hint-bin", [0, 255])));
    let broken_off = Reply::stream([json!({"count": 1})]).end_with(Status::aborted("that was all"));
    server.mount(Stub::method("Split").reply(broken_off.trailer("x-hint", "again")));
    let mut python = python::client(&server, "status");
    // Then a method that nobody knows, one without a stub, a compression that the mock has, and one that it has not.
    let told = json!([[1], aborted(), refused(), 12, 9, 8, 12]);
    assert_eq!(python.told().await, told);
    python.finish().await;
    let outcomes: Vec<_> = server.calls().iter().filter_map(Call::outcome).collect();
    let codes = [10, 8, 12, 9, 8, 12].map(Code::from_i32);
    assert_eq!(outcomes, codes.map(Outcome::Status));
    let gzip = &server.calls()[4].requests()[0];
    assert!(gzip.is_compressed());
    assert_eq!(gzip.json()["message"], "a".repeat(1000));
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn the_mock_tells_a_python_client_that_cancels_from_one_whose_deadline_passes() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::method("Echo.Say").reply(json!({})));
    let never = Stub::method("Echo.Say").when(json!({"message": "never"}));
    server.mount(never.reply(|_: Call| pending::<Value>()));
    server.mount(Stub::method("Chat").reply(python::chat_in_capitals));
    let mut python = python::client(&server, "endings");
    let calls = within(server.wait_for_calls(3)).await;
    assert_eq!(calls[2].outcome(), None);
    // The script cancels it when it is told that the call is here.
    python.send(b"\n");
    assert_eq!(python.told().await, json!([1, "BEFORE", 1, 4]));
    // The client knows how a call ended before the mock does.
    let calls = within(server.wait_for_calls(5)).await;
    assert_eq!(calls[3], ("Chat", json!([{"message": "before"}])));
    for call in &calls[2..4] {
        assert_eq!(within(call.ended()).await, Outcome::Cancelled, "{call}");
    }
    let late = within(calls[4].ended()).await;
    assert_eq!(late, Outcome::DeadlineExceeded);
    let hours = |at: usize| (calls[at].timeout()).map(|left| (left.as_secs_f64() / 3600.0).round());
    assert_eq!([hours(0), hours(1)], [Some(1.0), None]);
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_watches_the_health_of_the_mock_and_calls_by_its_reflection() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::any().reply(|call: &Call| json!({"message": call.request()["message"]})));
    let mut python = python::client(&server, "infrastructure");
    let health = json!(["SERVING", "SERVING", 5, "SERVICE_UNKNOWN", "SERVING"]);
    assert_eq!(python.told().await, health);
    server.set_health("echo.v1.Echo", ServingStatus::NotServing);
    assert_eq!(python.told().await, "NOT_SERVING");
    let services = json!([
        "echo.v1.Echo",
        "echo.v1.Parrot",
        "grpc.health.v1.Health",
        "plugin.GRPCBroker",
        "plugin.GRPCController",
        "plugin.GRPCStdio",
    ]);
    assert_eq!(python.told().await, json!([services, "sent_at", "by it"]));
    let expected = ("echo.v1.Echo/Say", json!({"message": "by it"}));
    assert_eq!(server.calls(), [expected]);
    assert_eq!(server.calls_to("Health.Check").len(), 3);
    for watch in server.calls_to("grpc.health.v1.Health/Watch") {
        assert_eq!(within(watch.ended()).await, Outcome::Cancelled);
    }
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_client_checks_a_python_server_and_calls_it_by_reflection_in_all_four_shapes() {
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("echo").display());
    for bind in ["127.0.0.1:0", &socket] {
        let (python, client) = connected(bind).await;
        within(client.health_check()).await.unwrap();
        let parrot = within(client.health("echo.v1.Parrot")).await.unwrap();
        assert_eq!(parrot, ServingStatus::NotServing);

        let say = json!({"message": "héllo", "times": -3, "blob": "AP8="});
        let said = within(client.call("Echo.Say", say).into_future()).await;
        let expected = json!({"message": "héllo", "count": -3, "blob": "AP8="});
        assert_eq!(said.unwrap(), expected);

        let split = client.call_server_stream("Split", json!({"message": "a", "times": 3}));
        let replies = within(split.into_future()).await.unwrap();
        let replies: Vec<_> = within(replies.map(Result::unwrap).collect()).await;
        assert_eq!([0, 1, 2].map(|at| replies[at]["count"] == at), [true; 3]);

        let words = tokio_stream::iter(["x", "y", ""].map(|text| json!({"message": text})));
        let join = client.call_client_stream("Echo.Join", words);
        assert_eq!(within(join.into_future()).await.unwrap()["count"], 3);

        // This server sends the headers of a stream with its first reply, which waits for the first request.
        let (requests, sent) = mpsc::unbounded_channel();
        requests.send(json!({"message": "one"})).unwrap();
        let chat = client.call_bidi_stream("Chat", UnboundedReceiverStream::new(sent));
        let mut chat = within(chat.into_future()).await.unwrap();
        let reply = within(chat.message()).await.unwrap().unwrap();
        assert_eq!(reply["message"], "ONE");
        requests.send(json!({"message": "two"})).unwrap();
        let reply = within(chat.message()).await.unwrap().unwrap();
        assert_eq!(reply["message"], "TWO");
        drop(requests);
        assert_eq!(within(chat.message()).await.unwrap(), None);
        drop(chat);

        let blob: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
        let request = echo::EchoRequest {
            blob: blob.clone(),
            ..Default::default()
        };
        let typed = client.unary::<_, echo::EchoReply>("/echo.v1.Echo/Say", request);
        assert!(within(typed.into_future()).await.unwrap().blob == blob);
        within(client.close()).await;
        python.finish().await;
    }
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn metadata_and_a_status_pass_between_a_client_and_a_python_server() {
    let (python, client) = connected("127.0.0.1:0").await;
    let call = client
        .call("Echo.Say", json!({}))
        .timeout(Duration::from_secs(3600));
    let call = call.metadata("x-tag", "one").metadata("x-tag", "2, 3");
    let call = call.metadata_bin("x-raw-bin", b"\x00\xff,");
    let response = within(call.metadata_bin("x-empty-bin", "").response());
    let response = response.await.unwrap();
    // The server sends back what it got, at both ends, and tells the rest in the headers.
    let sent = json!({"x-tag": ["one", "2, 3"], "x-raw-bin": [[0, 255, 44]], "x-empty-bin": [[]]});
    assert_eq!(plain(response.metadata()), sent);
    assert_eq!(plain(response.trailers()), sent);
    let told = |key| response.metadata().get(key).unwrap().to_str().unwrap();
    assert!(told("agent").starts_with("rpcplugin-testkit/"));
    assert_eq!(told("hours-left"), "1.0");

    let say = client.call("Echo.Say", json!({"message": "refuse"}));
    let error = within(say.into_future()).await.unwrap_err();
    assert_eq!(failure(&error), refused());

    let split = json!({"message": "break off", "times": 1});
    let replies = client.call_server_stream("Split", split).into_future();
    let mut replies = within(replies).await.unwrap();
    assert!(within(replies.message()).await.unwrap().is_some());
    let error = within(replies.message()).await.unwrap_err();
    assert_eq!(failure(&error), aborted());

    let unknown = client.unary::<(), ()>("/echo.v1.Echo/Nothing", ());
    let error = within(unknown.into_future()).await.unwrap_err();
    assert!(error.is_unknown_method());
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_call_that_a_python_server_does_not_end_is_dropped_or_meets_its_deadline() {
    let (mut python, client) = connected("127.0.0.1:0").await;
    let wait = json!({"message": "wait", "times": 1});
    let mut call = client.call("Echo.Say", wait.clone()).into_future();
    tokio::select! {
        ended = &mut call => panic!("the server answered: {ended:?}"),
        line = python.line() => assert_eq!(line, "waiting"),
    }
    drop(call);
    assert_eq!(python.line().await, "over");

    let soon = Duration::from_millis(300);
    let call = client.call("Echo.Say", wait.clone()).timeout(soon);
    let unanswered = within(call.into_future()).await.unwrap_err();
    let split = client.call_server_stream("Split", wait).timeout(soon);
    let unended = within(async {
        let mut replies = split.await?;
        while replies.message().await?.is_some() {}
        Ok::<_, Error>(())
    });
    for error in [unanswered, unended.await.unwrap_err()] {
        assert!(error.is_timeout(), "{error:?}");
        assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    }
}
