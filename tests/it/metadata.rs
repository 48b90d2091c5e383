//! Metadata, trailers and status details, both ways.

use crate::support::{Transport, echo, within};
use echo::{EchoReply, EchoRequest, echo_client::EchoClient};
use rpcplugin_testkit::{Client, Code, Reply, Status, Stub, json};
use tonic::metadata::{MetadataMap, MetadataValue};

const BINARY: &[u8] = &[0, 1, 0xfe, 0xff, b' '];

#[tokio::test]
async fn request_metadata_arrives_ascii_and_binary() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        server.mount(Stub::any().reply(json!({})));
        let client = server.client().await;
        client
            .call("Echo", json!({}))
            .metadata("authorization", "Bearer token")
            .metadata("x-many", "one")
            .metadata("x-many", "two")
            .metadata_bin("trace-bin", BINARY)
            .await
            .unwrap();

        let call = &server.calls()[0];
        assert_eq!(
            call.metadata().get("authorization").unwrap(),
            "Bearer token"
        );
        let many: Vec<_> = call.metadata().get_all("x-many").iter().collect();
        assert_eq!(many, ["one", "two"]);
        let binary = call
            .metadata()
            .get_bin("trace-bin")
            .unwrap()
            .to_bytes()
            .unwrap();
        assert_eq!(binary, BINARY);
        let agent = call.metadata().get("user-agent").unwrap().to_str().unwrap();
        assert!(agent.starts_with("rpcplugin-testkit/"), "{agent}");
    }
}

#[tokio::test]
async fn malformed_metadata_fails_the_call_before_anything_is_sent() {
    let server = Transport::Memory.start().await;
    let client = server.client().await;
    let ascii = "an ASCII key without `-bin`, and a value of visible ASCII characters";
    let cases = [
        (
            client.call("Echo", json!({})).metadata("a key", "x"),
            "a key",
            ascii,
        ),
        (
            client.call("Echo", json!({})).metadata("key-bin", "x"),
            "key-bin",
            ascii,
        ),
        (
            client
                .call("Echo", json!({}))
                .metadata("key", "line\nbreak"),
            "key",
            ascii,
        ),
        (
            client.call("Echo", json!({})).metadata_bin("key", BINARY),
            "key",
            "a key that ends with `-bin`",
        ),
    ];
    for (call, key, expected) in cases {
        let error = call.await.unwrap_err();
        let text = format!("invalid metadata `{key}` for Echo: expected {expected}");
        assert_eq!(error.to_string(), text);
    }
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn what_carries_a_call_is_no_metadata() {
    let server = Transport::Memory.start().await;
    let client = server.client().await;
    for key in [
        "content-length",
        "te",
        "grpc-encoding",
        "grpc-status",
        "grpc-timeout",
        "Host",
    ] {
        let error = client
            .call("Echo", json!({}))
            .metadata(key, "1")
            .await
            .unwrap_err();
        let text = format!(
            "invalid metadata `{key}` for Echo: expected a key that is not HTTP's or gRPC's own"
        );
        assert_eq!(error.to_string(), text);
    }
    assert!(server.calls().is_empty());
}

/// Stubs of tonic's own making may still hold such a key: it is their call that fails, and no other.
#[tokio::test]
async fn a_request_that_cannot_be_sent_costs_no_connection() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    let mut request = tonic::Request::new(EchoRequest::default());
    let key: tonic::metadata::AsciiMetadataKey = "connection".parse().unwrap();
    request.metadata_mut().insert(key, "close".parse().unwrap());
    let status = EchoClient::new(client.clone())
        .say(request)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "the request of /echo.v1.Echo/Say cannot be sent: user error: malformed headers"
    );
    client.call("Squawk", json!({})).await.unwrap();
    assert_eq!(server.calls()[0].connection_id(), 1);
}

#[tokio::test]
async fn a_stream_of_nothing_has_its_trailers_all_the_same() {
    let server = Transport::Memory.start().await;
    let nothing: [rpcplugin_testkit::Value; 0] = [];
    server.mount(Stub::any().reply(Reply::stream(nothing).trailer("x-after", "2")));
    let client = server.client().await;
    let mut stream = client.call_server_stream("Watch", json!({})).await.unwrap();
    let trailers = within(stream.trailers()).await.unwrap();
    assert_eq!(trailers.get("x-after").unwrap(), "2");
    assert_eq!((trailers.len(), stream.metadata().len()), (1, 0));
}

#[tokio::test]
async fn response_metadata_and_trailers_come_apart() {
    let reply = Reply::json(json!({"message": "hi"}))
        .metadata("x-before", "1")
        .metadata_bin("before-bin", BINARY)
        .trailer("x-after", "2")
        .trailer_bin("after-bin", BINARY);
    for transport in Transport::ALL {
        let server = transport.start_echo().await;
        server.mount(Stub::method("Echo/Say").reply(reply.clone()));
        let response = server
            .client()
            .await
            .call("Echo/Say", json!({}))
            .response()
            .await
            .unwrap();
        assert_eq!(response.message()["message"], "hi");
        expect_both(response.metadata(), response.trailers());

        let client = Client::connect(server.address()).await.unwrap();
        let typed = client.unary::<_, EchoReply>("/echo.v1.Echo/Say", EchoRequest::default());
        let response = typed.response().await.unwrap();
        assert_eq!(response.message().message, "hi");
        expect_both(response.metadata(), response.trailers());

        // tonic's own client merges the two.
        let merged = EchoClient::new(client)
            .say(EchoRequest::default())
            .await
            .unwrap();
        expect_both(merged.metadata(), merged.metadata());
    }
}

#[tokio::test]
async fn a_stream_has_metadata_before_and_trailers_after() {
    let server = Transport::Memory.start().await;
    let reply = Reply::stream([json!({"n": 1}), json!({"n": 2})])
        .metadata("x-before", "1")
        .metadata_bin("before-bin", BINARY)
        .trailer("x-after", "2")
        .trailer_bin("after-bin", BINARY);
    server.mount(Stub::any().reply(reply));
    let client = server.client().await;
    let mut stream = client.call_server_stream("Watch", json!({})).await.unwrap();
    assert_eq!(
        within(stream.message()).await.unwrap(),
        Some(json!({"n": 1}))
    );
    let trailers = within(stream.trailers()).await.unwrap();
    expect_both(&stream.metadata().clone(), &trailers);
}

#[track_caller]
fn expect_both(before: &MetadataMap, after: &MetadataMap) {
    assert_eq!(before.get("x-before").expect("x-before"), "1");
    assert_eq!(after.get("x-after").expect("x-after"), "2");
    for (map, key) in [(before, "before-bin"), (after, "after-bin")] {
        let bytes = map.get_bin(key).expect(key).to_bytes().expect("base64");
        assert_eq!(bytes, BINARY, "{key}");
    }
}

#[tokio::test]
async fn a_status_arrives_with_message_details_and_trailers_in_every_way() {
    let reply = Reply::status(Code::ResourceExhausted, "disk full: naïve ☃ 100%\n")
        .details(BINARY.to_vec())
        .trailer("x-retry", "no")
        .trailer_bin("why-bin", BINARY);
    for transport in Transport::ALL {
        let server = transport.start_echo().await;
        server.mount(Stub::method("Echo/Say").reply(reply.clone()));
        let client = server.client().await;

        let dynamic = client.call("Echo/Say", json!({})).await.unwrap_err();
        assert_eq!(
            dynamic.to_string(),
            format!(
                "Echo/Say at {} failed: RESOURCE_EXHAUSTED: disk full: naïve ☃ 100%\n",
                server.address()
            )
        );
        expect_full(dynamic.status().unwrap());
        let typed = client
            .unary::<_, EchoReply>("/echo.v1.Echo/Say", EchoRequest::default())
            .await;
        expect_full(typed.unwrap_err().status().unwrap());
        let generated = EchoClient::new(client).say(EchoRequest::default()).await;
        expect_full(&generated.unwrap_err());
    }
}

#[track_caller]
fn expect_full(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "disk full: naïve ☃ 100%\n");
    assert_eq!(status.details(), BINARY);
    assert_eq!(
        status.metadata().get("x-retry"),
        Some(&MetadataValue::from_static("no"))
    );
    let why = status
        .metadata()
        .get_bin("why-bin")
        .expect("why-bin")
        .to_bytes()
        .expect("base64");
    assert_eq!(why, BINARY);
}

#[tokio::test]
async fn a_status_after_messages_has_all_of_it_too() {
    let server = Transport::Tcp.start_echo().await;
    let end = Status::with_details(Code::Aborted, "enough", BINARY.to_vec().into());
    let reply = Reply::stream([json!({"count": 1}), json!({"count": 2})])
        .end_with(end)
        .trailer("x-after", "2");
    server.mount(Stub::method("Split").reply(reply));
    let client = server.client().await;
    let mut stream = client.call_server_stream("Split", json!({})).await.unwrap();
    assert_eq!(within(stream.message()).await.unwrap().unwrap()["count"], 1);
    assert_eq!(within(stream.message()).await.unwrap().unwrap()["count"], 2);
    let error = within(stream.message()).await.unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(
        (status.code(), status.message(), status.details()),
        (Code::Aborted, "enough", BINARY)
    );
    assert_eq!(status.metadata().get("x-after").unwrap(), "2");
}

/// The same for a response that is only trailers and for one with messages before them.
#[tokio::test]
async fn trailers_of_a_reply_and_of_its_status_are_added_up() {
    let server = Transport::Memory.start().await;
    let mut status = Status::aborted("enough");
    status
        .metadata_mut()
        .insert("x-many", MetadataValue::from_static("status"));
    let bare = Reply::from(status.clone())
        .trailer("x-many", "one")
        .trailer("x-many", "two");
    let stream = Reply::stream([json!({"n": 1})])
        .end_with(status)
        .trailer("x-many", "one")
        .trailer("x-many", "two");
    server.mount(Stub::method("Bare").reply(bare));
    server.mount(Stub::method("Stream").reply(stream));
    let client = server.client().await;
    let bare = client.call("Bare", json!({})).await.unwrap_err();
    let mut replies = client
        .call_server_stream("Stream", json!({}))
        .await
        .unwrap();
    within(replies.message()).await.unwrap();
    let streamed = within(replies.message()).await.unwrap_err();
    for error in [bare, streamed] {
        let many: Vec<_> = error
            .status()
            .unwrap()
            .metadata()
            .get_all("x-many")
            .iter()
            .collect();
        assert_eq!(many, ["one", "two", "status"]);
    }
}

#[tokio::test]
async fn a_closure_may_return_a_status_or_a_result() {
    let server = Transport::Memory.start().await;
    server.mount(Stub::method("Status").reply(Status::not_found("no such key")));
    server.mount(
        Stub::method("Result").reply(|call: &rpcplugin_testkit::Call| {
            let key = call.request()["key"].as_str().map(str::to_owned);
            key.map(|key| json!({"found": key}))
                .ok_or_else(|| Status::invalid_argument("no key"))
        }),
    );
    let client = server.client().await;
    assert_eq!(
        client.call("Status", json!({})).await.unwrap_err().code(),
        Some(Code::NotFound)
    );
    assert_eq!(
        client.call("Result", json!({})).await.unwrap_err().code(),
        Some(Code::InvalidArgument)
    );
    assert_eq!(
        client.call("Result", json!({"key": "a"})).await.unwrap(),
        json!({"found": "a"})
    );
}

#[test]
#[should_panic(
    expected = "invalid metadata `a key`: expected an ASCII key without `-bin`, and a value of visible ASCII characters"
)]
fn a_malformed_reply_key_panics_where_it_is_written() {
    let _ = Reply::json(json!({})).metadata("a key", "x");
}
