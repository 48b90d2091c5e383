//! Both wings against raw HTTP/2: what they send, and what they make of bad input.

use crate::support::{Transport, echo_schema, within};
use bytes::Bytes;
use h2::{Reason, client, server};
use http::{HeaderMap, Request, Response};
use rpcplugin_testkit::{Address, Client, Code, MockServer, Outcome, Stub, json};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

const SQUAWK: &str = "/echo.v1.Parrot/Squawk";

async fn mock() -> MockServer {
    let server = MockServer::builder().schema(echo_schema()).start().await;
    server.mount(Stub::method("Squawk").reply(json!({"message": "hi"})));
    server.mount(Stub::method("Join").reply(json!({})));
    server
}

/// A raw HTTP/2 connection to the mock.
pub(crate) async fn connect(server: &MockServer) -> client::SendRequest<Bytes> {
    let Address::Tcp { host, port, .. } = server.address() else {
        panic!("not TCP");
    };
    let stream = TcpStream::connect((host.as_str(), *port))
        .await
        .expect("a connection");
    let (requests, connection) = client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    requests
}

pub(crate) fn grpc(path: &str) -> http::request::Builder {
    Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// Sends a request with these DATA frames and gives the response with all of its headers and trailers.
pub(crate) async fn exchange(
    requests: &client::SendRequest<Bytes>,
    request: http::request::Builder,
    frames: &[&[u8]],
) -> (u16, HeaderMap, Vec<u8>) {
    let mut requests = within(requests.clone().ready()).await.expect("ready");
    let request = request.body(()).expect("a request");
    let (response, mut stream) = requests
        .send_request(request, frames.is_empty())
        .expect("sent");
    for (number, frame) in frames.iter().enumerate() {
        let last = number + 1 == frames.len();
        // The server may have refused the call already.
        let _ = stream.send_data(Bytes::copy_from_slice(frame), last);
    }
    let response = within(response).await.expect("a response");
    let (parts, mut body) = response.into_parts();
    let mut headers = parts.headers;
    let mut data = Vec::new();
    while let Some(chunk) = within(body.data()).await {
        data.extend_from_slice(&chunk.expect("data"));
    }
    headers.extend(
        within(body.trailers())
            .await
            .expect("trailers")
            .unwrap_or_default(),
    );
    (parts.status.as_u16(), headers, data)
}

pub(crate) fn status(headers: &HeaderMap) -> (&str, String) {
    let text = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    };
    (
        text("grpc-status"),
        text("grpc-message").replace("%20", " ").replace("%60", "`"),
    )
}

#[tokio::test]
async fn a_good_call_gets_headers_one_message_and_trailers() {
    let server = mock().await;
    let requests = connect(&server).await;
    let (code, headers, data) = exchange(&requests, grpc(SQUAWK), &[&[0, 0, 0, 0, 0]]).await;
    assert_eq!(code, 200);
    assert_eq!(headers.get("content-type").unwrap(), "application/grpc");
    assert_eq!(status(&headers).0, "0");
    // Field 1, two bytes: "hi".
    assert_eq!(data, [0, 0, 0, 0, 4, 0x0a, 2, b'h', b'i']);
}

#[tokio::test]
async fn a_message_may_come_in_any_pieces() {
    let server = mock().await;
    let requests = connect(&server).await;
    let whole = [0, 0, 0, 0, 4, 0x0a, 2, b'h', b'o'];
    for size in 1..=whole.len() {
        let frames: Vec<_> = whole.chunks(size).collect();
        let (_, headers, _) = exchange(&requests, grpc(SQUAWK), &frames).await;
        assert_eq!(status(&headers).0, "0", "{size}");
        assert_eq!(
            within(server.next_call()).await,
            ("Squawk", json!({"message": "ho"})),
            "{size}"
        );
    }
}

#[tokio::test]
async fn what_is_no_grpc_gets_an_http_status_and_is_no_call() {
    let server = mock().await;
    let requests = connect(&server).await;
    let get = Request::get("http://localhost/").header("content-type", "application/grpc");
    assert_eq!(exchange(&requests, get, &[]).await.0, 405);
    let json = Request::post(format!("http://localhost{SQUAWK}"))
        .header("content-type", "application/json");
    assert_eq!(exchange(&requests, json, &[b"{}"]).await.0, 415);
    let bare = Request::post(format!("http://localhost{SQUAWK}"));
    assert_eq!(exchange(&requests, bare, &[b"{}"]).await.0, 415);
    for kind in ["application/grpc-web+proto", "application/grpcish"] {
        let alike = Request::post(format!("http://localhost{SQUAWK}")).header("content-type", kind);
        assert_eq!(exchange(&requests, alike, &[b"{}"]).await.0, 415, "{kind}");
    }
    assert!(server.calls().is_empty());
    let told = server.journal().to_string();
    assert!(
        told.starts_with("  no gRPC call: GET / with application/grpc from 127.0.0.1:"),
        "{told}"
    );
    assert!(
        told.contains("POST /echo.v1.Parrot/Squawk with no content type from "),
        "{told}"
    );
    assert!(
        told.ends_with(" → HTTP 415 Unsupported Media Type"),
        "{told}"
    );
    assert_eq!(
        status(&exchange(&requests, grpc(SQUAWK), &[&[0; 5]]).await.1).0,
        "0"
    );
}

/// What is sent, and what comes of it.
type Malformed<'a> = (
    &'a str,
    http::request::Builder,
    &'a [&'a [u8]],
    Code,
    &'a str,
);

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_malformed_request_gets_a_status_is_recorded_and_hurts_nobody_else() {
    let server = mock().await;
    let requests = connect(&server).await;
    let snappy = || grpc(SQUAWK).header("grpc-encoding", "snappy");
    let gzip = || grpc(SQUAWK).header("grpc-encoding", "gzip");
    let large = [0, 0x00, 0x40, 0x00, 0x01];
    let cases: [Malformed<'_>; 10] = [
        (
            "no message",
            grpc(SQUAWK),
            &[],
            Code::Internal,
            "no request message in a unary call",
        ),
        (
            "two messages",
            grpc(SQUAWK),
            &[&[0; 10]],
            Code::Internal,
            "more than one request message in a unary call",
        ),
        (
            "a cut prefix",
            grpc(SQUAWK),
            &[&[0, 0]],
            Code::Internal,
            "the stream ended 3 bytes before the end of a message",
        ),
        (
            "a cut message",
            grpc(SQUAWK),
            &[&[0, 0, 0, 0, 9, 1]],
            Code::Internal,
            "the stream ended 8 bytes before the end of a message",
        ),
        (
            "too large",
            grpc(SQUAWK),
            &[&large],
            Code::ResourceExhausted,
            "a message of 4194305 bytes is over the limit of 4194304 bytes",
        ),
        (
            "4 GiB",
            grpc(SQUAWK),
            &[&[0, 255, 255, 255, 255]],
            Code::ResourceExhausted,
            "a message of 4294967295 bytes is over the limit of 4194304 bytes",
        ),
        (
            "compressed",
            grpc(SQUAWK),
            &[&[1, 0, 0, 0, 0]],
            Code::Internal,
            "the message is compressed, and the stream declares no grpc-encoding",
        ),
        (
            "odd flag",
            grpc(SQUAWK),
            &[&[7, 0, 0, 0, 0]],
            Code::Internal,
            "a message begins with the flag byte 7, which is neither 0 nor 1",
        ),
        (
            "unknown encoding",
            snappy(),
            &[&[1, 0, 0, 0, 0]],
            Code::Unimplemented,
            "the request is compressed with `snappy`; this mock takes `identity,gzip,zstd`",
        ),
        (
            "no gzip",
            gzip(),
            &[&[1, 0, 0, 0, 3, 1, 2, 3]],
            Code::Internal,
            "a message is not valid gzip: unexpected end of file",
        ),
    ];
    for (case, request, frames, code, message) in cases {
        let (http, headers, data) = exchange(&requests, request, frames).await;
        let expected = (&*(code as i32).to_string(), message.to_owned());
        assert_eq!(
            (http, data.as_slice(), status(&headers)),
            (200, [].as_slice(), expected),
            "{case}"
        );
        let call = within(server.next_call()).await;
        assert_eq!(call.method(), "Squawk", "{case}");
        assert_eq!(within(call.ended()).await, Outcome::Status(code), "{case}");
    }
    let (_, headers, _) = exchange(&requests, grpc(SQUAWK), &[&[0; 5]]).await;
    assert_eq!(status(&headers).0, "0");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_unknown_compression_is_answered_with_what_is_known() {
    let server = mock().await;
    let requests = connect(&server).await;
    let request = grpc(SQUAWK).header("grpc-encoding", "br");
    let (_, headers, _) = exchange(&requests, request, &[&[1, 0, 0, 0, 0]]).await;
    assert_eq!(
        headers.get("grpc-accept-encoding").unwrap(),
        "identity,gzip,zstd"
    );
}

#[tokio::test]
async fn an_unknown_method_and_bytes_that_are_no_message_are_recorded_too() {
    let server = MockServer::builder()
        .schema(echo_schema())
        .allow_unmatched()
        .start()
        .await;
    server.mount(Stub::method("Squawk").reply(json!({"message": "hi"})));
    let requests = connect(&server).await;
    let (_, headers, _) = exchange(&requests, grpc("/no.such.Service/Method"), &[&[0; 5]]).await;
    assert_eq!(status(&headers).0, "12");
    let call = within(server.next_call()).await;
    assert_eq!(
        (call.service(), call.method(), call.stub()),
        ("no.such.Service", "Method", None)
    );

    // A varint that never ends is no EchoRequest, whatever the stub looks at.
    let (_, headers, _) = exchange(&requests, grpc(SQUAWK), &[&[0, 0, 0, 0, 2, 0xff, 0xff]]).await;
    assert_eq!(
        status(&headers),
        (
            "13",
            "the request is not a valid echo.v1.EchoRequest: failed to decode Protobuf message: invalid varint".to_owned()
        )
    );
    let call = within(server.next_call()).await;
    assert_eq!(call.requests()[0].bytes().as_ref(), [0xff, 0xff]);
    assert_eq!(call.request(), json!(null));
    assert!(
        call.message::<crate::support::echo::EchoRequest>()
            .unwrap_err()
            .is_invalid_message()
    );
}

#[tokio::test]
async fn a_schemaless_call_that_is_none_is_recorded_by_its_path() {
    let server = MockServer::start().await;
    server.mount(Stub::any().reply(json!({})));
    let requests = connect(&server).await;
    let path = "/rpcplugin.v1.Plugin/Call";
    let bodies: [&[&[u8]]; 2] = [&[], &[&[0, 0, 0, 0, 1, 0xff]]];
    for frames in bodies {
        let (_, headers, _) = exchange(&requests, grpc(path), frames).await;
        assert_ne!(status(&headers).0, "0", "{frames:?}");
        assert_eq!(within(server.next_call()).await.path(), path);
    }
}

#[tokio::test]
async fn a_reset_by_the_client_is_recorded_with_its_code() {
    let server = mock().await;
    for (reason, outcome) in [
        (Reason::CANCEL, Outcome::Cancelled),
        (
            Reason::INTERNAL_ERROR,
            Outcome::Reset(Reason::INTERNAL_ERROR),
        ),
    ] {
        let mut requests = within(connect(&server).await.ready()).await.unwrap();
        let request = grpc("/echo.v1.Echo/Join").body(()).unwrap();
        let (_response, mut stream) = requests.send_request(request, false).unwrap();
        let call = within(server.next_call()).await;
        stream.send_reset(reason);
        assert_eq!(within(call.ended()).await, outcome);
    }
}

/// Accepts one connection and answers each call as told, and gives what the client sent.
pub(crate) async fn raw_server(
    answer: impl Fn(server::SendResponse<Bytes>) + Send + 'static,
) -> (Address, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address").into();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((_, respond))) = connection.accept().await {
            answer(respond);
        }
    });
    (address, serving)
}

async fn call(address: &Address) -> rpcplugin_testkit::Error {
    let client = Client::connect(address).await.expect("a connection");
    // A refused stream is repeated until the deadline.
    let call = client.unary::<(), ()>("/a.B/C", ());
    within(call.timeout(Duration::from_secs(1)).into_future())
        .await
        .expect_err("the call fails")
}

/// Every reset code, by the table of the gRPC specification.
#[tokio::test]
async fn a_reset_by_the_server_has_the_code_of_the_specification() {
    let table = [
        (Reason::NO_ERROR, Code::Internal),
        (Reason::PROTOCOL_ERROR, Code::Internal),
        (Reason::INTERNAL_ERROR, Code::Internal),
        (Reason::FLOW_CONTROL_ERROR, Code::Internal),
        (Reason::SETTINGS_TIMEOUT, Code::Internal),
        (Reason::FRAME_SIZE_ERROR, Code::Internal),
        (Reason::REFUSED_STREAM, Code::Unavailable),
        (Reason::CANCEL, Code::Cancelled),
        (Reason::COMPRESSION_ERROR, Code::Internal),
        (Reason::CONNECT_ERROR, Code::Internal),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
    ];
    for (reason, code) in table {
        let (before, _serving) = raw_server(move |mut respond| respond.send_reset(reason)).await;
        let error = call(&before).await;
        assert_eq!(error.code(), Some(code), "before headers: {error:?}");
        let (after, _serving) = raw_server(move |mut respond| {
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .body(())
                .expect("a response");
            respond
                .send_response(response, false)
                .expect("the client waits")
                .send_reset(reason);
        })
        .await;
        let error = call(&after).await;
        assert_eq!(error.code(), Some(code), "after headers: {error:?}");
    }
}

/// By the table of the gRPC specification.
#[tokio::test]
async fn an_answer_that_is_not_grpc_has_the_code_of_its_http_status() {
    let table = [
        (200, "text/html", Code::Unknown),
        (400, "text/html", Code::Internal),
        (401, "text/html", Code::Unauthenticated),
        (403, "text/html", Code::PermissionDenied),
        (404, "application/grpc", Code::Unimplemented),
        (418, "text/html", Code::Unknown),
        (429, "text/html", Code::Unavailable),
        (502, "text/html", Code::Unavailable),
        (503, "application/grpc", Code::Unavailable),
        (504, "text/html", Code::Unavailable),
    ];
    for (http, kind, code) in table {
        let (address, _serving) = raw_server(move |mut respond| {
            let response = Response::builder()
                .status(http)
                .header("content-type", kind)
                .body(());
            let mut stream = respond
                .send_response(response.expect("a response"), false)
                .expect("the client waits");
            let _ = stream.send_data(Bytes::from_static(b"<html>busy</html>"), true);
        })
        .await;
        let error = call(&address).await;
        assert_eq!(error.code(), Some(code), "{http}: {error:?}");
        let status = http::StatusCode::from_u16(http).unwrap();
        let message = format!("not a gRPC response: HTTP {status} with {kind}");
        assert_eq!(error.status().unwrap().message(), message);
    }
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_and_names_the_call() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address: Address = listener.local_addr().unwrap().into();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = server::handshake::<_>(stream).await.expect("HTTP/2");
        let _call = connection.accept().await;
    });
    let error = call(&address).await;
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert!(
        error
            .to_string()
            .starts_with(&format!("/a.B/C at {address} failed: UNAVAILABLE: ")),
        "{error}"
    );
    within(serving).await.unwrap();
}

#[tokio::test]
async fn a_broken_reply_is_an_error_and_never_a_hang() {
    let cases: [(&str, &'static [u8], Code); 5] = [
        ("no message", &[], Code::Internal),
        ("two messages", &[0; 10], Code::Internal),
        ("a cut message", &[0, 0, 0, 0, 9, 1], Code::Internal),
        ("a compressed message", &[1, 0, 0, 0, 0], Code::Internal),
        ("too large", &[0, 255, 255, 255, 255], Code::OutOfRange),
    ];
    for (case, data, code) in cases {
        let (address, _serving) = raw_server(move |mut respond| {
            let response = Response::builder().header("content-type", "application/grpc");
            let response = response.body(()).expect("a response");
            let mut stream = respond
                .send_response(response, false)
                .expect("the client waits");
            stream
                .send_data(Bytes::from_static(data), false)
                .expect("the client waits");
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", 0.into());
            stream.send_trailers(trailers).expect("the client waits");
        })
        .await;
        let error = call(&address).await;
        assert_eq!(error.code(), Some(code), "{case}: {error:?}");
    }
}

#[tokio::test]
async fn a_response_of_trailers_only_has_them_as_trailers() {
    let (address, _serving) = raw_server(|mut respond| {
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "0")
            .header("x-tail", "t");
        let response = response.body(()).expect("a response");
        respond
            .send_response(response, true)
            .expect("the client waits");
    })
    .await;
    let client = Client::connect(&address).await.unwrap();
    let stream = client.server_stream::<(), ()>("/a.B/C", ());
    let mut stream = within(stream.into_future()).await.unwrap();
    assert!(within(stream.message()).await.unwrap().is_none());
    assert!(stream.metadata().is_empty());
    let trailers = within(stream.trailers()).await.unwrap();
    assert_eq!(
        (
            trailers.len(),
            trailers.get("x-tail").unwrap().to_str().unwrap()
        ),
        (1, "t")
    );
}

#[tokio::test]
async fn what_the_client_sends_is_a_grpc_request() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address: Address = listener.local_addr().unwrap().into();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = server::handshake(stream).await.expect("HTTP/2");
        let (request, mut respond) = connection
            .accept()
            .await
            .expect("a call")
            .expect("no error");
        respond
            .send_response(
                Response::builder()
                    .header("grpc-status", "0")
                    .body(())
                    .expect("a response"),
                true,
            )
            .expect("sent");
        tokio::spawn(async move { while connection.accept().await.is_some() {} });
        request.map(drop)
    });
    let client = Client::connect(&address).await.unwrap();
    let _ = within(client.unary::<(), ()>("/a.B/C", ()).into_future()).await;
    let request = within(serving).await.unwrap();
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().to_string(), format!("http://{address}/a.B/C"));
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    };
    assert_eq!(header("content-type"), "application/grpc");
    assert_eq!(header("te"), "trailers");
    // Of 30 s, to a thousandth.
    let millis = header("grpc-timeout").strip_suffix('m');
    let millis = millis.and_then(|number| number.parse().ok());
    assert!(
        millis.is_some_and(|left: u32| (1000..=30_000).contains(&left)),
        "{}",
        header("grpc-timeout")
    );
    assert_eq!(
        header("user-agent"),
        concat!("rpcplugin-testkit/", env!("CARGO_PKG_VERSION"))
    );
}

#[tokio::test]
async fn garbage_instead_of_http2_ends_its_own_connection_only() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Transport::Tcp.start().await;
    server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    let Address::Tcp { host, port, .. } = server.address() else {
        panic!("not TCP");
    };
    let inputs: [&[u8]; 4] = [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        &[0; 64],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for garbage in inputs {
        let mut raw = TcpStream::connect((host.as_str(), *port)).await.unwrap();
        raw.write_all(garbage).await.unwrap();
        raw.shutdown().await.unwrap();
        let _ = within(raw.read_to_end(&mut Vec::new())).await;
        client.call("Echo", json!({})).await.unwrap();
    }
    assert_eq!(server.calls().len(), inputs.len());
}
