//! A crate that did not ask for zstd, with peers that have it. (The crate's own tests have all that there is.)

use bytes::Bytes;
use http::{Request, header::CONTENT_TYPE};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{MockServer, client::ClientConfig};
use tokio::net::TcpStream;

#[test]
fn the_variable_tells_which_feature_it_needs() {
    let read = |value: &str| {
        ClientConfig::from_vars("PLUGIN_", |name| {
            Ok((name == "PLUGIN_COMPRESSION").then(|| value.to_owned()))
        })
    };
    assert!(read("gzip").unwrap().compression.is_some());
    assert_eq!(
        read("zstd").unwrap_err().to_string(),
        "PLUGIN_COMPRESSION is `zstd`, expected `gzip` or `identity`; `zstd` needs the feature `zstd`"
    );
}

#[tokio::test]
async fn the_mock_tells_which_feature_it_needs() {
    let server = MockServer::start().await;
    let uri = server.uri();
    let stream = TcpStream::connect(uri.trim_start_matches("http://")).await;
    let (mut client, connection) = h2::client::handshake(stream.unwrap()).await.unwrap();
    tokio::spawn(connection);

    let request = Request::post(format!("{uri}/kv.v1.Kv/Get"))
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers")
        .header("grpc-encoding", "zstd")
        .body(())
        .unwrap();
    let (response, mut messages) = client.send_request(request, false).unwrap();
    let message = Bytes::from_static(&[1, 0, 0, 0, 1, 0]);
    messages.send_data(message, true).unwrap();

    let response = response.await.unwrap();
    let headers = response.headers();
    assert_eq!(headers["grpc-status"], "12");
    assert_eq!(headers["grpc-accept-encoding"], "identity,gzip");
    let text = percent_encoding::percent_decode(headers["grpc-message"].as_bytes());
    assert_eq!(
        text.decode_utf8().unwrap(),
        "the request is compressed with `zstd`; this mock takes `identity,gzip` \
         (rpcplugin-testkit has zstd by its feature `zstd`)"
    );
}
