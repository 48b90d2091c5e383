//! What the test binaries share.

use rpcplugin_testkit::tls::TlsVersion;
use rpcplugin_testkit::{Authority, Client, ClientTls, MockServer, ServerTls, Stub, json};
use std::{panic::catch_unwind, time::Duration};

/// How long a test that hangs is waited for. Nothing is measured by it.
const LIMIT: Duration = Duration::from_secs(60);

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("it ends")
}

/// A call between a mock and its own client, and one in each version of TLS, all of which show certificates both ways.
pub async fn assert_mutual_tls() {
    let server = MockServer::builder().mtls().start().await;
    server.mount(Stub::any().reply(json!({"served": true})));
    assert_served(&server, &server.client().await, "test client").await;
    assert_keys_serve(&Authority::new()).await;
}

/// A mock and a client whose keys are of this authority's kind.
pub async fn assert_keys_serve(authority: &Authority) {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let tls = ServerTls::mutual(authority).only(version);
        let server = MockServer::builder().tls(tls).start().await;
        server.mount(Stub::any().reply(json!({"served": true})));
        let own = authority.intermediate().client("worker-1");
        let tls = ClientTls::new().roots(authority).identity(own);
        let client = Client::builder().address(server.address()).tls(tls);
        let client = within(client.connect()).await;
        let client = client.unwrap_or_else(|error| panic!("{authority:?}, {version}: {error}"));
        assert_served(&server, &client, "worker-1").await;
    }
}

async fn assert_served(server: &MockServer, client: &Client, name: &str) {
    let reply = within(client.call("Get", json!({})).into_future()).await;
    assert_eq!(reply.expect("it is served"), json!({"served": true}));
    let call = &server.calls()[0];
    let certificate = call.client_certificate().expect("it was shown");
    assert_eq!(certificate.common_name(), Some(name));
}

/// Whoever leaves the provider to rustls gets nowhere in this process.
pub fn assert_no_default_is_of_use() {
    assert!(catch_unwind(rustls::ClientConfig::builder).is_err());
    assert!(catch_unwind(rustls::ServerConfig::builder).is_err());
}
