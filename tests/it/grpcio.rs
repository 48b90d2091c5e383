//! An independent judge of both wings: a stock Python grpcio, which shares no code with `h2` or tonic.
//!
//! The scripts of `tests/grpcio` are the other side of every call. They tell what they saw, and it is judged here.

use crate::support::{ECHO_DESCRIPTOR_SET, Transport, echo, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Call, CallStream, Client, Code, MockServer, Outcome, Reply, ServingStatus, Shape, Status, Stub,
    Value, json,
};
use std::{
    env,
    future::pending,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    pin::pin,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};
use tempfile::{NamedTempFile, TempDir};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataMap;

const HOUR: Duration = Duration::from_secs(3600);

/// A running script. Its pipes are read by threads, so that a mock on the test's own thread can serve it meanwhile.
struct Python {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    stderr: Option<thread::JoinHandle<String>>,
    _descriptor_set: NamedTempFile,
}

impl Python {
    fn start(script: &str, address: &str, scenario: Option<&str>) -> Self {
        let mut descriptor_set = NamedTempFile::new().expect("a temporary file");
        descriptor_set
            .write_all(ECHO_DESCRIPTOR_SET)
            .expect("the descriptor set is written");
        let interpreter = env::var_os("TESTKIT_PYTHON").unwrap_or_else(|| "python3".into());
        let mut process = Command::new(&interpreter)
            // It leaves no compiled files between the scripts.
            .arg("-B")
            .arg(format!(
                "{}/tests/grpcio/{script}.py",
                env!("CARGO_MANIFEST_DIR")
            ))
            .args([address.as_ref(), descriptor_set.path()])
            .args(scenario)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", interpreter.display()));
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut stderr = process.stderr.take().expect("stderr is piped");
        let (line, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let read = BufReader::new(stdout).lines().map_while(Result::ok);
            // It fails when the test is over.
            let _ = read.map(|text| line.send(text)).all(|sent| sent.is_ok());
        });
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self {
            stdin: process.stdin.take(),
            process,
            lines,
            stderr: Some(stderr),
            _descriptor_set: descriptor_set,
        }
    }

    fn client(server: &MockServer, scenario: &str) -> Self {
        Self::start("client", &server.address().to_string(), Some(scenario))
    }

    /// A server that listens on a TCP port, and a client of it.
    async fn server() -> (Self, Client) {
        let mut python = Self::start("server", "127.0.0.1:0", None);
        let ready = python.line().await;
        let port = ready.strip_prefix("ready ").expect(&ready);
        let client = Client::connect(format!("127.0.0.1:{port}")).await;
        (python, client.expect("a server that is ready accepts"))
    }

    /// The next line that it prints.
    #[track_caller]
    fn line(&mut self) -> impl Future<Output = String> {
        within(async {
            match self.lines.recv().await {
                Some(line) => line,
                None => panic!("the script ended:\n{}", self.stop()),
            }
        })
    }

    /// The next JSON that it prints.
    #[track_caller]
    fn told(&mut self) -> impl Future<Output = Value> {
        let line = self.line();
        async { serde_json::from_str(&line.await).expect("the script prints JSON") }
    }

    /// Lets a script go on that waits to be told.
    fn go_on(&mut self) {
        let stdin = self.stdin.as_mut().expect("it is open until the end");
        stdin.write_all(b"\n").expect("the script waits for it");
    }

    /// Lets it end, and checks that nothing failed and nothing more was printed.
    async fn finish(mut self) {
        self.stdin = None;
        let more = within(self.lines.recv()).await;
        assert_eq!(more, None, "the script printed more than was read");
        // It closes its stdout by ending.
        let status = self.process.wait().expect("the script ends");
        assert!(status.success(), "{status}:\n{}", self.stop());
    }

    /// Ends it at once. What it wrote to stderr is given once.
    fn stop(&mut self) -> String {
        // Both fail when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let stderr = self.stderr.take().map(thread::JoinHandle::join);
        stderr.and_then(Result::ok).unwrap_or_default()
    }
}

impl Drop for Python {
    #[expect(
        clippy::print_stderr,
        reason = "the panic, a timeout for one, does not know of the script"
    )]
    fn drop(&mut self) {
        let stderr = self.stop();
        if thread::panicking() && !stderr.is_empty() {
            eprintln!("the script wrote:\n{stderr}");
        }
    }
}

fn texts(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let values = metadata.get_all(key).iter();
    values
        .map(|value| value.to_str().expect("ASCII").to_owned())
        .collect()
}

fn bytes(metadata: &MetadataMap, key: &str) -> Vec<u8> {
    let value = metadata.get_bin(key).expect("a value");
    value.to_bytes().expect("base64").to_vec()
}

async fn chat_in_capitals(mut stream: CallStream) -> Result<(), Status> {
    while let Some(request) = stream.recv().await? {
        let text = request["message"].as_str().unwrap_or_default();
        let reply = json!({"message": text.to_uppercase(), "blob": request["blob"]});
        stream.send(reply).await?;
    }
    Ok(())
}

/// Requests that are sent when the test says so.
fn requests() -> (mpsc::UnboundedSender<Value>, UnboundedReceiverStream<Value>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

/// The JSON that the scripts send, and what they get for it.
fn full_request() -> Value {
    json!({
        "message": "héllo", "times": -3, "bigNumber": 9_007_199_254_740_993_i64, "mood": "MOOD_LOUD",
        "tags": ["a", "", "c"], "counts": {"one": 1, "zero": 0}, "nickname": "", "room": 0,
        "sentAt": "2024-02-29T12:00:00.000000001Z", "blob": "AP8=", "ratio": 0.1,
    })
}

fn joined(call: &Call) -> Value {
    let words: Vec<_> = call
        .requests()
        .iter()
        .map(|request| request.json()["message"].clone())
        .collect();
    json!({"message": Value::from(words.clone()).to_string(), "count": words.len()})
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_calls_the_mock_in_all_four_shapes() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::method("Echo.Say").reply(|call: &Call| {
        let request = call.request();
        json!({"message": request["message"], "count": request["times"], "blob": request["blob"]})
    }));
    let counts = [1, 0, 3].map(|count| json!({"count": count}));
    server.mount(Stub::method("Split").reply(Reply::stream(counts)));
    server.mount(Stub::method("Join").reply(joined));
    server.mount(Stub::method("Chat").reply(chat_in_capitals));

    let mut python = Python::client(&server, "shapes");
    let told = python.told().await;
    python.finish().await;

    assert_eq!(
        told,
        json!({
            "said": ["héllo", -3, "00ff"],
            "split": [1, 0, 3],
            "joined": [r#"["x","y",""]"#, 3],
            "chatted": ["ONE", "TWO", "OK"],
        })
    );
    let calls = server.calls();
    assert_eq!(
        calls,
        [
            ("echo.v1.Echo/Say", full_request()),
            ("echo.v1.Echo/Split", json!({"message": "a b c"})),
            (
                "echo.v1.Echo/Join",
                json!([{"message": "x"}, {"message": "y"}, {}])
            ),
            (
                "echo.v1.Echo/Chat",
                json!([{"message": "one"}, {"message": "two"}])
            ),
        ]
    );
    let typed: echo::EchoRequest = calls[0].message().unwrap();
    assert_eq!(typed.nickname.as_deref(), Some(""));
    assert_eq!(typed.target, Some(echo::echo_request::Target::Room(0)));
    let replies = |call: &Call| {
        call.replies()
            .iter()
            .map(|reply| reply.json())
            .collect::<Vec<_>>()
    };
    assert_eq!(replies(&calls[1]).len(), 3);
    assert_eq!(
        replies(&calls[3])
            .iter()
            .map(|reply| reply["message"].clone())
            .collect::<Value>(),
        json!(["ONE", "TWO"])
    );
    for call in &calls {
        assert_eq!(call.outcome(), Some(Outcome::Ok), "{call}");
        assert_eq!(call.timeout(), None, "{call}");
        assert_eq!(call.connection_id(), 1, "{call}");
        assert!(
            texts(call.metadata(), "user-agent")[0].starts_with("grpc-python/"),
            "{call}"
        );
    }
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn metadata_passes_both_ways_between_a_python_client_and_the_mock() {
    let server = Transport::Tcp.start_echo().await;
    let reply = Reply::json(json!({}))
        .metadata("x-head", "a")
        .metadata("x-head", "b, c")
        .metadata_bin("x-head-bin", [0, 255]);
    server.mount(Stub::any().reply(reply.trailer("x-tail", "ü").trailer_bin("x-tail-bin", "")));
    let mut python = Python::client(&server, "metadata");
    let told = python.told().await;
    python.finish().await;
    assert_eq!(told, json!({}));

    let call = &server.calls()[0];
    assert_eq!(texts(call.metadata(), "x-tag"), ["one", "two, three"]);
    assert_eq!(bytes(call.metadata(), "x-raw-bin"), b"\x00\xff,");
    assert_eq!(bytes(call.metadata(), "x-empty-bin"), b"");
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_reads_the_status_that_the_mock_gives() {
    let server = Transport::Tcp.start_echo().await;
    let refused = Reply::status(Code::ResourceExhausted, "zu groß: 150 % 🚫\nzweite Zeile")
        .details(&b"opaque \x00\xff"[..]);
    server.mount(
        Stub::method("Echo.Say").reply(
            refused
                .trailer("x-hint", "smaller")
                .trailer_bin("x-hint-bin", [0, 255]),
        ),
    );
    let broken_off =
        Reply::stream([json!({"message": "one"})]).end_with(Status::aborted("that was all"));
    server.mount(Stub::method("Split").reply(broken_off.trailer("x-hint", "once more")));
    let mut python = Python::client(&server, "status");
    for _ in 0..4 {
        println!("{}", python.told().await);
    }
    python.finish().await;
    println!("{:?}", server.journal());
    let outcomes: Vec<_> = server.calls().iter().map(Call::outcome).collect();
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn the_mock_sees_the_deadline_of_a_python_client() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::any().reply(json!({})));
    server.mount(
        Stub::any()
            .when(json!({"message": "never"}))
            .reply(|_: Call| pending::<Value>()),
    );
    let mut python = Python::client(&server, "deadline");
    println!("{}", python.told().await);
    let calls = server.wait_for_calls(3).await;
    println!("{:?}", within(calls[2].ended()).await);
    python.finish().await;
    println!("{:?}", calls.iter().map(Call::timeout).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_call_that_a_python_client_cancels_is_recorded_as_cancelled() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::method("Echo.Say").reply(|_: Call| pending::<Value>()));
    server.mount(Stub::method("Chat").reply(chat_in_capitals));
    let mut python = Python::client(&server, "cancel");
    let said = server.next_call().await;
    python.go_on();
    println!("{}", python.told().await);
    println!("{:?}", within(said.ended()).await);
    println!("{}", python.told().await);
    let chat = server.next_call().await;
    println!("{:?}", within(chat.ended()).await);
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_checks_and_watches_the_health_of_the_mock() {
    let server = Transport::Tcp.start_echo().await;
    let mut python = Python::client(&server, "health");
    println!("{}", python.told().await);
    println!("{}", python.told().await);
    println!("{}", python.told().await);
    server.set_health("echo.v1.Echo", ServingStatus::NotServing);
    println!("{}", python.told().await);
    println!("{}", python.told().await);
    for call in server.calls_to("grpc.health.v1.Health/Watch") {
        println!("{:?}", within(call.ended()).await);
    }
    for call in server.calls_to("grpc.health.v1.Health/Check") {
        println!("{call}");
    }
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_calls_by_what_the_reflection_of_the_mock_tells() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::any().reply(|call: &Call| json!({"message": call.request()["message"]})));
    let mut python = Python::client(&server, "reflection");
    for _ in 0..4 {
        println!("{}", python.told().await);
    }
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn unknown_symbol() {
    let server = Transport::Tcp.start_echo().await;
    let mut python = Python::client(&server, "unknown_symbol");
    println!("{}", python.told().await);
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn megabytes_pass() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(
        Stub::method("Echo.Say").reply(|call: &Call| json!({"blob": call.request()["blob"]})),
    );
    server.mount(Stub::method("Chat").reply(chat_in_capitals));
    let mut python = Python::client(&server, "megabytes");
    println!("{}", python.told().await);
    python.finish().await;
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn compressed() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::any().reply(json!({})));
    let mut python = Python::client(&server, "compressed");
    println!("{}", python.told().await);
    python.finish().await;
    println!("{}", server.journal());
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn unix_client() {
    let server = Transport::Unix.start_echo().await;
    server.mount(Stub::any().reply(json!({})));
    let mut python = Python::client(&server, "compressed");
    println!("{}", python.told().await);
    python.finish().await;
    println!("{}", server.journal());
}
