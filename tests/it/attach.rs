//! A client attaches to a plugin that runs.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::MockServerBuilder;
use rpcplugin_testkit::plugin::{Handshake, ReattachConfig};
use rpcplugin_testkit::tls::{Authority, Identity};
use rpcplugin_testkit::{Client, MockServer, ServerTls, Stub, json};

const NETWORKS: [Transport; 2] = [Transport::Tcp, Transport::Unix];

async fn answering(builder: MockServerBuilder) -> MockServer {
    let server = builder.start().await;
    server.mount(Stub::method("Get").reply(json!({"value": 1})));
    server
}

#[tokio::test]
async fn a_plugin_is_attached_to_by_its_line_or_by_json() {
    for transport in NETWORKS {
        for form in 0..6 {
            let server = answering(transport.builder()).await;
            let address = server.address().clone();
            let handshake = Handshake::new(address.clone()).unwrap();
            let config = ReattachConfig::new(address).unwrap();
            let builder = match form {
                0 => Client::attach(handshake),
                1 => Client::attach(handshake.to_string()),
                2 => Client::attach(format!("{handshake}\n").as_str()),
                3 => Client::attach(&config),
                4 => Client::attach(config.to_json()),
                _ => Client::attach(ReattachConfig::to_terraform([("acme/db", &config)])),
            };
            let client = within(builder.connect()).await.unwrap();
            client.ping().await.unwrap();
            let got = client.call("Get", json!({})).await;
            assert_eq!(got.unwrap(), json!({"value": 1}), "{transport:?} {form}");
        }
    }
}

/// As a plugin makes it from `PLUGIN_CLIENT_CERT`.
#[tokio::test]
async fn with_auto_mtls_only_the_two_of_them_take_each_other() {
    let [plugin, host, other] = std::array::from_fn(|_| Identity::auto_mtls());
    for transport in NETWORKS {
        let tls = ServerTls::new(plugin.clone()).require_pinned_client(host.certificate().clone());
        let server = answering(transport.builder().tls(tls)).await;
        let handshake = Handshake::new(server.address().clone()).unwrap();
        let line = handshake
            .clone()
            .certificate(plugin.certificate().clone())
            .to_string();

        let attached = Client::attach(&line).identity(host.clone());
        let client = within(attached.connect()).await.unwrap();
        client.call("Get", json!({})).await.unwrap();
        let call = &server.calls()[0];
        assert_eq!(call.client_certificate().unwrap(), host.certificate());

        let stranger = Authority::new().client("localhost");
        for refused in [
            Client::attach(&line),
            Client::attach(&line).identity(other.clone()),
            Client::attach(&line).identity(stranger),
            // Another plugin than the line tells of.
            Client::attach(handshake.certificate(other.certificate().clone()))
                .identity(host.clone()),
        ] {
            let error = within(refused.connect()).await.unwrap_err();
            assert!(error.is_tls(), "{transport:?}: {error:?}");
        }
        assert_eq!(server.calls().len(), 1);
    }
}

/// Whoever attaches with TLS of their own says so after it.
#[tokio::test]
async fn what_is_said_after_attaching_holds() {
    let server = answering(Transport::Tcp.builder().mtls()).await;
    let config = ReattachConfig::new(server.address().clone()).unwrap();
    let tls = server.client_tls().unwrap();
    let client = within(Client::attach(config).tls(tls).connect())
        .await
        .unwrap();
    client.call("Get", json!({})).await.unwrap();
}
