//! Clients that send what no good client would, over valid HTTP/2. The server answers, records, and serves others.

use crate::raw::{connect, exchange, grpc, status};
use crate::support::{echo_schema, within};
use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use h2::Reason;
use http::HeaderValue;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Address, Code, MockServer, Outcome, Stub, json};
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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

/// Of one name, and each of its own: `http` takes 24,576 names, and more are refused before there is a call.
#[tokio::test]
async fn a_hundred_thousand_headers_are_taken_or_refused_and_hurt_nobody() {
    let server = mock().await;
    let requests = connect(&server).await;
    let alike = (0..100_000).fold(grpc(SQUAWK), |request, n| request.header("x-many", n));
    let (_, headers, _) = exchange(&requests, alike, &[&framed(0, &[])]).await;
    assert_eq!(status(&headers).0, "0");
    let call = within(server.next_call()).await;
    assert_eq!(call.metadata().get_all("x-many").iter().count(), 100_000);

    let Address::Tcp { host, port, .. } = server.address() else {
        panic!("not TCP");
    };
    let mut stream = TcpStream::connect((host.as_str(), *port)).await.unwrap();
    let name = |n: u32| format!("x-{n}").into_bytes();
    // Literals without indexing (RFC 7541, 6.2.2), with their names.
    let literal = |name: &[u8], value: &[u8]| {
        let length = |text: &[u8]| u8::try_from(text.len()).expect("short");
        [&[0, length(name)], name, &[length(value)], value].concat()
    };
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", SQUAWK),
        (":authority", "x"),
        ("content-type", "application/grpc"),
    ] {
        block.extend(literal(name.as_bytes(), value.as_bytes()));
    }
    (0..100_000).for_each(|n| block.extend(literal(&name(n), b"v")));
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let pieces: Vec<_> = block.chunks(16_384).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let kind = if number == 0 { 1 } else { 9 };
        let end = if number + 1 == pieces.len() { 4 } else { 0 };
        let length = u32::try_from(piece.len()).unwrap().to_be_bytes();
        bytes.extend([&length[1..], &[kind, end, 0, 0, 0, 1], *piece].concat());
    }
    // The server may hang up before it has all.
    let _ = stream.write_all(&bytes).await;
    let refusal = loop {
        let mut head = [0; 9];
        if within(stream.read_exact(&mut head)).await.is_err() {
            break "hung up";
        }
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        within(stream.read_exact(&mut payload)).await.unwrap();
        match head[3] {
            1 => break "answered",
            3 => break "reset",
            7 => break "sent away",
            _ => {}
        }
    };
    // With HTTP 431, and the connection goes on.
    assert_eq!((refusal, server.calls().len()), ("answered", 1));
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

/// A call whose message never comes is named by verification, though it is not in the journal.
#[tokio::test]
async fn a_call_whose_request_does_not_arrive_is_named() {
    let builder = MockServer::builder()
        .schema(echo_schema())
        .verify_on_drop(false);
    let server = builder
        .patience(std::time::Duration::from_millis(50))
        .start()
        .await;
    server.mount(Stub::method("Squawk").reply(json!({})));
    let requests = connect(&server).await;
    let mut ready = within(requests.clone().ready()).await.unwrap();
    let request = grpc(SQUAWK).body(()).unwrap();
    let (_response, _stream) = ready.send_request(request, false).unwrap();
    // One that is answered comes after it on the same connection, so it has begun.
    exchange(&requests, grpc(SQUAWK), &[&framed(0, &[])]).await;
    let report = server.verify().await.unwrap_err();
    let problem = &report.problems()[0];
    assert!(
        problem.starts_with(
            "the request of a call has not arrived: (\"Squawk\", no request) from 127.0.0.1:"
        ),
        "{problem}"
    );
    assert_eq!(report.problems().len(), 1);
}
