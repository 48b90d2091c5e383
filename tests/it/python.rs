//! The scripts of `tests/grpcio`: a stock Python grpcio as the other side of calls.

use crate::process::Running;
use rpcplugin_testkit::{Address, Call, CallStream, MockServer, Reply, Status, Stub, Value, json};
use std::{env, process::Command};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/grpcio");
const DESCRIPTOR_SET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/generated/echo.bin");

pub(crate) fn start(script: &str, arguments: &[&str]) -> Running {
    let interpreter = env::var_os("TESTKIT_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(interpreter);
    // It leaves no compiled files among the scripts.
    command.args(["-B", &format!("{SCRIPTS}/{script}.py")]);
    Running::start(command.args(arguments))
}

/// A client that does what the scenario says.
pub(crate) fn client(server: &MockServer, scenario: &str) -> Running {
    secure_client(server, None, scenario, &[])
}

/// The same over TLS, which asks for the server by a name: with a file of roots, and, if the client has one, its key and
/// its certificate.
pub(crate) fn secure_client(
    server: &MockServer,
    name: Option<&str>,
    scenario: &str,
    tls: &[&str],
) -> Running {
    let address = match server.address() {
        Address::Tcp { host, port, .. } => format!("{host}:{port}"),
        other => other.to_string(),
    };
    let name = name.map_or_else(String::new, |name| format!("#{name}"));
    let arguments = [&format!("{address}{name}"), DESCRIPTOR_SET, scenario];
    start("client", &[&arguments, tls].concat())
}

/// A server that listens, and its address. For TLS it is given its key, its certificate, and, if clients need one,
/// a file of roots.
pub(crate) async fn server(bind: &str, tls: &[&str]) -> (Running, String) {
    let mut python = start("server", &[&[bind, DESCRIPTOR_SET], tls].concat());
    let ready = python.line().await;
    let port = ready.strip_prefix("ready ").expect(&ready);
    // A socket has no port: its address is where it was bound.
    (python, bind.replace(":0", &format!(":{port}")))
}

/// What the scenario `shapes` calls.
pub(crate) fn serve_shapes(server: &MockServer) {
    server.mount(Stub::method("Echo.Say").reply(|call: &Call| {
        let request = call.request();
        json!({"message": request["message"], "count": request["times"], "blob": request["blob"]})
    }));
    let counts = [1, 0, 3].map(|count| json!({"count": count}));
    server.mount(Stub::method("Split").reply(Reply::stream(counts)));
    let joined = |call: &Call| json!({"count": call.requests().len()});
    server.mount(Stub::method("Join").reply(joined));
    server.mount(Stub::method("Chat").reply(chat_in_capitals));
}

/// What it tells then. At last, five messages of three megabytes came back as they went.
pub(crate) fn shapes() -> Value {
    json!([["héllo", -3, [0, 255]], [1, 0, 3], 3, ["ONE", "TWO"], true])
}

pub(crate) async fn chat_in_capitals(mut stream: CallStream) -> Result<(), Status> {
    while let Some(request) = stream.recv().await? {
        let text = request["message"].as_str().unwrap_or_default();
        let reply = json!({"message": text.to_uppercase(), "blob": request["blob"]});
        stream.send(reply).await?;
    }
    Ok(())
}
