//! pyvider-rpcplugin, with gRPC's C core: its host launches our plugins, and our client attaches to its own
//! (`tests/pyvider`).

use crate::plugin_probe::{example, judge};
use crate::process::Running;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::plugin::Handshake;
use rpcplugin_testkit::tls::Identity;
use rpcplugin_testkit::{Address, Client, Code, Schema, json};
use std::{path::Path, process::Command};

const KV: &[u8] = include_bytes!("../../proto/generated/kv.bin");

fn script(name: &str) -> Command {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pyvider");
    let mut command = Command::new(judge("TESTKIT_PYVIDER"));
    command.arg(directory.join(name));
    command
}

/// A host of pyvider, which launches one of our examples and does as it is told.
fn host(options: &[&str], variables: &[(&str, &str)], plugin: &[&str]) -> Running {
    let mut command = script("host.py");
    command.args(options).envs(variables.iter().copied());
    let [name, arguments @ ..] = plugin else {
        panic!("a host launches a plugin");
    };
    command.arg("--").arg(example(name)).args(arguments);
    Running::start(&mut command)
}

async fn lines(host: &mut Running, lines: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < lines {
        told.push(host.line().await);
    }
    told
}

#[tokio::test]
#[ignore = "needs pyvider-rpcplugin: see .ci/run"]
async fn a_pyvider_host_launches_our_plugin() {
    for (transports, network) in [("unix", "unix"), ("tcp", "tcp")] {
        for (security, options) in [("tls", &[][..]), ("plaintext", &["--no-mtls"])] {
            let case = format!("{network} {security}");
            let actions = [
                "connection",
                "put a 1",
                "get a",
                "get b",
                "ping",
                "shutdown",
                "await-exit",
                "exited",
            ];
            let mut options = options.to_vec();
            options.extend(actions.iter().flat_map(|action| ["--do", action]));
            let variables = [("PLUGIN_CLIENT_TRANSPORTS", transports)];
            let mut host = host(&options, &variables, &["mock_plugin"]);
            let connection = host.line().await;
            assert!(
                connection.starts_with(&format!("ok {network} ")),
                "{case}: {connection}"
            );
            assert!(
                connection.ends_with(&format!(" 1 {security}")),
                "{case}: {connection}"
            );
            let expected = [
                "ok",
                "ok 1",
                "error NOT_FOUND: no such key: b",
                "ok SERVING",
                "ok",
                "ok",
                "ok true",
            ];
            assert_eq!(lines(&mut host, expected.len()).await, expected, "{case}");
            let ended = host.ended().await;
            assert!(ended.success, "{case}: {}", ended.text);
        }
    }
}

/// A plugin of pyvider's own, launched as its host does.
async fn their_plugin(options: &[&str], variables: &[(&str, &str)]) -> (Running, Handshake) {
    let mut command = script("server.py");
    command.env("BASIC_PLUGIN", "hello");
    let mut plugin = Running::start(command.args(options).envs(variables.iter().copied()));
    let line = plugin.line().await;
    let handshake: Handshake = line
        .parse()
        .unwrap_or_else(|error| panic!("{line}: {error:?}"));
    assert_eq!(handshake.to_string(), line);
    (plugin, handshake)
}

#[tokio::test]
#[ignore = "needs pyvider-rpcplugin: see .ci/run"]
async fn our_client_attaches_to_a_pyvider_plugin() {
    let identity = Identity::auto_mtls();
    let pem = identity.certificate().pem();
    for network in ["--tcp", "--unix"] {
        for secure in [false, true] {
            let case = format!("{network} {secure}");
            let mut options = vec![network];
            let mut variables = Vec::new();
            if secure {
                options.push("--verify");
                variables.push(("PLUGIN_CLIENT_CERT", pem.as_str()));
            } else {
                options.push("--no-mtls");
            }
            let (plugin, handshake) = their_plugin(&options, &variables).await;
            let is_tcp = matches!(handshake.address, Address::Tcp { .. });
            assert_eq!(is_tcp, network == "--tcp", "{case}");
            assert_eq!(handshake.certificate.is_some(), secure, "{case}");

            let attached =
                Client::attach(&handshake).schema(Schema::from_descriptor_set(KV).unwrap());
            let attached = if secure {
                attached.identity(identity.clone())
            } else {
                attached
            };
            let client = within(attached.connect())
                .await
                .unwrap_or_else(|error| panic!("{case}: {error:?}"));
            let mut mirror = client.mirror_stdio();
            client.ping().await.unwrap();
            let entry = json!({"key": "a", "value": "MQ=="});
            client.call("Put", entry).await.unwrap();
            let got = client.call("Get", json!({"key": "a"})).await;
            assert_eq!(got.unwrap(), json!({"value": "MQ=="}), "{case}");
            let missing = client.call("Get", json!({"key": "b"})).await.unwrap_err();
            assert_eq!(missing.code(), Some(Code::NotFound), "{case}");

            within(client.shutdown_server()).await.unwrap();
            within(mirror.ended()).await.unwrap();
            let ended = plugin.ended().await;
            assert!(ended.success, "{case}: {}", ended.text);
        }
    }
}
