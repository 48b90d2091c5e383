//! Clients that send what no good client would, over valid HTTP/2. The server answers, records, and serves others.

use crate::raw::{connect, exchange, grpc, status};
use crate::support::{echo_schema, within};
use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use h2::Reason;
use http::HeaderValue;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Code, MockServer, Outcome, Stub, json};
use std::io::Write as _;

const SQUAWK: &str = "/echo.v1.Parrot/Squawk";

async fn mock() -> MockServer {
    let server = MockServer::builder().schema(echo_schema()).start().await;
    server.mount(Stub::method("Squawk").reply(json!({"message": "hi"})));
    server.mount(Stub::method("Join").reply(json!({"message": "joined"})));
    server
}

/// The server still serves, on this connection or on another.
async fn serves(server: &MockServer) {
    let client = server.client().await;
    let squawk = client.call("Squawk", json!({})).into_future();
    assert_eq!(within(squawk).await.expect("served")["message"], "hi");
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[flag], &length[..], message].concat()
}

/// 64 MiB of zeros in a few kilobytes.
fn gzip_bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&zeros).expect("memory");
    }
    encoder.finish().expect("memory")
}

/// A frame of RLE blocks, each 128 KiB of zeros in four bytes
/// ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1)).
fn zstd_bomb() -> Vec<u8> {
    // The magic number, a header without content size or checksum, and a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..8192_u32 {
        let last = u32::from(block == 8191);
        let header = (128 << 10) << 3 | 1 << 1 | last;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

#[tokio::test]
async fn bombs_are_refused_before_they_go_off() {
    let cases = [("gzip", gzip_bomb()), ("zstd", zstd_bomb())];
    for (encoding, bomb) in cases {
        let server = mock().await;
        let requests = connect(&server).await;
        let request = || grpc(SQUAWK).header("grpc-encoding", encoding);
        let (_, headers, _) = exchange(&requests, request(), &[&framed(1, &bomb)]).await;
        let text =
            format!("a {encoding} message decompresses to more than the limit of 4194304 bytes");
        assert_eq!(status(&headers), ("8", text));
        let call = within(server.next_call()).await;
        assert_eq!(
            within(call.ended()).await,
            Outcome::Status(Code::ResourceExhausted)
        );
        assert_eq!(call.requests().len(), 0);
        // What is uncompressed in a compressed stream is fine.
        let (_, headers, _) = exchange(&requests, request(), &[&framed(0, &[])]).await;
        assert_eq!(status(&headers).0, "0");
        serves(&server).await;
    }
}

/// Fields that the schema has not are kept in the record's bytes; a known field of another wire type is no message.
#[tokio::test]
async fn unknown_fields_pass_and_wrong_types_do_not() {
    let server = mock().await;
    let requests = connect(&server).await;
    // Field 1 (`message`) is "a", field 1000 is 7.
    let unknown = [0x0a, 1, b'a', 0xc0, 0x3e, 7];
    let (_, headers, _) = exchange(&requests, grpc(SQUAWK), &[&framed(0, &unknown)]).await;
    assert_eq!(status(&headers).0, "0");
    let call = within(server.next_call()).await;
    assert_eq!(call, ("Squawk", json!({"message": "a"})));
    assert_eq!(call.requests()[0].bytes().as_ref(), unknown);

    let cases: [(&[u8], &str); 3] = [
        (
            &[0x08, 7],
            "invalid wire type: Varint (expected LengthDelimited)",
        ),
        (
            &[0x0a, 2, 0xff, 0xfe],
            "invalid string value: data is not UTF-8 encoded",
        ),
        (&[0x0a, 200], "invalid varint"),
    ];
    for (message, cause) in cases {
        let (_, headers, _) = exchange(&requests, grpc(SQUAWK), &[&framed(0, message)]).await;
        let (code, text) = status(&headers);
        assert_eq!(code, "13");
        let begin =
            "the request is not a valid echo.v1.EchoRequest: failed to decode Protobuf message: ";
        assert!(text.starts_with(begin) && text.ends_with(cause), "{text}");
        let call = within(server.next_call()).await;
        assert_eq!(call.requests()[0].bytes().as_ref(), message);
        assert_eq!(call.outcome(), Some(Outcome::Status(Code::Internal)));
    }
    serves(&server).await;
}

/// In the middle of a stream too: the client gets a status, not a reset.
#[tokio::test]
async fn a_malformed_message_ends_a_stream_with_a_status() {
    let server = mock().await;
    server.mount(Stub::method("Chat").reply(rpcplugin_testkit::Reply::channel().0));
    let (reply, mut streams) = rpcplugin_testkit::Reply::channel();
    server.mount(Stub::method("Chat").reply(reply));
    let requests = connect(&server).await;
    let frames: [&[u8]; 2] = [&framed(0, &[0x0a, 1, b'a']), &framed(9, b"x")];
    let chat = exchange(&requests, grpc("/echo.v1.Echo/Chat"), &frames);
    let held = async {
        let mut held = streams.accept().await;
        let first = held.recv().await.expect("a message");
        (
            first,
            held.recv()
                .await
                .map(drop)
                .expect_err("a broken stream")
                .to_string(),
        )
    };
    let ((_, headers, _), (first, cut)) = within(async { tokio::join!(chat, held) }).await;
    assert_eq!(first.unwrap()["message"], "a");
    assert_eq!(cut, "the call of Chat was cut: INTERNAL");
    let text = "a message begins with the flag byte 9, which is neither 0 nor 1";
    assert_eq!(status(&headers), ("13", text.to_owned()));
    serves(&server).await;
}

#[tokio::test]
async fn headers_beyond_utf_8_are_recorded_and_printed() {
    let server = mock().await;
    let requests = connect(&server).await;
    let latin = HeaderValue::from_bytes(b"caf\xe9 \xff").expect("opaque bytes are allowed");
    let request = grpc(SQUAWK)
        .header("x-name", &latin)
        .header("x-bad-bin", "!not base64!");
    let (_, headers, _) = exchange(&requests, request, &[&framed(0, &[])]).await;
    assert_eq!(status(&headers).0, "0");
    let call = within(server.next_call()).await;
    assert_eq!(call.metadata().as_ref().get("x-name").unwrap(), &latin);
    assert!(
        call.metadata()
            .get_bin("x-bad-bin")
            .unwrap()
            .to_bytes()
            .is_err()
    );
    let printed = format!("{:?} {call:?} {}", call.metadata(), server.journal());
    assert!(printed.contains("caf"), "{printed}");
    let file = tempfile::NamedTempFile::new().unwrap();
    server.journal().save(file.path()).unwrap();
    let path = rpcplugin_testkit::matchers::metadata("x-name", "café");
    server.mount(Stub::method("Squawk").when(path));
    serves(&server).await;
}

/// HTTP/2 counts a header's bytes, and the mock takes 16 MiB of them; `http` counts headers, and takes 24,576.
#[tokio::test]
async fn a_hundred_thousand_headers_cost_one_call_and_no_other() {
    let server = mock().await;
    let requests = connect(&server).await;
    let many = |count: usize| {
        (0..count).fold(grpc(SQUAWK), |request, n| {
            request.header("x-many", format!("value-{n}"))
        })
    };
    let (_, headers, _) = exchange(&requests, many(20_000), &[&framed(0, &[])]).await;
    assert_eq!(status(&headers).0, "0");
    let call = within(server.next_call()).await;
    assert_eq!(call.metadata().get_all("x-many").iter().count(), 20_000);

    let request = many(100_000).body(()).unwrap();
    let mut ready = within(requests.clone().ready()).await.unwrap();
    let (response, mut stream) = ready.send_request(request, false).unwrap();
    // The server may have refused it already.
    let _ = stream.send_data(Bytes::from(framed(0, &[])), true);
    match within(response).await {
        Ok(response) => assert_eq!((response.status().as_u16(), server.calls().len()), (200, 2)),
        Err(error) => assert!(
            error.reason().is_some() || error.is_io() || error.is_go_away(),
            "{error:?}"
        ),
    }
    serves(&server).await;
}

/// [CVE-2023-44487](https://www.cve.org/CVERecord?id=CVE-2023-44487): the connection lives, and so do its other calls.
#[tokio::test]
async fn ten_thousand_streams_that_are_reset_at_once_hurt_nobody() {
    let server = mock().await;
    let (reply, gate) = rpcplugin_testkit::Reply::gate(json!({"message": "held"}));
    server.mount(Stub::method("Echo/Say").reply(reply));
    let requests = connect(&server).await;
    let bystander = tokio::spawn({
        let requests = requests.clone();
        async move { exchange(&requests, grpc("/echo.v1.Echo/Say"), &[&framed(0, &[])]).await }
    });
    within(gate.arrived(1)).await;
    for round in 0..10_000 {
        let mut ready = within(requests.clone().ready()).await.unwrap();
        let request = grpc(SQUAWK).body(()).unwrap();
        let (_response, mut stream) = ready.send_request(request, false).unwrap();
        stream.send_reset(Reason::CANCEL);
        if round % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    gate.open();
    let (_, headers, _) = within(bystander).await.unwrap();
    assert_eq!(status(&headers).0, "0");
    assert_eq!(server.connections(), 1);
    serves(&server).await;
    within(server.wait_until(|journal| journal.in_flight().is_empty())).await;
    within(server.verify()).await.unwrap();
}

/// One writes a byte at a time, one does not read: neither holds up the other, or the rest.
#[tokio::test]
async fn slow_writers_and_slow_readers_wait_for_themselves_only() {
    let server = mock().await;
    let large = "x".repeat(3 << 20);
    server.mount(Stub::method("Echo/Say").reply(json!({"message": large})));
    let requests = connect(&server).await;
    let mut ready = within(requests.clone().ready()).await.unwrap();

    let say = grpc("/echo.v1.Echo/Say").body(()).unwrap();
    let (unread, mut stream) = ready.send_request(say, false).unwrap();
    stream.send_data(Bytes::from(framed(0, &[])), true).unwrap();
    let mut unread = within(unread).await.unwrap().into_body();

    let mut ready = within(requests.clone().ready()).await.unwrap();
    let join = grpc("/echo.v1.Echo/Join").body(()).unwrap();
    let (joined, mut stream) = ready.send_request(join, false).unwrap();
    let message = framed(0, b"\x0a\x05hello");
    for byte in message.iter().chain(&message) {
        stream
            .send_data(Bytes::copy_from_slice(&[*byte]), false)
            .unwrap();
        tokio::task::yield_now().await;
    }
    serves(&server).await;
    stream.send_data(Bytes::new(), true).unwrap();
    within(joined).await.unwrap();
    let hello = json!({"message": "hello"});
    assert_eq!(server.calls_to("Join")[0], ("Join", json!([hello, hello])));

    // Now it reads after all, in its own time.
    let mut read = 0;
    while let Some(data) = within(unread.data()).await {
        let data = data.unwrap();
        read += data.len();
        unread.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(read, large.len() + 10);
}
