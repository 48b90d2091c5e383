//! Peers of the mock that speak something else, or HTTP/2 as `h2` does not take it.

#[cfg(unix)]
use crate::support::Transport;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Address, Client, MockServer, Stub, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Connects to the mock and sends these bytes, and no more if so told. Gives the name by which the mock knows it, when
/// the mock has closed the connection.
async fn send(server: &MockServer, bytes: &[u8], and_end: bool) -> String {
    let Address::Tcp { host, port, .. } = server.address() else {
        panic!("not TCP");
    };
    let mut stream = TcpStream::connect((host.as_str(), *port))
        .await
        .expect("a connection");
    let name = stream.local_addr().expect("an address").to_string();
    // The mock may hang up before it is through.
    let _ = stream.write_all(bytes).await;
    if and_end {
        stream.shutdown().await.expect("it is open");
    }
    // The mock's SETTINGS come first. Then it ends, or is reset when the mock has not read all.
    let _ = within(stream.read_to_end(&mut Vec::new())).await;
    name
}

/// The journal after such bytes, with `PEER` for the name of who sent them. The mock goes on serving.
async fn journal_after(bytes: &[u8], and_end: bool) -> String {
    let server = MockServer::start().await;
    let bystander = server.client().await;
    let peer = send(&server, bytes, and_end).await;
    let told = format!("{}\n", server.journal()).replace(&peer, "PEER");
    server.mount(Stub::method("Ping").reply(json!({})));
    let late = within(Client::connect(server.address()))
        .await
        .expect("it listens");
    for client in [bystander, late] {
        let ping = client.call("Ping", json!({})).into_future();
        within(ping).await.expect("it is served");
    }
    told
}

#[tokio::test]
async fn a_peer_that_does_not_speak_http_2_is_hung_up_on_and_the_journal_tells_what_it_spoke() {
    let cases: [(&[u8], &str); 9] = [
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "an HTTP/1 request from PEER: `GET / HTTP/1.1`",
        ),
        (
            b"POST /echo.v1.Echo/Say HTTP/1.1\r\n\r\n",
            "an HTTP/1 request from PEER: `POST /echo.v1.Echo/Say H…`",
        ),
        (
            b"PUT /\xc3\xa9",
            "an HTTP/1 request from PEER: `PUT /\\xc3\\xa9…`",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "a TLS ClientHello on this plaintext port from PEER",
        ),
        (
            b"\x16\x02",
            "no HTTP/2 preface from PEER: it began with \"\\x16\\x02\"",
        ),
        (
            b"say \"hi\"\n",
            "no HTTP/2 preface from PEER: it began with \"say \\\"hi\\\"\\n\"",
        ),
        (
            b"GETAWAY",
            "no HTTP/2 preface from PEER: it began with \"GETAWAY\"",
        ),
        (
            b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\nand more",
            "no HTTP/2 preface from PEER: it began with \"PRI * HTTP/1.1\\r\\n\\r\\nSM\\r\\n\\r\\n\"",
        ),
        (
            &[0; 100_000],
            "no HTTP/2 preface from PEER: it began with \"\
             \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\
             \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"",
        ),
    ];
    for (bytes, expected) in cases {
        let expected = format!("  no gRPC call: {expected}\n");
        assert_eq!(journal_after(bytes, false).await, expected);
    }
}

#[tokio::test]
async fn a_peer_that_ends_in_the_midst_of_the_preface_is_told_by_the_journal() {
    let told = journal_after(b"PRI * HTTP/2.0\r\n", true).await;
    let expected = "no HTTP/2 preface from PEER: it ended after \"PRI * HTTP/2.0\\r\\n\"";
    assert_eq!(told, format!("  no gRPC call: {expected}\n"));
}

#[tokio::test]
async fn a_peer_that_says_nothing_or_speaks_http_2_is_not_told_by_the_journal() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(journal_after(b"", true).await, "\n");
    assert_eq!(journal_after(preface, true).await, "\n");
    // A frame that says it is longer than any may be.
    let wrong = [preface.as_slice(), &[0xff; 9]].concat();
    assert_eq!(journal_after(&wrong, false).await, "\n");
}

/// What a stock grpcio 1.85 sends for two calls. The fields of the second are references to those of the first.
#[cfg(unix)]
#[tokio::test]
async fn calls_with_the_authority_that_the_grpc_c_core_sends_on_unix_sockets_are_served() {
    let server = Transport::Unix.start_echo().await;
    server.mount(Stub::method("Squawk").reply(json!({})));
    let Address::Unix(path) = server.address() else {
        panic!("not a Unix socket");
    };
    let first = b"@\x05:path\x16/echo.v1.Parrot/Squawk@\n:authority$tmp%2Fa%2Fcap%2Fx%20y~%25%C3%A9.sock\x83\x86\
        @\x0ccontent-type\x10application/grpc@\x02te\x08trailers@\nuser-agent\x12grpc-python/1.85.1";
    let calls: [&[u8]; 2] = [first, b"\xc2\xc1\x83\x86\xc0\xbf\xbe"];
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (block, stream) in calls.into_iter().zip([1, 3]) {
        let length = u8::try_from(block.len()).unwrap();
        sent.extend([0, 0, length, 1, 4, 0, 0, 0, stream]);
        sent.extend(block);
        sent.extend([0, 0, 5, 0, 1, 0, 0, 0, stream, 0, 0, 0, 0, 0]);
    }
    let mut stream = tokio::net::UnixStream::connect(path).await.unwrap();
    // The first head comes apart.
    let (before, after) = sent.split_at(30);
    stream.write_all(before).await.unwrap();
    stream.write_all(after).await.unwrap();
    for call in within(server.wait_for_calls(2)).await {
        assert_eq!(call, ("Squawk", json!({})));
        assert_eq!(within(call.ended()).await, rpcplugin_testkit::Outcome::Ok);
        let kinds = call.metadata().get_all("user-agent").iter();
        assert_eq!(kinds.collect::<Vec<_>>(), ["grpc-python/1.85.1"]);
    }
}
