//! go-plugin's own host (`tests/go/kv`) launches our plugins, and attaches to our mocks.

use crate::plugin_probe::{example, judge};
use crate::process::Running;
use crate::support::{Transport, rows, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::plugin::ReattachConfig;
use rpcplugin_testkit::{Address, Client, MockServer, Stub, json};
use std::process::{ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

const KV: &[u8] = include_bytes!("../../proto/generated/kv.bin");

/// A host of go-plugin, which launches one of our examples and does as it is told.
fn host(options: &[&str], actions: &[&str], plugin: &[&str]) -> Running {
    let mut command = Command::new(judge("TESTKIT_GO_HOST"));
    command
        .args(options)
        .args(actions.iter().flat_map(|action| ["--do", action]));
    if let [name, arguments @ ..] = plugin {
        command.arg("--").arg(example(name)).args(arguments);
    }
    Running::start(&mut command)
}

/// All that it printed, a line for each action.
async fn told(options: &[&str], actions: &[&str], plugin: &[&str]) -> String {
    let ended = host(options, actions, plugin).ended().await;
    let lines = ended.text.lines();
    // Its log is on stderr, with a time before each line.
    let own = lines.take_while(|line| !line.starts_with("20"));
    own.collect::<Vec<_>>().join("\n")
}

const STORE: [&str; 7] = [
    "put a 1", "get a", "get b", "ping", "version", "kill", "exited",
];
const STORED: &str = "ok\n\
    ok 1\n\
    error rpc error: code = NotFound desc = no such key: b\n\
    ok\n\
    ok 1\n\
    ok graceful\n\
    ok true";

#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn a_go_host_launches_our_plugin() {
    assert_eq!(told(&[], &STORE, &["mock_plugin"]).await, STORED);
}

/// With go-plugin's P-521 keys, which ring does not know.
#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn a_go_host_launches_our_plugin_with_auto_mtls() {
    if cfg!(feature = "aws-lc") {
        assert_eq!(
            told(&["--automtls"], &STORE, &["mock_plugin"]).await,
            STORED
        );
        return;
    }
    let ended = host(&["--automtls"], &[], &["mock_plugin"]).ended().await;
    let expected = "host.mock_plugin: PLUGIN_CLIENT_CERT has a key of a kind that this build's TLS does not know: \
        go-plugin makes P-521 keys, for which rpcplugin-testkit needs its feature `aws-lc`";
    assert!(
        !ended.success && ended.text.contains(expected),
        "{}",
        ended.text
    );
}

#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn the_newest_version_that_both_have_is_spoken() {
    for (offered, spoken) in [
        ("1", "ok v1\nok 1"),
        ("1,2", "ok v2\nok 2"),
        ("2,7", "ok v2\nok 2"),
    ] {
        let options = ["--protocol-versions", offered];
        let told = told(&options, &["get a", "version"], &["broken_plugin", "none"]).await;
        assert_eq!(told, spoken, "{offered}");
    }
    let told = told(
        &["--protocol-versions", "8,9"],
        &["get a"],
        &["broken_plugin", "none"],
    )
    .await;
    // The order of its own versions is Go's of a map.
    let expected =
        "start error Incompatible API version with plugin. Plugin version: 1, Client versions: [";
    assert!(told.starts_with(expected), "{told}");
}

#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn a_plugin_on_tcp_takes_a_port_that_its_host_allows() {
    // A range of the kernel's own choice: of a port that was free a moment ago, and those after it.
    let free = MockServer::start().await;
    let port = match free.address() {
        Address::Tcp { port, .. } => *port,
        other => panic!("{other}"),
    };
    // Room for others that take ports meanwhile; the first is taken.
    let (first, last) = if port < 60_000 {
        (port, port + 2000)
    } else {
        (port - 2000, port)
    };
    let mut command = Command::new(judge("TESTKIT_GO_HOST"));
    command.env("RPCPLUGIN_TCP", "1");
    command.args(["--ports", &format!("{first}-{last}")]);
    command.args(["--do", "get a", "--do", "reattach-config", "--"]);
    command.arg(example("broken_plugin")).arg("none");
    let mut host = Running::start(&mut command);
    assert_eq!(host.line().await, "ok v1");
    let line = host.line().await;
    let config: ReattachConfig = line.strip_prefix("ok ").expect("it tells").parse().unwrap();
    let Address::Tcp {
        host: ip,
        port: taken,
        ..
    } = &config.address
    else {
        panic!("{config:?}");
    };
    assert_eq!(ip, "127.0.0.1");
    assert!(
        (first..=last).contains(taken) && *taken != port,
        "{config:?}"
    );
    assert!(host.ended().await.success);
}

/// What a host prints of each plugin that is broken. Where it says nothing of the fault, the calls show it.
#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn each_fault_of_a_plugin_is_told_as_go_plugin_documents_it() {
    const UNRECOGNIZED: &str = r"\n\nThis usually means that the plugin is either invalid or simply\nneeds to be recompiled to support the latest protocol.";
    let table = r#"
none => ok v1; ok; ok graceful
ignores shutdown => ok v1; ok; ok forced
dies on shutdown => ok v1; ok; ok graceful
garbage => start error Unrecognized remote plugin message: loading plugins{UNRECOGNIZED}
no line => start error timeout while waiting for plugin to start
late line => ok v1; ok; ok graceful
byte by byte => ok v1; ok; ok graceful
core version => start error Incompatible core API version with plugin. Plugin version: 2, Core version: 1\n\nTo fix this, the plugin usually only needs to be recompiled.\nPlease report this to the plugin author.
app version => start error Incompatible API version with plugin. Plugin version: 99, Client versions: [1]
protocol => start error Unsupported plugin protocol "netrpc". Supported: [grpc]
certificate => start error error parsing server cert: illegal base64 data at input byte 0
fields => start error Unrecognized remote plugin message: 1|1|unix{UNRECOGNIZED}
print => ok v1; ok; ok graceful
crash => error rpc error: code = Unavailable desc = transport is closing
"#;
    for (fault, expected) in rows(table) {
        // Only one that says nothing is waited for.
        let timeout = if fault == "no line" { "200ms" } else { "60s" };
        let actions = ["get a", "ping", "kill"];
        let told = told(
            &["--start-timeout", timeout],
            &actions,
            &["broken_plugin", fault],
        )
        .await;
        let told = match fault {
            // After a crash whatever comes is an error.
            "crash" => told.lines().next().unwrap_or_default().to_owned(),
            _ => told.replace('\n', "; "),
        };
        assert_eq!(
            told,
            expected.replace("{UNRECOGNIZED}", UNRECOGNIZED),
            "{fault}"
        );
    }
}

/// Two faults that this go-plugin (1.0.1) tells in more than one way: of an exit it finds the end of stdout or that of the
/// process first, and of an unknown network it loses the error on its way (in a variable of an inner block).
#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn a_plugin_that_exits_or_is_nowhere_is_told_in_one_way_or_another() {
    let told_of = |fault: &'static str| async move {
        let actions = ["get a"];
        told(
            &["--start-timeout", "60s"],
            &actions,
            &["broken_plugin", fault],
        )
        .await
    };
    let before = told_of("exit before").await;
    let exited = "start error plugin exited before we could connect";
    let nothing = "start error Unrecognized remote plugin message: \\n\\n";
    assert!(before == exited || before.starts_with(nothing), "{before}");
    let after = told_of("exit after").await;
    assert!(
        after.starts_with("error rpc error: code = Unavailable desc = "),
        "{after}"
    );
    let network = told_of("network").await;
    assert!(
        network.starts_with("start error Unknown address type")
            || network.starts_with("client error "),
        "{network}"
    );
}

/// A plugin dies with its host, also when that has no time to tell it.
#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn a_plugin_whose_host_is_killed_ends() {
    let mut host = host(&["--stdin"], &["reattach-config"], &["mock_plugin"]);
    let line = host.line().await;
    let config = line.strip_prefix("ok ").expect("it is told");
    let client = within(Client::attach(config).connect()).await.unwrap();
    client.ping().await.unwrap();
    let mut states = client.state();
    host.stop();
    // Its connections end by its end.
    within(async {
        while client.ping().await.is_ok() {
            // Told when it changes.
            within(states.changed()).await.unwrap();
        }
    })
    .await;
}

/// A mock in the test's own process is the plugin of a real host.
#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn a_go_host_reattaches_to_a_mock() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let builder = transport.builder().descriptor_set(KV);
        let server = builder.start().await;
        server.mount(Stub::method("Get").reply(json!({"value": "MQ=="})));
        let config = ReattachConfig::new(server.address().clone()).unwrap();
        // A process of its own for the host to kill: this one stays.
        let (pid, _stdin, ended) = stand_in();
        let json = config.pid(pid).to_json();
        let told = told(&["--reattach", &json], &["get a", "ping"], &[]).await;
        assert_eq!(told, "ok 1\nok", "{transport:?}");
        // A host ends what it has attached to as if it had launched it.
        assert_eq!(
            server.calls_to("plugin.GRPCController/Shutdown").len(),
            1,
            "{transport:?}"
        );
        assert!(!server.is_up());
        ended.join().expect("nobody panics");
    }
}

/// In both directions: the host dials what the plugin offers, and the plugin what its host serves.
#[tokio::test]
#[ignore = "needs go-plugin: see .ci/run"]
async fn a_go_host_and_a_mock_broker_connections() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let plugin = transport.builder().descriptor_set(KV).start().await;
        let second = transport.builder().descriptor_set(KV).start().await;
        second.mount(Stub::method("Get").reply(json!({"value": "Mg=="})));
        let config = ReattachConfig::new(plugin.address().clone()).unwrap();
        let (pid, _stdin, ended) = stand_in();
        let mut host = host(
            &["--reattach", &config.pid(pid).to_json(), "--stdin"],
            &[],
            &[],
        );
        plugin.broker().offer(11, &second);
        host.send(b"broker-dial 11 a\n");
        assert_eq!(host.line().await, "ok 2", "{transport:?}");
        assert_eq!(second.calls(), [("Get", json!({"key": "a"}))]);

        host.send(b"broker-accept 12\n");
        let address = within(plugin.broker().connection(12)).await;
        assert_eq!(host.line().await, "ok");
        let dialled = Client::builder().address(address);
        let dialled = dialled.descriptor_set(KV).connect();
        let dialled = within(dialled).await.unwrap();
        let got = dialled.call("Get", json!({"key": "name"})).await;
        assert_eq!(got.unwrap(), json!({"value": "aG9zdA=="}));
        // By the end of its stdin it ends, and ends what it has attached to.
        let left = host.leave().await;
        assert!(left.success, "{}", left.text);
        ended.join().expect("nobody panics");
    }
}

/// A process that does nothing, and is waited for as its parent has to.
fn stand_in() -> (u32, ChildStdin, JoinHandle<()>) {
    let process = Command::new("cat").stdin(Stdio::piped()).spawn();
    let mut process = process.expect("there is a `cat`");
    let (pid, stdin) = (process.id(), process.stdin.take().expect("it is piped"));
    let waiting = thread::spawn(move || drop(process.wait()));
    (pid, stdin, waiting)
}
