//! Peers of the mock that speak something else.

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
