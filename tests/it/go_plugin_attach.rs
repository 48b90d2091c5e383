//! Our client attaches to a plugin of go-plugin's own (`tests/go/kv`).

use crate::plugin_probe::judge;
use crate::process::Running;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::plugin::{Handshake, ReattachConfig};
use rpcplugin_testkit::tls::{Authority, Identity};
use rpcplugin_testkit::{Client, Code, Error, Schema, json};
use std::process::Command;

const KV: &[u8] = include_bytes!("../../proto/generated/kv.bin");

/// go-plugin's own plugin, launched as its host does.
async fn their_plugin(variables: &[(&str, &str)]) -> (Running, String) {
    let mut command = Command::new(judge("TESTKIT_GO_PLUGIN"));
    command.env("BASIC_PLUGIN", "hello");
    let mut plugin = Running::start(command.envs(variables.iter().copied()));
    let line = plugin.line().await;
    (plugin, line)
}

#[derive(Clone, PartialEq, prost::Message)]
struct Key {
    #[prost(string, tag = "1")]
    key: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Found {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
}

/// By its reflection, by messages, with a schema of our own; and it ends when it is told to.
async fn use_their_plugin(client: Client, plugin: Running) -> Result<(), Error> {
    client.ping().await?;
    let entry = json!({"key": "a", "value": "MQ=="});
    client.call("Put", entry).await?;
    let got = client.call("proto.KV/Get", json!({"key": "a"})).await;
    assert_eq!(got?, json!({"value": "MQ=="}));
    let entry = Entry {
        key: "b".to_owned(),
        value: b"2".to_vec(),
    };
    client.unary::<_, ()>("/proto.KV/Put", entry).await?;
    let key = Key {
        key: "b".to_owned(),
    };
    let found: Found = client.unary("/proto.KV/Get", key).await?;
    assert_eq!(found.value, b"2");
    let missing = client.call("Get", json!({"key": "missing"})).await;
    let code = missing.expect_err("there is no such key").code();
    assert_eq!(code, Some(Code::NotFound));

    // It has nothing to mirror: that came with go-plugin 1.1.
    within(client.mirror_stdio().ended()).await?;
    within(client.shutdown_server()).await?;
    let ended = plugin.ended().await;
    assert!(ended.success, "{}", ended.text);
    Ok(())
}

#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn our_client_attaches_to_a_go_plugin() {
    let (plugin, line) = their_plugin(&[]).await;
    let handshake: Handshake = line.parse().unwrap();
    // As go-plugin itself prints it.
    assert_eq!(handshake.to_string(), line);
    assert_eq!((handshake.app_version, &handshake.certificate), (1, &None));
    let client = within(Client::attach(&line).connect()).await.unwrap();
    use_their_plugin(client, plugin).await.unwrap();

    let (plugin, line) = their_plugin(&[]).await;
    let handshake: Handshake = line.parse().unwrap();
    let config = ReattachConfig::new(handshake.address).unwrap();
    let schema = Schema::from_descriptor_set(KV).unwrap();
    let builder = Client::attach(config.to_json()).schema(schema);
    let client = within(builder.connect()).await.unwrap();
    use_their_plugin(client, plugin).await.unwrap();
}

/// Its certificate has a P-521 key too.
#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn our_client_attaches_to_a_go_plugin_with_auto_mtls() {
    let identity = Identity::auto_mtls();
    let pem = identity.certificate().pem();
    let (mut plugin, line) = their_plugin(&[("PLUGIN_CLIENT_CERT", &pem)]).await;
    let attach = || Client::attach(&line).identity(identity.clone()).connect();
    if !cfg!(feature = "aws-lc") {
        let error = attach().await.unwrap_err();
        assert!(error.is_handshake());
        assert_eq!(
            error.to_string(),
            "the certificate of the plugin has a key of a kind that this build's TLS does not know: go-plugin makes \
             P-521 keys, for which rpcplugin-testkit needs its feature `aws-lc`"
        );
        plugin.stop();
        return;
    }
    // Who is somebody else, or nobody, is not let in.
    let other = Authority::new().client("other");
    for refused in [Client::attach(&line).identity(other), Client::attach(&line)] {
        let error = within(refused.connect()).await.unwrap_err();
        assert!(error.is_tls(), "{error:?}");
    }
    let client = within(attach()).await.unwrap();
    use_their_plugin(client, plugin).await.unwrap();
}
