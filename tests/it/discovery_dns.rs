//! Clients whose endpoints are the addresses of a host, by the system's resolver.

use crate::client_probe::{answering, get};
use crate::discovery::{builder, next};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, Discover as _, Dns};
use rpcplugin_testkit::{
    Address, Authority, Error, MockCluster, MockServer, ServerTls, Stub, json,
};

fn port(address: &Address) -> u16 {
    match address {
        Address::Tcp { port, .. } => *port,
        other => panic!("{other} has no port"),
    }
}

#[tokio::test]
async fn localhost_is_found_and_called() {
    let cluster = answering(MockCluster::start(1).await);
    let port = port(cluster[0].address());
    let source = Dns::new(format!("localhost:{port}")).unwrap();
    assert_eq!(source.name(), "the host `localhost`");
    let client = within(builder().discover(source).connect()).await.unwrap();
    get(&client).await.unwrap();
    let found = client.endpoints();
    let local = found
        .iter()
        .find(|one| one.address == *cluster[0].address());
    assert_eq!(local.unwrap().tls_name.as_deref(), Some("localhost"));
}

#[tokio::test]
async fn the_certificate_is_for_the_host_and_not_for_its_address() {
    let authority = Authority::new();
    let named = authority.server(["localhost"]);
    let tls = ServerTls::new(named);
    let server = MockServer::builder().tls(tls).start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let host = format!("https://localhost:{}", port(server.address()));
    let source = Dns::new(&host).unwrap();
    let tls = || rpcplugin_testkit::ClientTls::new().roots(&authority);
    let client = within(builder().tls(tls()).discover(source.clone()).connect()).await;
    get(&client.unwrap()).await.unwrap();

    let other = source.tls_name("plugins.internal");
    let refused = within(builder().tls(tls()).discover(other).connect()).await;
    let told = format!("{:?}", refused.unwrap_err());
    assert!(told.contains("plugins.internal"), "{told}");
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_an_error_that_names_it() {
    let source = Dns::new("nowhere.invalid:1").unwrap();
    let client = builder().discover(source).connect_lazy().unwrap();
    let mut events = client.events();
    let is_one = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    let ClientEvent::DiscoveryFailed(error) = next(&mut events, is_one).await else {
        unreachable!("it was looked for");
    };
    let told: &Error = &error;
    assert_eq!(
        told.to_string(),
        "the host `nowhere.invalid` cannot be resolved"
    );
    assert!(std::error::Error::source(told).is_some());
}

/// As with other gRPC clients: who stands in front of several hosts goes by it.
#[tokio::test]
async fn a_call_in_plaintext_is_for_the_host_and_not_for_its_address() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let (request, _) = connection.accept().await.expect("a call").expect("HTTP/2");
        request.uri().authority().map(ToString::to_string)
    });
    let source = Dns::new(format!("localhost:{port}")).unwrap();
    let client = builder().discover(source).connect_lazy().unwrap();
    let call = client.unary::<(), ()>("/a.B/C", ());
    let called = tokio::spawn(call.into_future());
    assert_eq!(within(serving).await.unwrap().as_deref(), Some("localhost"));
    called.abort();
}
