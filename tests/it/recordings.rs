//! Journals saved and replayed.

use crate::support::{Transport, echo_schema, repeat_what_is_said, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Client, Code, Error, MockServer, Reply, Status, Stub, Value, json};
use std::{fs, path::Path};
use tokio_stream::StreamExt as _;

/// A server that is worth recording.
async fn real() -> MockServer {
    let server = Transport::Memory.start_echo().await;
    let found = Reply::json(json!({"message": "found", "count": 1}))
        .metadata("x-cache", "hit")
        .trailer("x-cost", "3");
    server.mount(
        Stub::method("Squawk")
            .when(json!({"message": "a"}))
            .reply(found),
    );
    let missing = Reply::status(Code::NotFound, "no such key")
        .details(vec![1, 2, 255])
        .trailer_bin("x-why-bin", [7]);
    server.mount(
        Stub::method("Squawk")
            .when(json!({"message": "b"}))
            .reply(missing),
    );
    let busy = Status::unavailable("warming up");
    server.mount(
        Stub::method("Echo/Say")
            .reply(busy)
            .then(json!({"message": "warm"})),
    );
    let words = Reply::stream([json!({"message": "x"}), json!({"message": "y"})]);
    server.mount(Stub::method("Split").reply(words.end_with(Status::aborted("enough"))));
    server.mount(Stub::method("Join").reply(json!({"message": "joined"})));
    server.mount(Stub::method("Chat").reply(repeat_what_is_said));
    server
}

/// What a client sees of all that.
async fn drive(client: &Client) -> Vec<String> {
    let mut seen = Vec::new();
    let told = |result: Result<Value, Error>| match result {
        Ok(value) => value.to_string(),
        Err(error) => {
            let status = error.status().expect("a status");
            format!(
                "{:?} {} {:?} {:?}",
                status.code(),
                status.message(),
                status.details(),
                status.metadata().get_bin("x-why-bin")
            )
        }
    };
    let secret = |call: rpcplugin_testkit::client::UnaryCall<Value>| {
        call.metadata("authorization", "Bearer hunter2")
            .metadata("x-tenant", "blue")
    };
    let found = within(secret(client.call("Squawk", json!({"message": "a"}))).response())
        .await
        .expect("found");
    seen.push(format!(
        "{} {:?} {:?}",
        found.message(),
        found.metadata().get("x-cache"),
        found.trailers().get("x-cost")
    ));
    seen.push(told(
        within(client.call("Squawk", json!({"message": "b"})).into_future()).await,
    ));
    for _ in 0..3 {
        seen.push(told(
            within(client.call("Echo/Say", json!({"times": 1})).into_future()).await,
        ));
    }
    let split = within(
        client
            .call_server_stream("Split", json!({"tags": ["t"]}))
            .into_future(),
    )
    .await;
    seen.extend(split.expect("a stream").map(told).collect::<Vec<_>>().await);
    let said = || tokio_stream::iter([json!({"message": "1"}), json!({"message": "2"})]);
    seen.push(told(
        within(client.call_client_stream("Join", said()).into_future()).await,
    ));
    let chat = within(client.call_bidi_stream("Chat", said()).into_future()).await;
    seen.extend(chat.expect("a stream").map(told).collect::<Vec<_>>().await);
    seen
}

const RECORDING: &str = r#"{
  "calls": [
    {
      "form": "typed",
      "metadata": {
        "authorization": "<redacted>",
        "x-tenant": "blue"
      },
      "method": "echo.v1.Parrot/Squawk",
      "replies": [
        {
          "blob": "",
          "count": 1,
          "message": "found"
        }
      ],
      "reply_metadata": {
        "x-cache": "hit"
      },
"#;

#[tokio::test]
async fn a_recording_is_readable_stable_and_replayed_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join("made").join(name);
    let real = real().await;
    let recorder = MockServer::builder().proxy_to(real.address()).start().await;
    let seen = drive(&recorder.client().await).await;
    assert_eq!(seen.len(), 11, "{seen:?}");
    recorder.journal().save(path("first.json")).unwrap();
    let first = fs::read_to_string(path("first.json")).unwrap();
    assert!(first.starts_with(RECORDING), "{first}");
    assert!(
        first.ends_with("\"format\": \"rpcplugin-testkit recording 1\"\n}\n"),
        "{first}"
    );
    assert!(!first.contains("hunter2"));

    // Without the server, over a socket: the client sees the same, and the recording of that is the same to the byte.
    drop(recorder);
    drop(real);
    let builder = MockServer::builder().unix().schema(echo_schema());
    let replaying = builder.replay(path("first.json")).start().await;
    let client = replaying.client().await;
    assert_eq!(drive(&client).await, seen);
    replaying.journal().save(path("second.json")).unwrap();
    assert_eq!(fs::read_to_string(path("second.json")).unwrap(), first);

    // What was not recorded is unmatched, and is told what came nearest.
    let error = client
        .call("Squawk", json!({"message": "c"}))
        .await
        .unwrap_err();
    let nearest = format!(
        "the nearest is call 0 of {}: ",
        path("first.json").display()
    );
    assert!(error.to_string().contains(&nearest), "{error}");
    // A test's own stub comes first.
    replaying.mount(Stub::method("Squawk").reply(json!({"message": "mine"})));
    assert_eq!(
        client
            .call("Squawk", json!({"message": "a"}))
            .await
            .unwrap()["message"],
        "mine"
    );
    replaying.verify().await.unwrap_err();
}

#[tokio::test]
async fn schemaless_calls_and_bytes_are_replayed_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.json");
    let real = MockServer::memory().await;
    real.mount(Stub::method("Get").reply(json!({"value": 1.5})));
    real.mount(Stub::method("Watch").reply(Reply::stream([json!({"n": 1}), json!({"n": 2})])));
    real.mount(Stub::method("kv.Store/Raw").reply(Reply::message(&String::from("raw"))));
    let drive = async |server: &MockServer| {
        let client = server.client().await;
        let got = within(client.call("Get", json!({"key": "a"})).into_future())
            .await
            .unwrap();
        let watched = within(client.call_server_stream("Watch", json!({})).into_future())
            .await
            .unwrap();
        let watched: Vec<Value> = watched.map(|reply| reply.unwrap()).collect().await;
        let raw: String = within(
            client
                .unary("/kv.Store/Raw", String::from("x"))
                .into_future(),
        )
        .await
        .unwrap();
        (got, watched, raw)
    };
    let recorder = MockServer::builder()
        .memory()
        .proxy_to(real.address())
        .start()
        .await;
    let seen = drive(&recorder).await;
    recorder.journal().save(&path).unwrap();
    let replaying = MockServer::builder().memory().replay(&path).start().await;
    assert_eq!(drive(&replaying).await, seen);
    let client = Client::connect(replaying.address()).await.unwrap();
    let other: Result<String, _> = client.unary("/kv.Store/Raw", String::from("y")).await;
    assert_eq!(other.unwrap_err().code(), Some(Code::FailedPrecondition));
    replaying.reset();
}

/// A call that never ended is never ended.
#[tokio::test]
async fn a_stream_that_was_cut_is_replayed_up_to_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.json");
    let server = Transport::Memory.start_echo().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Split").reply(reply));
    let client = server.client().await;
    let mut replies = client.call_server_stream("Split", json!({})).await.unwrap();
    let mut held = within(streams.accept()).await;
    held.send(json!({"message": "one"})).await.unwrap();
    within(replies.message()).await.unwrap().unwrap();
    server.journal().save(&path).unwrap();
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains(r#""outcome": "in flight""#)
    );

    let builder = MockServer::builder().memory().schema(echo_schema());
    let replaying = builder.replay(&path).start().await;
    let client = replaying.client().await;
    let mut replies = within(client.call_server_stream("Split", json!({})).into_future())
        .await
        .unwrap();
    assert_eq!(
        within(replies.message()).await.unwrap().unwrap()["message"],
        "one"
    );
    assert_eq!(replaying.calls()[0].outcome(), None);
    held.finish();
}

#[tokio::test]
async fn only_what_was_served_and_chosen_is_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.json");
    let server = MockServer::builder()
        .memory()
        .allow_unmatched()
        .start()
        .await;
    server.mount(Stub::method("Get").reply(json!({})));
    let client = server.client().await;
    client.call("Get", json!({"n": 1})).await.unwrap();
    client.call("Get", json!({"n": 2})).await.unwrap();
    client.call("Put", json!({})).await.unwrap_err();
    client.health_check().await.unwrap();
    let chosen = server.journal().filter(|call| call.request()["n"] != 1);
    chosen.save(&path).unwrap();
    let saved: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(saved["calls"].as_array().unwrap().len(), 1);
    assert_eq!(saved["calls"][0]["requests"], json!([{"n": 2}]));
    assert_eq!(saved["calls"][0]["shape"], "unary");
}

/// Each mistake in a recording names the file and the call.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_recording_that_cannot_be_replayed_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.json");
    let told = async |content: &str, typed: bool| {
        fs::write(&path, content).unwrap();
        let builder = MockServer::builder().memory().replay(&path);
        let builder = if typed {
            builder.schema(echo_schema())
        } else {
            builder
        };
        let error = builder.try_start().await.unwrap_err();
        assert!(error.is_config());
        let cause = std::error::Error::source(&error).unwrap().to_string();
        (
            error.to_string().replace(path.to_str().unwrap(), "FILE"),
            cause,
        )
    };
    let recording =
        |call: &str| format!(r#"{{"format": "rpcplugin-testkit recording 1", "calls": [{call}]}}"#);
    let cases = [
        (
            "{".to_owned(),
            "EOF while parsing an object at line 1 column 1",
        ),
        (
            r#"{"format": 2}"#.to_owned(),
            "its `format` is 2, expected \"rpcplugin-testkit recording 1\"",
        ),
        (
            r#"{"format": "rpcplugin-testkit recording 1"}"#.to_owned(),
            "it has no array of `calls`",
        ),
        (recording("{}"), "call 0: it has no `method`"),
        (
            recording(r#"{"method": "M"}"#),
            "call 0: its `form` is None, expected bytes, schemaless or typed",
        ),
        (
            recording(r#"{"method": "M", "form": "schemaless", "shape": "round"}"#),
            "call 0: `round` is no `shape`",
        ),
        (
            recording(r#"{"method": "M", "form": "bytes", "requests": ["?"]}"#),
            "call 0: `?` is no base64: Invalid symbol 63, offset 0.",
        ),
        (
            recording(r#"{"method": "M", "form": "bytes", "status": {"code": "FINE"}}"#),
            "call 0: `FINE` is no status code",
        ),
        (
            recording(r#"{"method": "M", "form": "bytes"}"#),
            "call 0: it has no `status` and no `outcome`",
        ),
    ];
    for (content, expected) in cases {
        let (text, cause) = told(&content, false).await;
        assert_eq!(
            (text.as_str(), cause.as_str()),
            ("cannot replay FILE", expected),
            "{content}"
        );
    }
    let typed = r#"{"method": "echo.v1.Parrot/Squawk", "form": "typed", "requests": [{"massage": "a"}], "status": {"code": "OK"}}"#;
    let (_, cause) = told(&recording(typed), false).await;
    assert_eq!(
        cause,
        "call 0: its messages are of echo.v1.Parrot/Squawk, which the mock has no schema for: give the builder its \
         `.descriptor_set(..)`"
    );
    let (_, cause) = told(&recording(typed), true).await;
    assert!(
        cause.starts_with(
            "call 0: the request as JSON can match no call of echo.v1.Parrot/Squawk: "
        ),
        "{cause}"
    );

    let missing = MockServer::builder()
        .memory()
        .replay("no/such/file.json")
        .try_start()
        .await;
    let error = missing.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the recording no/such/file.json"
    );
    let unwritable = MockServer::memory()
        .await
        .journal()
        .save(Path::new("/dev/null/x.json"));
    assert_eq!(
        unwritable.unwrap_err().to_string(),
        "cannot save the journal to /dev/null/x.json"
    );
}

/// Two conversations that begin alike, and one without a word.
#[tokio::test]
async fn conversations_are_replayed_one_after_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.json");
    let talk = async |server: &MockServer, words: &[&str]| {
        let client = server.client().await;
        let said: Vec<_> = words.iter().map(|word| json!({"message": word})).collect();
        let chat = client
            .call_bidi_stream("Chat", tokio_stream::iter(said))
            .into_future();
        let replies = within(chat).await?;
        let replies: Vec<_> = replies
            .map(|reply| reply.map(|reply| reply["message"].clone()))
            .collect()
            .await;
        replies.into_iter().collect::<Result<Vec<_>, Error>>()
    };
    let server = real().await;
    let conversations: [&[&str]; 3] = [&["hello", "a"], &["hello", "b"], &[]];
    for words in conversations {
        assert_eq!(talk(&server, words).await.unwrap(), words);
    }
    server.journal().save(&path).unwrap();

    let builder = MockServer::builder()
        .memory()
        .schema(echo_schema())
        .allow_unmatched();
    let replaying = builder.replay(&path).start().await;
    for words in conversations {
        assert_eq!(talk(&replaying, words).await.unwrap(), words);
    }
    // What was not said is not in the recording of silence.
    let unknown = talk(&replaying, &["unknown"]).await.unwrap_err();
    assert_eq!(unknown.code(), Some(Code::FailedPrecondition));
}

#[tokio::test]
async fn a_journal_that_is_not_whole_is_not_saved() {
    let server = MockServer::builder()
        .memory()
        .journal_limit(5000)
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    for _ in 0..20 {
        client.call("Get", json!({})).await.unwrap();
    }
    let error = server.journal().save("never.json").unwrap_err();
    let told = format!(
        "of {} calls it had no room: raise its `journal_limit`",
        server.journal().dropped()
    );
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), told);
}
