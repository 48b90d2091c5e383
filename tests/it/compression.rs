//! Compression: the client against a stock tonic server, and against raw HTTP/2.

use crate::judges::{EchoService, reply, request};
use crate::raw::raw_server;
use crate::support::{
    ECHO_DESCRIPTOR_SET,
    echo::{EchoReply, EchoRequest, echo_client::EchoClient, echo_server::EchoServer},
    echo_schema, repeat_what_is_said, within,
};
use bytes::Bytes;
use flate2::{read::GzDecoder, write::GzEncoder};
use http::HeaderMap;
use prost::Message as _;
use rpcplugin_testkit::{Address, Client, ClientConfig, Code, Compression, Error, json};
use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};
use tokio_stream::{
    StreamExt as _,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{
    body::Body, codec::CompressionEncoding, codegen::Service, server::NamedService,
    transport::Server,
};

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];
const SAY: &str = "/echo.v1.Echo/Say";

fn encoding(compression: Compression) -> CompressionEncoding {
    match compression {
        Compression::Gzip => CompressionEncoding::Gzip,
        Compression::Zstd => CompressionEncoding::Zstd,
        other => panic!("{other} is not tonic's"),
    }
}

/// The compression headers of a request and of its response: `grpc-encoding`, `grpc-accept-encoding`, `grpc-encoding`.
type Seen = [String; 3];

/// tonic's own service, with a look at what passes.
#[derive(Clone)]
struct Watched {
    inner: EchoServer<EchoService>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl NamedService for Watched {
    const NAME: &'static str = EchoServer::<EchoService>::NAME;
}

fn header(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).map(|value| value.to_str().expect("text"));
    value.unwrap_or("-").to_owned()
}

impl Service<http::Request<Body>> for Watched {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let ours =
            ["grpc-encoding", "grpc-accept-encoding"].map(|name| header(request.headers(), name));
        let [with, accepted] = ours;
        let seen = Arc::clone(&self.seen);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            let theirs = header(response.headers(), "grpc-encoding");
            seen.lock()
                .expect("no panic")
                .push([with, accepted, theirs]);
            Ok(response)
        })
    }
}

struct Judge {
    address: Address,
    seen: Arc<Mutex<Vec<Seen>>>,
    _stop: oneshot::Sender<()>,
}

impl Judge {
    /// What was seen since the last look.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }
}

/// A stock tonic server that accepts and sends these; its reflection and health accept none.
async fn judge(accepts: Option<Compression>, sends: Option<Compression>) -> Judge {
    let mut inner = EchoServer::new(EchoService);
    if let Some(accepts) = accepts {
        inner = inner.accept_compressed(encoding(accepts));
    }
    if let Some(sends) = sends {
        inner = inner.send_compressed(encoding(sends));
    }
    let seen = Arc::default();
    let watched = Watched {
        inner,
        seen: Arc::clone(&seen),
    };
    let (_reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(ECHO_DESCRIPTOR_SET)
        .build_v1()
        .expect("reflection");
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address").into();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = Server::builder()
        .add_service(watched)
        .add_service(health)
        .add_service(reflection);
    tokio::spawn(
        router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            drop(stopped.await)
        }),
    );
    Judge {
        address,
        seen,
        _stop: stop,
    }
}

/// Short, empty, and larger than a window and than tonic's buffers.
fn messages() -> [String; 4] {
    let large: String = (0..200_000_u64)
        .map(|number| (number.pow(2) % 89).to_string())
        .collect();
    [
        "short".to_owned(),
        String::new(),
        "again ".repeat(100),
        large,
    ]
}

#[tokio::test]
async fn a_stock_tonic_server_is_called_in_every_shape_with_and_without_compression() {
    for compression in BOTH {
        for (requests, responses) in [(true, false), (false, true), (true, true)] {
            let on = |on: bool| Some(compression).filter(|_| on);
            let server = judge(on(requests), on(responses)).await;
            let client = Client::connect(&server.address).await.unwrap();
            every_shape(&client, on(requests)).await;
            let name = |with| on(with).map_or_else(|| "-".to_owned(), |with| with.to_string());
            let expected = [
                name(requests),
                "identity,gzip,zstd".to_owned(),
                name(responses),
            ];
            let seen = server.seen();
            assert_eq!(seen.len(), 7);
            for seen in seen {
                assert_eq!(seen, expected, "{compression}");
            }
        }
    }
}

/// Seven calls.
async fn every_shape(client: &Client, compression: Option<Compression>) {
    for message in messages() {
        let said = client
            .unary::<_, EchoReply>(SAY, request(&message))
            .compress(compression);
        let response = within(said.response()).await.expect("it is answered");
        assert!(response.message() == &reply(&message));
        assert!(response.metadata().get("grpc-encoding").is_none());
    }
    let all = messages().join(" ");
    let split = client.server_stream::<_, EchoReply>("/echo.v1.Echo/Split", request(&all));
    let mut split = within(split.compress(compression).into_future())
        .await
        .expect("it is answered");
    for word in all.split(' ') {
        let reply = within(split.message())
            .await
            .expect("it is answered")
            .expect("a word");
        assert!(reply.message == word);
    }
    assert!(
        within(split.message())
            .await
            .expect("it is answered")
            .is_none()
    );

    let requests = tokio_stream::iter(messages()).map(|message| request(&message));
    let joined = client.client_stream::<_, EchoReply>("/echo.v1.Echo/Join", requests);
    let joined = within(joined.compress(compression).into_future())
        .await
        .expect("it is answered");
    assert!(joined.message == all);

    // One at a time: no message waits for the next.
    let (requests, stream) = mpsc::channel(1);
    let chat =
        client.bidi_stream::<_, EchoReply>("/echo.v1.Echo/Chat", ReceiverStream::new(stream));
    let mut chat = within(chat.compress(compression).into_future())
        .await
        .expect("it is answered");
    for message in messages() {
        requests
            .send(request(&message))
            .await
            .expect("it is answered");
        let reply = within(chat.message())
            .await
            .expect("it is answered")
            .expect("a reply");
        assert!(reply.message == message);
    }
    drop(requests);
    assert!(
        within(chat.message())
            .await
            .expect("it is answered")
            .is_none()
    );
}

#[tokio::test]
async fn a_client_compresses_all_its_calls_but_those_that_say_otherwise() {
    for compression in BOTH {
        let server = judge(Some(compression), None).await;
        let client = Client::builder()
            .address(&server.address)
            .compression(compression);
        let client = client.connect().await.unwrap();
        // tonic's reflection and health accept no compression.
        within(
            client
                .call("Echo/Say", json!({"message": "json"}))
                .into_future(),
        )
        .await
        .unwrap();
        client.health_check().await.unwrap();
        let mut generated = EchoClient::new(client.clone());
        let said = within(generated.say(request("generated"))).await.unwrap();
        assert_eq!(said.into_inner(), reply("generated"));
        let plain = client
            .call("Echo/Say", json!({"message": "plain"}))
            .compress(None);
        within(plain.into_future()).await.unwrap();
        let with: Vec<_> = server.seen().into_iter().map(|[with, ..]| with).collect();
        let name = compression.to_string();
        assert_eq!(with, [name.as_str(), &name, "-"]);
    }
}

#[tokio::test]
async fn what_a_generated_client_declares_itself_it_does_itself() {
    let (gzip, zstd) = (CompressionEncoding::Gzip, CompressionEncoding::Zstd);
    let server = judge(Some(Compression::Zstd), Some(Compression::Gzip)).await;
    let client = Client::builder()
        .address(&server.address)
        .compression(Compression::Gzip);
    let client = client.connect().await.unwrap();
    let message = "message ".repeat(1000);
    let sends = EchoClient::new(client.clone()).send_compressed(zstd);
    let accepts = EchoClient::new(client)
        .send_compressed(zstd)
        .accept_compressed(gzip);
    for mut generated in [sends, accepts] {
        let said = within(generated.say(request(&message))).await.unwrap();
        assert_eq!(said.into_inner(), reply(&message));
    }
    let expected = [
        ["zstd", "identity,gzip,zstd", "gzip"],
        ["zstd", "gzip,identity", "gzip"],
    ];
    assert_eq!(server.seen(), expected);
}

#[tokio::test]
async fn a_refused_compression_is_told_with_what_the_server_takes() {
    let server = judge(Some(Compression::Zstd), None).await;
    let client = Client::connect(&server.address).await.unwrap();
    let call = client
        .unary::<_, EchoReply>(SAY, request("hi"))
        .compress(Compression::Gzip);
    let error = within(call.into_future()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unimplemented));
    let expected = format!(
        "{SAY} at {} failed: UNIMPLEMENTED: Content is compressed with `gzip` which isn't supported: \
         the server takes `zstd,identity`",
        server.address
    );
    assert_eq!(error.to_string(), expected);
}

/// A raw server that answers the calls of one connection with this body.
async fn answering(
    encoding: &'static str,
    body: Vec<u8>,
) -> (Address, tokio::task::JoinHandle<()>) {
    let body = Bytes::from(body);
    raw_server(move |mut respond| {
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-encoding", encoding);
        let mut stream = respond
            .send_response(response.body(()).expect("a response"), false)
            .expect("the client waits");
        let _ = stream.send_data(body.clone(), false);
        let _ = stream.send_trailers(HeaderMap::from_iter([(
            "grpc-status".parse().expect("a name"),
            0.into(),
        )]));
    })
    .await
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len())
        .expect("it is short")
        .to_be_bytes();
    [&[flag], length.as_slice(), message].concat()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder
        .write_all(message)
        .and_then(|()| encoder.finish())
        .expect("memory does not fail")
}

async fn say(client: &Client) -> Result<EchoReply, Error> {
    within(client.unary(SAY, request("hi")).into_future()).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_response_that_cannot_be_decompressed_is_an_error_that_names_the_call() {
    // A member after the other makes a bomb that is cheap to build: 1 GiB in a megabyte.
    let bomb = gzip(&vec![0; 1 << 20]).repeat(1 << 10);
    let cut = gzip(b"a message that is cut");
    let cases = [
        (
            "br",
            framed(1, b"x"),
            Code::Internal,
            "the response is compressed with `br`, and this client takes `identity,gzip,zstd`",
        ),
        (
            "gzip",
            framed(1, b"no gzip at all"),
            Code::Internal,
            "a message is not valid gzip: ",
        ),
        (
            "gzip",
            framed(1, &cut[..20]),
            Code::Internal,
            "a message is not valid gzip: ",
        ),
        (
            "zstd",
            framed(1, b"no zstd at all"),
            Code::Internal,
            "a message is not valid zstd: ",
        ),
        (
            "gzip",
            framed(1, &bomb),
            Code::ResourceExhausted,
            "a gzip message decompresses to more than the limit of 4194304 bytes",
        ),
        (
            "gzip",
            framed(3, &[]),
            Code::Internal,
            "a message begins with the flag byte 3, which is neither 0 nor 1",
        ),
        (
            "gzip",
            framed(1, b"cut")[..6].to_vec(),
            Code::Internal,
            "the stream ended 2 bytes before the end of a message",
        ),
    ];
    for (encoding, body, code, text) in cases {
        let (address, _serving) = answering(encoding, body).await;
        let client = Client::connect(&address).await.unwrap();
        let error = say(&client).await.unwrap_err();
        assert_eq!(error.code(), Some(code), "{encoding}: {error:?}");
        assert!(
            error.status().unwrap().message().starts_with(text),
            "{error:?}"
        );
        let place = format!("{SAY} at {address} failed: ");
        assert!(
            error.to_string().starts_with(&place) && error.to_string().contains(text),
            "{error}"
        );
        // The connection has not suffered.
        assert_eq!(say(&client).await.unwrap_err().code(), Some(code));
    }
    // Without an encoding, the flag is what is wrong.
    let (address, _serving) = answering("identity", framed(1, b"x")).await;
    let error = say(&Client::connect(&address).await.unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Internal), "{error:?}");
}

#[tokio::test]
async fn the_limit_holds_for_what_is_decompressed() {
    let expected = reply(&"a".repeat(10_000));
    let encoded = expected.encode_to_vec();
    for (limit, fits) in [(encoded.len(), true), (encoded.len() - 1, false)] {
        let (address, _serving) = answering("gzip", framed(1, &gzip(&encoded))).await;
        let client = Client::builder().address(&address).max_message_size(limit);
        let client = client.connect().await.unwrap();
        let said = say(&client).await;
        match fits {
            true => assert_eq!(said.unwrap(), expected),
            false => assert_eq!(said.unwrap_err().code(), Some(Code::ResourceExhausted)),
        }
    }
}

/// Answers every call with `OK` and one empty message, and gives the request.
async fn capture() -> (Address, mpsc::UnboundedReceiver<(HeaderMap, Vec<u8>)>) {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address").into();
    let (captured, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let captured = captured.clone();
            tokio::spawn(async move {
                let (parts, mut body) = request.into_parts();
                let mut bytes = Vec::new();
                while let Some(Ok(data)) = body.data().await {
                    bytes.extend_from_slice(&data);
                }
                let _ = captured.send((parts.headers, bytes));
                let response = http::Response::builder().header("content-type", "application/grpc");
                let mut stream = respond
                    .send_response(response.body(()).expect("a response"), false)
                    .expect("the client waits");
                let _ = stream.send_data(Bytes::from_static(&[0; 5]), false);
                let _ = stream.send_trailers(HeaderMap::from_iter([(
                    "grpc-status".parse().expect("a name"),
                    0.into(),
                )]));
            });
        }
    });
    (address, receiver)
}

#[tokio::test]
async fn what_is_sent_compressed_says_so() {
    let (address, mut captured) = capture().await;
    let client = Client::builder()
        .address(&address)
        .schema(echo_schema())
        .connect()
        .await
        .unwrap();
    let message = "message ".repeat(100);
    let call = client
        .call("Echo/Say", json!({"message": message}))
        .compress(Compression::Gzip);
    within(call.into_future()).await.unwrap();
    let (headers, body) = within(captured.recv()).await.unwrap();
    assert_eq!(header(&headers, "grpc-encoding"), "gzip");
    assert_eq!(
        header(&headers, "grpc-accept-encoding"),
        "identity,gzip,zstd"
    );
    let mut plain = Vec::new();
    GzDecoder::new(&body[5..]).read_to_end(&mut plain).unwrap();
    assert_eq!(
        EchoRequest::decode(plain.as_slice()).unwrap(),
        request(&message)
    );
    assert_eq!(body, framed(1, &body[5..]));

    let empty = client
        .call("Echo/Say", json!({}))
        .compress(Compression::Zstd);
    within(empty.into_future()).await.unwrap();
    let (headers, body) = within(captured.recv()).await.unwrap();
    assert_eq!(
        (header(&headers, "grpc-encoding"), body),
        ("zstd".to_owned(), vec![0; 5])
    );

    within(
        client
            .call("Echo/Say", json!({"message": "hi"}))
            .into_future(),
    )
    .await
    .unwrap();
    let (headers, body) = within(captured.recv()).await.unwrap();
    let plain = framed(0, &request("hi").encode_to_vec());
    assert_eq!(
        (header(&headers, "grpc-encoding"), body),
        ("-".to_owned(), plain)
    );
}

#[test]
fn the_environment_names_a_compression() {
    let read = |value: &str| {
        ClientConfig::from_vars("PLUGIN_", |name| {
            Ok((name == "PLUGIN_COMPRESSION").then(|| value.to_owned()))
        })
    };
    let table = [
        ("gzip", Some(Compression::Gzip)),
        (" ZSTD\n", Some(Compression::Zstd)),
        ("identity", None),
        ("", None),
    ];
    for (written, expected) in table {
        assert_eq!(read(written).unwrap().compression, expected, "{written:?}");
    }
    for bad in ["br", "deflate", "gzip,zstd", "none", "true"] {
        let error = read(bad).unwrap_err();
        let expected =
            format!("PLUGIN_COMPRESSION is `{bad}`, expected `gzip`, `zstd` or `identity`");
        assert_eq!(error.to_string(), expected);
        assert!(error.is_config());
    }
}

/// The mock in the middle: {gzip, zstd} × {our client, tonic's} × {by reply, by server}, both ways, all four shapes.
#[tokio::test]
async fn the_mock_takes_and_gives_both_compressions() {
    for compression in BOTH {
        for by_server in [false, true] {
            let server = compressing_mock(compression, by_server).await;
            let text = "squeeze me ".repeat(1000);
            let args = || json!({"message": text});

            let builder = Client::builder()
                .address(server.address())
                .schema(echo_schema());
            let client = builder.compression(compression).connect().await.unwrap();
            let said = within(client.call("Echo/Say", args()).into_future())
                .await
                .unwrap();
            assert_eq!(said["message"], text);
            let mut split = within(client.call_server_stream("Split", args()).into_future())
                .await
                .unwrap();
            assert_eq!(
                within(split.message()).await.unwrap().unwrap()["message"],
                text
            );
            assert_eq!(
                within(split.message()).await.unwrap().unwrap()["message"],
                ""
            );
            let many = || tokio_stream::iter([args(), json!({})]);
            let joined = within(client.call_client_stream("Join", many()).into_future())
                .await
                .unwrap();
            assert_eq!(joined["message"], text);
            let mut chat = within(client.call_bidi_stream("Chat", many()).into_future())
                .await
                .unwrap();
            assert_eq!(
                within(chat.message()).await.unwrap().unwrap()["message"],
                text
            );

            call_by_tonic(&server, compression, &text).await;
            for call in server.calls() {
                assert_eq!(
                    call.metadata().get("grpc-encoding").unwrap(),
                    compression.to_string().as_str()
                );
                // An empty message is left as it is.
                let compressed = |messages: Vec<rpcplugin_testkit::mock::RecordedMessage>| {
                    messages
                        .iter()
                        .all(|message| message.is_compressed() != message.bytes().is_empty())
                };
                assert!(
                    compressed(call.requests()) && compressed(call.replies()),
                    "{call:.100}"
                );
            }
            assert_eq!(server.calls().len(), 6);
        }
    }
}

async fn call_by_tonic(
    server: &rpcplugin_testkit::MockServer,
    compression: Compression,
    text: &str,
) {
    let channel = tonic::transport::Endpoint::from_shared(server.uri())
        .expect("it works")
        .connect()
        .await
        .expect("it works");
    let mut stock = EchoClient::new(channel)
        .send_compressed(encoding(compression))
        .accept_compressed(encoding(compression));
    let request = EchoRequest {
        message: text.to_owned(),
        ..EchoRequest::default()
    };
    let said = within(stock.say(request.clone())).await.expect("it works");
    assert_eq!(
        said.metadata().get("grpc-encoding").expect("it works"),
        compression.to_string().as_str()
    );
    assert_eq!(said.into_inner().message, text);
    let requests = tokio_stream::iter([request.clone(), request]);
    let mut chat = within(stock.chat(requests))
        .await
        .expect("it works")
        .into_inner();
    assert_eq!(
        within(chat.message())
            .await
            .expect("it works")
            .expect("it works")
            .message,
        text
    );
}

async fn compressing_mock(
    compression: Compression,
    by_server: bool,
) -> rpcplugin_testkit::MockServer {
    use rpcplugin_testkit::{Call, MockServer, Reply, Stub};
    let builder = MockServer::builder().schema(echo_schema());
    let server = if by_server {
        builder.compression(compression)
    } else {
        builder
    }
    .start()
    .await;
    let packed = move |reply: Reply| {
        if by_server {
            reply
        } else {
            reply.compress(compression)
        }
    };
    let first = |call: &Call| match call.request() {
        serde_json::Value::Array(many) => many[0]["message"].clone(),
        one => one["message"].clone(),
    };
    server.mount(
        Stub::any().reply(move |call: &Call| packed(Reply::json(json!({"message": first(call)})))),
    );
    server.mount(Stub::method("Split").reply(move |call: &Call| {
        packed(Reply::stream([json!({"message": first(call)}), json!({})]))
    }));
    if by_server {
        // A closure over the stream has no reply of its own to say it.
        server.mount(Stub::method("Chat").reply(repeat_what_is_said));
    }
    server
}

/// Nobody gets what he did not say he understands; `None` switches it off for one reply.
#[tokio::test]
async fn the_mock_compresses_for_those_who_accept_it() {
    use rpcplugin_testkit::{MockServer, Reply, Stub};
    let builder = MockServer::builder().schema(echo_schema());
    let server = builder.compression(Compression::Zstd).start().await;
    server.mount(Stub::method("Echo/Say").reply(json!({"message": "hi"})));
    server
        .mount(Stub::method("Squawk").reply(Reply::json(json!({"message": "hi"})).compress(None)));
    let endpoint = tonic::transport::Endpoint::from_shared(server.uri()).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let request = EchoRequest::default;
    let mut plain = EchoClient::new(channel.clone());
    let mut gzip = EchoClient::new(channel.clone()).accept_compressed(CompressionEncoding::Gzip);
    let mut zstd = EchoClient::new(channel).accept_compressed(CompressionEncoding::Zstd);
    for (client, compressed) in [(&mut plain, false), (&mut gzip, false), (&mut zstd, true)] {
        let said = within(client.say(request())).await.unwrap();
        assert_eq!(said.metadata().contains_key("grpc-encoding"), compressed);
        assert_eq!(said.into_inner().message, "hi");
    }
    let flags: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.replies()[0].is_compressed())
        .collect();
    assert_eq!(flags, [false, false, true]);
    let client = server.client().await;
    within(client.call("Squawk", json!({})).into_future())
        .await
        .unwrap();
    assert!(!server.calls()[3].replies()[0].is_compressed());
}
