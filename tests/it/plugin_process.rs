//! Programs that are plugins, launched as their hosts do: what they print, whom they serve, when they end.

use crate::plugin_probe::{example, launch, launched};
use crate::process::{Ended, Running};
use crate::support::{rows, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::plugin::Handshake;
use rpcplugin_testkit::tls::Identity;
use rpcplugin_testkit::{Address, Client, Code, MockServer, json};
use std::process::Command;

/// Connects to a plugin, which then does as go-plugin's example.
async fn use_plugin(handshake: &Handshake, identity: Option<&Identity>) -> Client {
    let mut attached = Client::attach(handshake);
    if let Some(identity) = identity {
        attached = attached.identity(identity.clone());
    }
    let client = within(attached.connect()).await.expect("it is served");
    client.ping().await.expect("it is there");
    let entry = json!({"key": "a", "value": "MQ=="});
    client.call("Put", entry).await.expect("it stores");
    let got = client.call("proto.KV/Get", json!({"key": "a"})).await;
    assert_eq!(got.expect("it has it"), json!({"value": "MQ=="}));
    let missing = client.call("Get", json!({"key": "b"})).await;
    let code = missing.expect_err("nobody put it").code();
    assert_eq!(code, Some(Code::NotFound));
    client
}

/// It prints one line, and nothing else, and exits in good order.
#[tokio::test]
async fn a_plugin_prints_its_line_serves_and_ends_when_it_is_told() {
    let (plugin, handshake) = launched("mock_plugin", &[], &[]).await;
    assert_eq!(handshake.app_version, 1);
    assert!(
        matches!(&handshake.address, Address::Unix(_)),
        "{handshake}"
    );
    assert_eq!(handshake.certificate, None);
    let client = use_plugin(&handshake, None).await;
    within(client.shutdown_server()).await.unwrap();
    plugin.finish().await;
    let Address::Unix(path) = handshake.address else {
        panic!("it was one");
    };
    assert!(!path.exists(), "{} is left", path.display());
}

#[tokio::test]
async fn a_plugin_with_auto_mtls_serves_its_host_alone() {
    let host = Identity::auto_mtls();
    let pem = host.certificate().pem();
    let variables = [("PLUGIN_CLIENT_CERT", pem.as_str())];
    let (plugin, handshake) = launched("mock_plugin", &[], &variables).await;
    let certificate = handshake.certificate.clone().expect("it has one");
    assert_eq!(certificate.dns_names(), ["localhost"]);

    let stranger = Client::attach(&handshake).identity(Identity::auto_mtls());
    let error = within(stranger.connect()).await.unwrap_err();
    assert!(error.is_tls(), "{error:?}");
    let client = use_plugin(&handshake, Some(&host)).await;
    within(client.shutdown_server()).await.unwrap();
    plugin.finish().await;
}

#[tokio::test]
async fn the_host_says_where_it_listens() {
    // A directory that the host owns.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let (mut plugin, handshake) =
        launched("mock_plugin", &[], &[("PLUGIN_UNIX_SOCKET_DIR", path)]).await;
    let Address::Unix(socket) = &handshake.address else {
        panic!("{handshake}");
    };
    assert_eq!(socket.parent(), Some(dir.path()));
    use_plugin(&handshake, None).await;
    plugin.stop();

    // pyvider's variable.
    for (transports, tcp) in [
        ("tcp,unix", true),
        ("unix,tcp", false),
        ("[\"tcp\"]", true),
        ("other", false),
    ] {
        let variables = [("PLUGIN_CLIENT_TRANSPORTS", transports)];
        let (mut plugin, handshake) = launched("mock_plugin", &[], &variables).await;
        let is_tcp = matches!(handshake.address, Address::Tcp { .. });
        assert_eq!(is_tcp, tcp, "{transports}: {handshake}");
        use_plugin(&handshake, None).await;
        plugin.stop();
    }
}

/// All of the two ports are taken by mocks, which go one after the other.
#[tokio::test]
async fn a_port_is_taken_from_those_that_the_host_allows() {
    let taken = MockServer::start().await;
    let Address::Tcp { port, .. } = taken.address() else {
        panic!("{taken:?}");
    };
    let port = port.to_string();
    let variables = [
        ("RPCPLUGIN_TCP", "1"),
        ("PLUGIN_MIN_PORT", port.as_str()),
        ("PLUGIN_MAX_PORT", port.as_str()),
    ];
    let Ended { success, text } = launch("broken_plugin", &["none"], &variables).ended().await;
    assert!(!success);
    let first = text.lines().next().unwrap_or_default();
    assert_eq!(
        first,
        format!(
            "none of the ports from PLUGIN_MIN_PORT to PLUGIN_MAX_PORT is free ({port} to {port})"
        )
    );
    drop(taken);
    let (mut plugin, handshake) = launched("broken_plugin", &["none"], &variables).await;
    assert_eq!(
        handshake.address,
        Address::tcp("127.0.0.1", port.parse().unwrap())
    );
    plugin.stop();
}

#[tokio::test]
async fn the_newest_version_that_both_have_is_told() {
    for (offered, spoken) in [
        ("", 1),
        ("1", 1),
        ("2,1", 2),
        ("7,2", 2),
        ("7,8", 1),
        ("two,1", 1),
    ] {
        let variables = [("PLUGIN_PROTOCOL_VERSIONS", offered)];
        let (mut plugin, handshake) = launched("broken_plugin", &["none"], &variables).await;
        assert_eq!(handshake.app_version, spoken, "{offered}");
        plugin.stop();
    }
}

/// Nothing on stdout, the reason on stderr, and the exit code 1.
#[tokio::test]
async fn what_keeps_a_plugin_from_serving_is_told() {
    let table = r"
BASIC_PLUGIN=olleh => this program is a plugin, which its host launches, and not one to be run by hand: the variable BASIC_PLUGIN does not have the value that the host gives it
PLUGIN_CLIENT_CERT=none => PLUGIN_CLIENT_CERT has no certificate of the host\n  caused by: the PEM text has no certificate: it has no complete block
PLUGIN_MIN_PORT=high => PLUGIN_MIN_PORT is `high`, expected a port
PLUGIN_MIN_PORT=70000 => PLUGIN_MIN_PORT is `70000`, expected a port
PLUGIN_MIN_PORT=1000 => PLUGIN_MIN_PORT is 1000 and PLUGIN_MAX_PORT is 0, expected the first to be lower
PLUGIN_UNIX_SOCKET_DIR=/nowhere/at/all => ..: No such file or directory (os error 2)
";
    for (variable, told) in rows(table) {
        let variable = variable.split_once('=').expect("a name and a value");
        let Ended { success, text } = launch("mock_plugin", &[], &[variable]).ended().await;
        assert!(!success, "{variable:?}");
        let told = told.replace("\\n", "\n");
        match told.strip_prefix("..") {
            Some(end) => assert!(text.trim_end().ends_with(end), "{text}"),
            None => assert_eq!(text.trim_end(), told),
        }
    }
}

/// Each fault, as a host sees it on stdout.
#[tokio::test]
async fn what_is_broken_is_on_stdout_as_it_was_said() {
    let table = r"
garbage => loading plugins|1|1|unix|{address}|grpc|
late line => 1|1|unix|{address}|grpc|
byte by byte => 1|1|unix|{address}|grpc|
core version => 2|1|unix|{address}|grpc|
app version => 1|99|unix|{address}|grpc|
network => 1|1|udp|{address}|grpc|
protocol => 1|1|unix|{address}|netrpc|
certificate => 1|1|unix|{address}|grpc|!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
fields => 1|1|unix
";
    for (fault, expected) in rows(table) {
        let mut plugin = launch("broken_plugin", &[fault], &[]);
        let mut printed = plugin.line().await;
        if fault == "garbage" {
            printed = format!("{printed}|{}", plugin.line().await);
        }
        let address = printed.split('|').find(|field| field.starts_with('/'));
        let expected = expected.replace("{address}", address.unwrap_or_default());
        assert_eq!(printed, expected, "{fault}");
        plugin.stop();
    }
    for (fault, lines) in [("exit before", 0), ("exit after", 1)] {
        let Ended { success, text } = launch("broken_plugin", &[fault], &[]).ended().await;
        assert!(!success, "{fault}");
        assert_eq!(text.lines().count(), lines, "{fault}: {text}");
    }
}

#[tokio::test]
async fn a_plugin_prints_or_crashes_in_a_call() {
    let (mut plugin, handshake) = launched("broken_plugin", &["print"], &[]).await;
    let client = within(Client::attach(&handshake).connect()).await.unwrap();
    client.call("Get", json!({})).await.unwrap();
    assert_eq!(plugin.line().await, "hello from the plugin");
    client.call("Get", json!({})).await.unwrap();
    client.shutdown_server().await.unwrap();
    plugin.finish().await;

    let (plugin, handshake) = launched("broken_plugin", &["crash"], &[]).await;
    let client = within(Client::attach(&handshake).connect()).await.unwrap();
    client.call("Put", json!({})).await.unwrap();
    let error = client.call("Get", json!({})).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable), "{error:?}");
    assert!(!plugin.ended().await.success);
}

/// A shell stands in for the host: it launches the plugin, and is killed.
#[cfg(unix)]
#[tokio::test]
async fn a_plugin_ends_when_its_host_is_gone() {
    let mut command = Command::new("sh");
    // What follows keeps the shell from becoming the plugin itself.
    command
        .args(["-c", "\"$0\"; true"])
        .arg(example("mock_plugin"));
    let mut host = Running::start(command.env("BASIC_PLUGIN", "hello"));
    let handshake: Handshake = host.line().await.parse().unwrap();
    let client = use_plugin(&handshake, None).await;
    let mut state = client.state();
    host.stop();
    within(async {
        while client.ping().await.is_ok() {
            // Its connections end by its end.
            state.changed().await.expect("the client is there");
        }
    })
    .await;
}

/// What came otherwise than expected is told on stderr, in the exit code, and not on stdout.
#[tokio::test]
async fn a_plugin_that_was_called_amiss_says_so_at_its_end() {
    let (plugin, handshake) = launched("mock_plugin", &[], &[]).await;
    let client = within(Client::attach(&handshake).connect()).await.unwrap();
    client
        .unary::<(), ()>("/proto.KV/Delete", ())
        .await
        .unwrap_err();
    client.shutdown_server().await.unwrap();
    let Ended { success, text } = plugin.ended().await;
    assert!(!success);
    assert!(
        text.contains("1. unmatched call: (\"Delete\", <0 bytes>)"),
        "{text}"
    );
}
