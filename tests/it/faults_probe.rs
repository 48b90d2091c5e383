//! What the tests of faults share: servers on all transports, and sockets whose bytes are looked at one by one.

use crate::support::{Transport, echo_schema, redialling, within};
use rpcplugin_testkit::client::ClientBuilder;
use rpcplugin_testkit::mock::MockServerBuilder;
use rpcplugin_testkit::{Address, Client, Fault, MockServer, Reply, Stub, json};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Makes a fault of a table, as often as it is needed.
pub(crate) type Make = fn() -> Fault;

/// A transport, and whether TLS is spoken on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) transport: Transport,
    pub(crate) secure: bool,
}

impl Wire {
    pub(crate) fn all() -> Vec<Self> {
        let both = |transport| [false, true].map(|secure| Self { transport, secure });
        Transport::ALL.into_iter().flat_map(both).collect()
    }

    pub(crate) fn builder(self) -> MockServerBuilder {
        self.transport.secured(self.secure).schema(echo_schema())
    }

    /// A mock of the echo service that answers `Squawk` with `hi`, and `Split` with five messages.
    pub(crate) async fn start(self) -> MockServer {
        let server = self.builder().start().await;
        mount(&server);
        server
    }
}

pub(crate) fn mount(server: &MockServer) {
    server.mount(
        Stub::method("Squawk")
            .reply(json!({"message": "hi"}))
            .times(0..),
    );
    let five = (0..5).map(|n| json!({"message": n.to_string()}));
    server.mount(Stub::method("Split").reply(Reply::stream(five)).times(0..));
}

/// How to dial a server, again at once if it has to be.
pub(crate) fn dialling(server: &MockServer) -> ClientBuilder {
    redialling(server, server.address())
}

pub(crate) async fn client(server: &MockServer) -> Client {
    within(dialling(server).connect())
        .await
        .expect("it listens")
}

pub(crate) async fn squawk(client: &Client) -> Result<(), rpcplugin_testkit::Error> {
    let call = client.call("Squawk", json!({})).wait_for_ready();
    let reply = within(call.into_future()).await?;
    assert_eq!(reply["message"], "hi");
    Ok(())
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A socket to a server, with nothing on it. There is none in memory.
pub(crate) async fn try_socket(address: &Address) -> io::Result<Box<dyn Io>> {
    Ok(match address {
        Address::Tcp { host, port, .. } => {
            Box::new(TcpStream::connect((host.as_str(), *port)).await?)
        }
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        other => panic!("no socket leads to {other}"),
    })
}

pub(crate) async fn socket(server: &MockServer) -> Box<dyn Io> {
    within(try_socket(server.address()))
        .await
        .expect("it listens")
}

/// The preface of HTTP/2 with empty SETTINGS.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// PING, and its answer.
pub(crate) const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0whatever";
pub(crate) const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0whatever";

/// A frame on stream 1.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
}

/// The headers of a call, in literals only
/// ([RFC 7541, section 6.2.2](https://www.rfc-editor.org/rfc/rfc7541#section-6.2.2)).
fn headers(path: &str) -> Vec<u8> {
    // POST and http, of the static table.
    let mut block = vec![0x83, 0x86];
    let fields = [
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    // END_HEADERS
    frame(1, 4, &block)
}

/// A whole conversation up to its first call, whose one message is this.
pub(crate) fn conversation(path: &str, message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(message.len()).expect("short");
    let data = [&[0, 0, 0, 0, length], message].concat();
    // END_STREAM
    [PREFACE, &headers(path), &frame(0, 1, &data)].concat()
}

/// What comes, until something ends: the connection, or (by END_STREAM) stream 1.
pub(crate) async fn read_call(stream: &mut Box<dyn Io>) -> (Vec<u8>, Option<io::Result<()>>) {
    let mut got = Vec::new();
    loop {
        let read = within(stream.read_buf(&mut got)).await;
        match read {
            Ok(0) => return (got, Some(Ok(()))),
            Ok(_) if has_ended(&got) => return (got, None),
            Ok(_) => {}
            Err(error) => return (got, Some(Err(error))),
        }
    }
}

/// Whether there is a frame that ends stream 1.
fn has_ended(mut bytes: &[u8]) -> bool {
    while let Some(head) = bytes.first_chunk::<9>() {
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some(rest) = bytes.get(9 + length..) else {
            return false;
        };
        if head[8] == 1 && head[3] <= 1 && head[4] & 1 == 1 {
            return true;
        }
        bytes = rest;
    }
    false
}

/// What the server sends in the conversation with `Squawk`, when nothing is wrong.
pub(crate) async fn all_that_is_sent(server: &MockServer) -> Vec<u8> {
    let mut stream = socket(server).await;
    let said = conversation(SQUAWK, b"");
    within(stream.write_all(&said)).await.expect("sent");
    let (got, ended) = read_call(&mut stream).await;
    assert!(ended.is_none(), "{ended:?}");
    got
}

pub(crate) const SQUAWK: &str = "/echo.v1.Parrot/Squawk";

/// Waits until the server has noticed that everybody has gone.
pub(crate) async fn alone(server: &MockServer) {
    within(async {
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until this is so. Nothing tells a test of it.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What was told, with `HERE` for every place in the tests.
pub(crate) fn without_places(text: &str) -> String {
    let mut pieces = text.split("tests/it/");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |told, piece| {
        let rest = piece.split_once(".rs:").map_or(piece, |(_, rest)| rest);
        told + "HERE"
            + rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ':')
    })
}

/// What a panic says, in the same way.
pub(crate) fn panic_text(panic: Box<dyn std::any::Any + Send>) -> String {
    without_places(&panic.downcast::<String>().expect("text"))
}
