//! Tokens: who has one, who gets one, when it is renewed, and that nobody else sees it.

use crate::raw::raw_server;
use crate::support::{echo, echo_schema, repeat_what_is_said, within};
use bytes::Bytes;
use echo::echo_client::EchoClient;
use http::{HeaderMap, Response};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientBuilder, Token};
use rpcplugin_testkit::{
    Auth, Call, CallStream, Client, Code, Compression, Error, Grant, MockServer, Outcome, Reply,
    Status, Stub, TokenAuth, json,
};
use std::{
    error, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, advance};
use tokio_stream::wrappers::UnboundedReceiverStream;

const MINUTE: Duration = Duration::from_secs(60);
const LOGIN: &str = "auth.Authenticate";

/// A mock that logs clients in with the key `k-1`, for a minute, and answers `Process`.
async fn guarded(grant: Grant) -> (MockServer, Auth) {
    let auth = Auth::tokens();
    let server = MockServer::builder().memory().auth(auth.clone());
    let server = server.start().await;
    server.mount(
        auth.login(LOGIN, json!({"api_key": "k-1"}), grant)
            .times(0..),
    );
    server.mount(
        Stub::method("Process")
            .reply(json!({"done": true}))
            .times(0..),
    );
    (server, auth)
}

fn logging_in(server: &MockServer) -> ClientBuilder {
    let auth = TokenAuth::login(LOGIN, json!({"api_key": "k-1"}));
    Client::builder().address(server.address()).auth(auth)
}

fn message(error: &Error) -> &str {
    error.status().expect("the server said so").message()
}

/// The seed's own story: connect with a key, get a token, call with it.
#[tokio::test]
async fn a_client_logs_in_when_it_connects_and_calls_with_its_token() {
    let (server, _auth) = guarded(Grant::new()).await;
    let client = within(logging_in(&server).connect()).await.unwrap();
    assert_eq!(server.calls().len(), 1);
    let process = || client.call("Process", json!({"request": "data"}));
    within(process().into_future()).await.unwrap();
    within(process().into_future()).await.unwrap();

    let calls = server.calls();
    let expected = [
        (LOGIN, json!({"api_key": "k-1"})),
        ("Process", json!({"request": "data"})),
        ("Process", json!({"request": "data"})),
    ];
    assert_eq!(calls, expected);
    let token = calls[0].reply().unwrap()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(calls[0].metadata().get("authorization").is_none());
    for call in &calls[1..] {
        let sent = call.metadata().get("authorization").unwrap();
        assert_eq!(sent.to_str().unwrap(), format!("Bearer {token}"));
        // It is not in HPACK's table: h2 tells it of a literal that may never be indexed.
        assert!(sent.is_sensitive());
    }
    client.close().await;
}

#[tokio::test]
async fn a_thousand_calls_wait_for_one_login() {
    let (server, _auth) = guarded(Grant::new()).await;
    let client = logging_in(&server).connect_lazy().unwrap();
    let calls: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(client.call("Process", json!({})).into_future()))
        .collect();
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
    assert_eq!(server.calls_to(LOGIN).len(), 1);
    assert_eq!(server.calls_to("Process").len(), 1000);
    assert_eq!(server.connections(), 1);
}

/// The first of the waiting calls is the one that began the login.
#[tokio::test]
async fn a_login_outlives_the_call_that_began_it() {
    let auth = Auth::tokens().except(LOGIN);
    let server = MockServer::builder()
        .memory()
        .auth(auth.clone())
        .start()
        .await;
    let (reply, gate) = Reply::gate(json!({"token": auth.issue(Grant::new())}));
    server.mount(Stub::method(LOGIN).reply(reply));
    server.mount(Stub::method("Process").reply(json!({"done": true})));
    let client = logging_in(&server).connect_lazy().unwrap();
    let first = tokio::spawn(client.call("Process", json!({"n": 1})).into_future());
    within(server.wait_for_calls(1)).await;
    let second = tokio::spawn(client.call("Process", json!({"n": 2})).into_future());
    first.abort();
    assert!(within(first).await.unwrap_err().is_cancelled());
    gate.open();
    within(second).await.unwrap().unwrap();
    let expected = [
        (LOGIN, json!({"api_key": "k-1"})),
        ("Process", json!({"n": 2})),
    ];
    assert_eq!(server.calls(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_ends_without_holding_up_a_call() {
    let (server, _auth) = guarded(Grant::new().expires_in(MINUTE)).await;
    let client = logging_in(&server).connect().await.unwrap();
    let process = || client.call("Process", json!({})).into_future();
    let token = |at: usize| {
        let calls = server.calls_to("Process");
        calls[at].metadata().get("authorization").unwrap().clone()
    };
    process().await.unwrap();
    advance(Duration::from_secs(53)).await;
    process().await.unwrap();
    assert_eq!((server.calls_to(LOGIN).len(), token(0)), (1, token(1)));

    // A tenth is left: this call goes with the old one, and has the new one asked for.
    advance(Duration::from_secs(2)).await;
    process().await.unwrap();
    assert_eq!(token(2), token(0));
    within(server.wait_until(|journal| journal.to(LOGIN).ended(Outcome::Ok).len() == 2)).await;
    process().await.unwrap();
    assert!(token(3) != token(0));

    // Nobody called for longer than that: this call waits.
    advance(MINUTE).await;
    process().await.unwrap();
    assert!(token(4) != token(3));
    assert_eq!(server.calls_to(LOGIN).len(), 3);
    assert!(
        server
            .journal()
            .ended(Outcome::Status(Code::Unauthenticated))
            .is_empty()
    );
}

/// The three ways to call, and a stream in each direction.
async fn call_in_all_ways(client: &Client, number: i32) -> Result<(), Error> {
    let said = json!({"message": "a", "times": number});
    client.call("Echo.Say", said.clone()).await?;
    let request = echo::EchoRequest::default();
    let _: echo::EchoReply = client.unary("/echo.v1.Echo/Say", request.clone()).await?;
    let mut stub = EchoClient::new(client.clone());
    stub.say(request).await.map_err(|status| told(&status))?;
    client
        .call_client_stream("Join", tokio_stream::iter([said.clone(), said.clone()]))
        .await?;
    let mut split = client.call_server_stream("Split", said.clone()).await?;
    while split.message().await?.is_some() {}
    let mut chat = client
        .call_bidi_stream("Chat", tokio_stream::iter([said]))
        .await?;
    while chat.message().await?.is_some() {}
    Ok(())
}

/// The error behind a status that a generated client gives.
fn told(status: &Status) -> Error {
    let source = error::Error::source(status).and_then(|source| source.downcast_ref::<Error>());
    source.cloned().unwrap_or_else(|| panic!("{status:?}"))
}

async fn echo_guarded_by(auth: &Auth) -> MockServer {
    let server = MockServer::builder()
        .schema(echo_schema())
        .auth(auth.clone());
    let server = server.start().await;
    server.mount(Stub::any().reply(json!({"message": "yes"})).times(0..));
    let echo = |mut stream: CallStream| async move {
        while let Some(said) = stream.recv().await? {
            stream.send(json!({"message": said["message"]})).await?;
        }
        Ok(())
    };
    server.mount(Stub::method("Chat").reply(echo).times(0..));
    server
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_the_call_made_again_in_all_shapes_and_ways() {
    let auth = Auth::tokens();
    let server = echo_guarded_by(&auth).await;
    let provided = Arc::new(AtomicUsize::new(0));
    let (counted, issuing) = (Arc::clone(&provided), auth.clone());
    let provider = TokenAuth::provider(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let token = issuing.issue(Grant::new());
        async { Ok::<_, io::Error>(token) }
    });
    let builder = Client::builder()
        .address(server.address())
        .schema(echo_schema());
    let client = builder.auth(provider).connect().await.unwrap();
    within(call_in_all_ways(&client, 1)).await.unwrap();
    assert_eq!(provided.load(Ordering::Relaxed), 1);

    let before = server.calls().len();
    let refused = || {
        server
            .journal()
            .ended(Outcome::Status(Code::Unauthenticated))
            .len()
    };
    let ways = 6;
    // Each call finds its token revoked.
    let revoking = auth.clone();
    let revoked = server.journal();
    for at in 0..ways {
        revoking.revoke_all();
        let calls = within(one_way(&client, at)).await;
        calls.unwrap_or_else(|error| panic!("{at}: {error:?}"));
        assert_eq!(refused(), at + 1);
        assert_eq!(revoked.len(), before + 2 * (at + 1));
    }
    assert_eq!(provided.load(Ordering::Relaxed), 1 + ways);
    // What is made again is the same.
    let calls = server.calls();
    let last = &calls[calls.len() - 1];
    assert_eq!(*last, ("Chat", json!([{"message": "a", "times": 1}])));
    assert_eq!(
        calls[before + 1],
        ("echo.v1.Echo/Say", json!({"message": "a", "times": 1}))
    );
}

async fn one_way(client: &Client, way: usize) -> Result<(), Error> {
    let said = json!({"message": "a", "times": 1});
    let request = echo::EchoRequest::default();
    match way {
        0 => client.call("Echo.Say", said).await.map(drop),
        1 => {
            let typed = client.unary::<_, echo::EchoReply>("/echo.v1.Echo/Say", request);
            typed.await.map(drop)
        }
        2 => {
            let mut stub = EchoClient::new(client.clone());
            stub.say(request)
                .await
                .map(drop)
                .map_err(|status| told(&status))
        }
        3 => {
            let said = tokio_stream::iter([said.clone(), said]);
            client.call_client_stream("Join", said).await.map(drop)
        }
        4 => {
            let mut split = client.call_server_stream("Split", said).await?;
            split.message().await.map(drop)
        }
        _ => {
            let said = tokio_stream::iter([said]);
            let mut chat = client.call_bidi_stream("Chat", said).await?;
            chat.message().await.map(drop)
        }
    }
}

#[tokio::test]
async fn a_token_that_is_refused_again_is_told_and_not_tried_forever() {
    let (server, auth) = guarded(Grant::new()).await;
    let client = logging_in(&server).connect().await.unwrap();
    // What is issued is revoked before it is used.
    let revoking = auth.clone();
    let revoke = Stub::method(LOGIN).reply(move |_: &Call| {
        let token = revoking.issue(Grant::new());
        revoking.revoke_all();
        json!({"token": token})
    });
    let stub = server.mount(revoke);
    auth.revoke_all();
    let error = within(client.call("Process", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Unauthenticated));
    assert_eq!(message(&error), "the token was revoked");
    assert_eq!((stub.count(), server.calls_to("Process").len()), (1, 2));
    stub.unmount();
    within(client.call("Process", json!({})).into_future())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_again_is_refused_and_the_next_call_has_another_token() {
    let (server, auth) = guarded(Grant::new()).await;
    server.mount(Stub::method("Upload").reply(json!({"ok": true})).times(0..));
    let client = logging_in(&server).connect().await.unwrap();
    auth.revoke_all();
    // A megabyte is kept, and this is more.
    let large = json!({"text": "x".repeat(2 << 20)});
    let upload = client.call("Upload", large.clone()).into_future();
    assert_eq!(
        within(upload).await.unwrap_err().code(),
        Some(Code::Unauthenticated)
    );
    within(client.call("Upload", large).into_future())
        .await
        .unwrap();

    assert_eq!(server.calls_to(LOGIN).len(), 2);
}

/// What had been sent is sent again, and what comes later is heard by the second call.
#[tokio::test]
async fn a_stream_of_requests_goes_on_after_its_token_was_renewed() {
    let (server, auth) = guarded(Grant::new()).await;
    server.mount(Stub::method("Chat").reply(repeat_what_is_said));
    let client = logging_in(&server).connect().await.unwrap();
    auth.revoke_all();
    let (say, said) = tokio::sync::mpsc::unbounded_channel();
    say.send(json!({"message": 1})).unwrap();
    let said = UnboundedReceiverStream::new(said);
    let mut chat = within(client.call_bidi_stream("Chat", said).into_future())
        .await
        .unwrap();
    for number in 1..4 {
        let heard = within(chat.message()).await.unwrap();
        assert_eq!(heard, Some(json!({"message": number})));
        say.send(json!({"message": number + 1})).unwrap();
    }
    drop(say);
    assert_eq!(
        within(chat.message()).await.unwrap(),
        Some(json!({"message": 4}))
    );
    assert_eq!(within(chat.message()).await.unwrap(), None);
    let chats = server.calls_to("Chat");
    assert_eq!((chats.len(), chats[1].requests().len()), (2, 4));
}

/// A server that refuses by the headers alone leaves what is larger than its window unsent.
#[tokio::test]
async fn a_large_request_that_is_refused_before_it_is_sent_is_made_again() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    // Every other call is refused.
    let (address, _serving) = raw_server(move |mut respond| {
        let refused = counted.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let response = Response::builder().header("content-type", "application/grpc");
        if refused {
            let response = response.header("grpc-status", "16").body(()).unwrap();
            respond.send_response(response, true).unwrap();
            return;
        }
        let mut stream = respond
            .send_response(response.body(()).unwrap(), false)
            .unwrap();
        stream
            .send_data(Bytes::from_static(&[0; 5]), false)
            .unwrap();
        let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, "0".parse().unwrap())]);
        stream.send_trailers(trailers).unwrap();
    })
    .await;
    let auth = TokenAuth::provider(|| async { Ok::<_, io::Error>("t") });
    let client = within(Client::builder().address(address).auth(auth).connect())
        .await
        .unwrap();
    for (at, length) in [10, 60_000, 70_000, 300_000, 900_000]
        .into_iter()
        .enumerate()
    {
        let call = client
            .unary::<String, ()>("/a.B/C", "x".repeat(length))
            .into_future();
        within(call)
            .await
            .unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(served.load(Ordering::Relaxed), 2 * (at + 1));
    }
}

/// What is kept is the request before it is compressed.
#[tokio::test]
async fn a_compressed_request_is_made_again_as_it_was() {
    let (server, auth) = guarded(Grant::new()).await;
    let builder = logging_in(&server).compression(Compression::Gzip);
    let client = within(builder.connect()).await.unwrap();
    auth.revoke_all();
    let request = json!({"text": "x".repeat(10_000)});
    within(client.call("Process", request.clone()).into_future())
        .await
        .unwrap();
    let calls = server.calls_to("Process");
    assert_eq!((calls.len(), calls[1].request()), (2, request));
    assert!(calls[1].requests()[0].is_compressed());
}

/// The mock passes calls on with a token of its own, over TLS, and not with what its clients sent.
#[tokio::test]
async fn a_proxy_authenticates_to_the_server_behind_it() {
    let auth = Auth::bearer("t");
    let real = MockServer::builder()
        .mtls()
        .auth(auth.clone())
        .schema(echo_schema());
    let real = real.start().await;
    real.mount(Stub::any().reply(json!({"message": "real"})).times(0..));
    let behind = Client::builder().address(real.address());
    let behind = behind
        .tls(real.client_tls().unwrap())
        .auth(TokenAuth::bearer("t"));
    let proxy = MockServer::builder()
        .memory()
        .proxy_with(behind)
        .start()
        .await;
    let client = proxy.client().await;
    let call = || client.call("Echo.Say", json!({"message": "a"}));
    let reply = within(call().into_future()).await.unwrap();
    assert_eq!(reply["message"], "real");
    auth.revoke("t");
    let error = within(call().into_future()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unauthenticated));
    assert_eq!(proxy.calls().len(), 2);
    assert_eq!(real.journal().from_client("test client").len(), 2);
    // What a caller authenticates with stays here.
    auth.accept("t", Grant::new());
    let own = call().metadata("authorization", "Bearer the caller's");
    within(own.into_future()).await.unwrap();
    let sent = real.calls()[2]
        .metadata()
        .get("authorization")
        .unwrap()
        .clone();
    assert_eq!(sent, "Bearer t");
}

/// A refusal that comes as trailers, after headers, cannot be told from the end of any other call until then.
#[tokio::test]
async fn a_refusal_after_the_headers_is_told_and_the_next_call_has_another_token() {
    let (server, _auth) = guarded(Grant::new()).await;
    let late = Reply::stream([json!({"n": 1})]).end_with(Status::unauthenticated("too late"));
    server.mount(Stub::method("Watch").reply(late));
    let client = logging_in(&server).connect().await.unwrap();
    let mut watch = within(client.call_server_stream("Watch", json!({})).into_future())
        .await
        .unwrap();
    assert_eq!(
        within(watch.message()).await.unwrap(),
        Some(json!({"n": 1}))
    );
    assert_eq!(
        within(watch.message()).await.unwrap_err().code(),
        Some(Code::Unauthenticated)
    );
    within(client.call("Process", json!({})).into_future())
        .await
        .unwrap();
    assert_eq!(server.calls_to(LOGIN).len(), 2);
}

#[tokio::test]
async fn a_login_that_fails_tells_why_with_its_cause_and_is_tried_again_by_the_next_call() {
    let (server, _auth) = guarded(Grant::new()).await;
    let wrong = TokenAuth::login(LOGIN, json!({"api_key": "SECRET-KEY"}));
    let builder = Client::builder().address(server.address()).auth(wrong);
    let error = within(builder.clone().connect()).await.unwrap_err();
    let address = server.address();
    assert_eq!(
        error.to_string(),
        format!("the login by {LOGIN} at {address} failed")
    );
    assert!(error.is_auth() && error.status().is_none(), "{error:?}");
    assert_eq!(error.code(), Some(Code::Unauthenticated));
    let source = error::Error::source(&error).unwrap().to_string();
    let cause = format!("{LOGIN} at {address} failed: UNAUTHENTICATED: the credentials are wrong");
    assert_eq!(source, cause);
    assert!(!format!("{error:?} {builder:?}").contains("SECRET-KEY"));

    let client = builder.connect_lazy().unwrap();
    for _ in 0..2 {
        let error = within(client.call("Process", json!({})).into_future())
            .await
            .unwrap_err();
        assert!(error.is_auth(), "{error:?}");
    }
    assert_eq!(server.calls().len(), 3);

    // A server that is not there is as such.
    drop(server);
    let error = within(client.call("Process", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(
        (error.is_auth(), error.code()),
        (true, Some(Code::Unavailable))
    );
}

#[tokio::test]
async fn the_reply_of_a_login_is_read_leniently_and_never_repeated() {
    let server = MockServer::memory().await;
    server.mount(Stub::method("Process").reply(json!({})).times(0..));
    let good = [
        json!({"token": "SECRET"}),
        json!({"token": "SECRET", "expires_in": 60}),
        json!({"token": "SECRET", "expiresIn": "60"}),
        json!({"token": "SECRET", "expires_in": 0.5}),
        json!({"token": "SECRET", "expires_in": null, "scope": ["a"]}),
        json!({"token": "SECRET", "expires_in": 0}),
    ];
    for reply in good {
        let _stub = server.mount_scoped(Stub::method(LOGIN).reply(reply.clone()));
        let connected = within(logging_in(&server).connect()).await;
        connected.unwrap_or_else(|error| panic!("{reply}: {error:?}"));
    }
    let no_token = "it has no text `token`";
    let no_time = "its `expires_in` is no number of seconds";
    let no_metadata = "the token cannot be metadata: expected visible ASCII characters, and some";
    let bad = [
        (json!({}), no_token),
        (json!({"token": 7, "x": "SECRET"}), no_token),
        (json!({"token": "", "x": "SECRET"}), no_token),
        (json!({"token": "SECRET", "expires_in": -1}), no_time),
        (json!({"token": "SECRET", "expires_in": "soon"}), no_time),
        (json!({"token": "SECRET\n"}), no_metadata),
        (json!({"token": "SECRET-ü"}), no_metadata),
    ];
    for (reply, problem) in bad {
        let _stub = server.mount_scoped(Stub::method(LOGIN).reply(reply.clone()));
        let error = within(logging_in(&server).connect()).await.unwrap_err();
        assert!(
            error.is_auth() && error.to_string().ends_with(problem),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn fixed_tokens_and_keys_are_sent_as_they_are_told_unless_the_call_has_its_own() {
    let cases = [
        (
            TokenAuth::bearer("t"),
            Auth::bearer("t"),
            "authorization",
            "Bearer t",
        ),
        (
            TokenAuth::api_key("t"),
            Auth::api_key("t"),
            "x-api-key",
            "t",
        ),
        (
            TokenAuth::bearer("t").header("X-Token"),
            Auth::tokens().header("x-token"),
            "x-token",
            "t",
        ),
    ];
    for (told, auth, key, value) in cases {
        auth.accept("t", Grant::new());
        let server = MockServer::builder().memory().auth(auth).start().await;
        server.mount(Stub::any().reply(json!({})));
        let builder = Client::builder().address(server.address()).auth(told);
        let client = within(builder.connect()).await.unwrap();
        within(client.call("A", json!({})).into_future())
            .await
            .unwrap();
        let own = client.call("B", json!({})).metadata(key, "other");
        let error = within(own.into_future()).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unauthenticated));
        let sent = |at: usize| {
            server.calls()[at]
                .metadata()
                .get_all(key)
                .iter()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (sent(0), sent(1)),
            (vec![value.parse().unwrap()], vec!["other".parse().unwrap()])
        );
    }
    let scheme = TokenAuth::bearer("t").scheme("Token");
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})));
    let client = Client::builder()
        .address(server.address())
        .auth(scheme)
        .connect()
        .await
        .unwrap();
    client.call("A", json!({})).await.unwrap();
    assert_eq!(
        server
            .journal()
            .with_metadata("authorization", "Token t")
            .len(),
        1
    );
}

#[tokio::test]
async fn a_token_does_not_go_to_another_machine_in_plaintext_unless_that_is_allowed() {
    let lazily = |address: &str, auth: TokenAuth| {
        Client::builder().address(address).auth(auth).connect_lazy()
    };
    let far = [
        "10.0.0.1:50051",
        "db.internal:50051",
        "[2001:db8::1]:50051",
        "localhost.example:1",
    ];
    let near = [
        "127.0.0.1:50051",
        "127.8.9.1:1",
        "localhost:50051",
        "LocalHost:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "unix:/run/p.sock",
        "memory:a",
    ];
    for address in far {
        let error = lazily(address, TokenAuth::bearer("SECRET")).unwrap_err();
        let text = format!(
            "a token would go to {address} in plaintext: use `.tls(..)`, or `TokenAuth::allow_plaintext()`"
        );
        assert_eq!(error.to_string(), text);
        assert!(error.is_config() && !format!("{error:?}").contains("SECRET"));
        lazily(address, TokenAuth::bearer("t").allow_plaintext()).unwrap();
        let tls = rpcplugin_testkit::ClientTls::new().roots(rpcplugin_testkit::Authority::shared());
        Client::builder()
            .address(address)
            .auth(TokenAuth::bearer("t"))
            .tls(tls)
            .connect_lazy()
            .unwrap();
    }
    for address in near {
        lazily(address, TokenAuth::login(LOGIN, json!({}))).unwrap();
    }
    for (bad, text) in [
        (
            TokenAuth::bearer("SECRET\u{7f}"),
            "the token cannot be metadata: expected visible ASCII characters, and some",
        ),
        (
            TokenAuth::bearer(""),
            "the token cannot be metadata: expected visible ASCII characters, and some",
        ),
        (
            TokenAuth::bearer("SECRET").header("a b"),
            "`a b` cannot be the metadata key of a token",
        ),
        (
            TokenAuth::bearer("SECRET").header("x-bin"),
            "`x-bin` cannot be the metadata key of a token",
        ),
    ] {
        assert_eq!(lazily("localhost:1", bad).unwrap_err().to_string(), text);
    }
}

#[tokio::test]
async fn a_provider_that_fails_or_panics_fails_the_call_with_its_text() {
    let server = MockServer::builder()
        .memory()
        .auth(Auth::bearer("t"))
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})));
    let broken = || async { Err::<Token, _>(io::Error::other("the vault is sealed")) };
    let client = Client::builder()
        .address(server.address())
        .auth(TokenAuth::provider(broken));
    let error = within(client.connect()).await.unwrap_err();
    assert_eq!(error.to_string(), "the provider of tokens failed");
    assert_eq!(
        error::Error::source(&error).unwrap().to_string(),
        "the vault is sealed"
    );
    assert_eq!(error.code(), Some(Code::Unauthenticated));

    let at_once = || -> std::future::Ready<Result<Token, io::Error>> { panic!("at once") };
    let client = Client::builder()
        .address(server.address())
        .auth(TokenAuth::provider(at_once));
    let error = within(client.connect()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the provider of tokens panicked: at once"
    );

    let times = Arc::new(AtomicUsize::new(0));
    let panicking = TokenAuth::provider(move || {
        let times = Arc::clone(&times);
        async move {
            assert!(times.fetch_add(1, Ordering::Relaxed) > 0, "not yet");
            Ok::<_, io::Error>("t")
        }
    });
    let client = Client::builder()
        .address(server.address())
        .auth(panicking)
        .connect_lazy()
        .unwrap();
    let error = within(client.call("A", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the provider of tokens panicked: not yet"
    );
    within(client.call("A", json!({})).into_future())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_token_is_within_the_deadline_of_the_call() {
    let server = MockServer::memory().await;
    let never = TokenAuth::provider(std::future::pending::<Result<Token, io::Error>>);
    let client = Client::builder()
        .address(server.address())
        .auth(never)
        .connect_lazy()
        .unwrap();
    let began = Instant::now();
    let error = client
        .call("A", json!({}))
        .timeout(MINUTE)
        .await
        .unwrap_err();
    assert_eq!(began.elapsed(), MINUTE);
    assert!(error.is_timeout(), "{error:?}");
    let path = "/rpcplugin.v1.Plugin/Call";
    // A dynamic call looks its method up first, which waits for the token too.
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let text = error.to_string();
    let address = server.address();
    let expected = [path, reflection].map(|path| {
        format!("{path} at {address} exceeded its deadline of 60s while waiting for a token")
    });
    let asking =
        format!("A at {address} exceeded its deadline of 60s while asking the server's reflection");
    assert!(expected.contains(&text) || text == asking, "{text}");
    assert!(server.calls().is_empty());
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn the_mock_tells_what_is_wrong_with_a_token() {
    let auth = Auth::tokens();
    auth.accept("good", Grant::new());
    auth.accept("short", Grant::new().expires_in(MINUTE));
    auth.accept("reader", Grant::new().methods(["Get", "kv.Store/List"]));
    auth.accept("gone", Grant::new());
    assert!(auth.revoke("gone") && !auth.revoke("gone") && !auth.revoke("unknown"));
    let server = MockServer::builder().memory().auth(auth).start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let client = server.client().await;
    let outcome = async |header: Option<&str>, method: &str| {
        let call = client.call(method, json!({"n": 1}));
        let call = match header {
            Some(value) => call.metadata("authorization", value),
            None => call,
        };
        match call.await {
            Ok(_) => (Code::Ok, String::new()),
            Err(error) => (error.code().unwrap(), message(&error).to_owned()),
        }
    };
    let (ok, not_known) = (
        (Code::Ok, ""),
        (Code::Unauthenticated, "the token is not known"),
    );
    let malformed = (
        Code::Unauthenticated,
        "`authorization` is malformed; expected `Bearer ` and the token",
    );
    let rows = [
        (Some("Bearer good"), "Put", ok),
        (Some("bearer  good"), "Put", ok),
        (
            None,
            "Put",
            (
                Code::Unauthenticated,
                "no `authorization` metadata; expected `Bearer ` and the token",
            ),
        ),
        (Some("good"), "Put", malformed),
        (Some("Basic good"), "Put", malformed),
        (Some("Bearer "), "Put", not_known),
        (Some("Bearer Good"), "Put", not_known),
        (
            Some("Bearer gone"),
            "Put",
            (Code::Unauthenticated, "the token was revoked"),
        ),
        (Some("Bearer short"), "Put", ok),
        (Some("Bearer reader"), "Get", ok),
        (Some("Bearer reader"), "kv.Store.List", ok),
        (
            Some("Bearer reader"),
            "Put",
            (Code::PermissionDenied, "the token does not allow Put"),
        ),
    ];
    for (header, method, (code, text)) in rows {
        let came = outcome(header, method).await;
        assert_eq!(came, (code, text.to_owned()), "{header:?} {method}");
    }
    advance(MINUTE).await;
    let expired = (Code::Unauthenticated, "the token has expired".to_owned());
    assert_eq!(outcome(Some("Bearer short"), "Put").await, expired);
    assert_refusals_are_recorded(&server);
}

fn assert_refusals_are_recorded(server: &MockServer) {
    let journal = server.journal();
    let refused = journal.served_by("auth");
    assert_eq!((journal.len(), refused.len()), (13, 8));
    // They are nobody's mistake, and no secret is printed.
    assert!(journal.unmatched().is_empty());
    let shown = format!("{journal} {:?}", journal.calls());
    for secret in ["Bearer good", "reader", "short"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[tokio::test]
async fn health_and_reflection_are_open_unless_all_is_guarded() {
    for guarded in [false, true] {
        let auth = Auth::bearer("t").except("Echo.Split");
        let auth = if guarded { auth.guard_all() } else { auth };
        let server = MockServer::builder()
            .memory()
            .schema(echo_schema())
            .auth(auth);
        let server = server.start().await;
        server.mount(Stub::any().reply(json!({})).times(0..));
        let stranger = Client::connect(server.address()).await.unwrap();
        let healthy = within(stranger.health_check()).await;
        let asked = within(
            stranger
                .call_server_stream("Echo.Split", json!({}))
                .into_future(),
        )
        .await;
        assert_eq!((healthy.is_err(), asked.is_err()), (guarded, guarded));
        if guarded {
            assert_eq!(healthy.unwrap_err().code(), Some(Code::Unauthenticated));
        }
        let builder = Client::builder().address(server.address());
        let client = builder
            .auth(TokenAuth::bearer("t"))
            .connect()
            .await
            .unwrap();
        within(client.health_check()).await.unwrap();
        within(client.call("Echo.Say", json!({})).into_future())
            .await
            .unwrap();
    }
}

/// A login by name has to look its method up, which no token can wait for.
#[tokio::test]
async fn a_login_finds_its_method_by_reflection() {
    let auth = Auth::tokens();
    let server = MockServer::builder()
        .schema(echo_schema())
        .auth(auth.clone());
    let server = server.start().await;
    let issuing = auth.clone().except("Echo.Say");
    server.mount(
        Stub::method("Echo.Say")
            .reply(move |_: &Call| json!({"message": issuing.issue(Grant::new())})),
    );
    server.mount(Stub::method("Join").reply(json!({"count": 1})));
    let login = TokenAuth::login("Echo.Say", json!({"message": "k"}));
    let client = Client::builder()
        .address(server.address())
        .auth(login)
        .connect_lazy()
        .unwrap();
    let error = within(
        client
            .call_client_stream("Join", tokio_stream::iter([json!({})]))
            .into_future(),
    )
    .await;
    // Its reply has another field than `token`.
    let error = error.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("failed: the reply is of no use: it has no text `token`"),
        "{error}"
    );
    assert_eq!(server.calls_to("Echo.Say").len(), 1);
}

/// A failing test prints its journal, and CI keeps what it prints.
#[tokio::test]
async fn a_login_is_recorded_and_neither_printed_nor_saved() {
    let (server, auth) = guarded(Grant::new()).await;
    let client = within(logging_in(&server).connect()).await.unwrap();
    client.call("Process", json!({"n": 1})).await.unwrap();
    auth.revoke_all();
    client.call("Process", json!({"n": 2})).await.unwrap();
    let calls = server.calls();
    let token = calls[0].reply().unwrap()["token"].clone();
    assert_eq!(calls[0], (LOGIN, json!({"api_key": "k-1"})));
    let shown = format!("{} {calls:?} {calls:#?}", server.journal());
    assert!(
        shown.contains(r#"("auth.Authenticate", secret) from memory:"#),
        "{shown}"
    );
    assert!(
        shown.contains(r#"("Process", no request) from memory:"#),
        "{shown}"
    );
    let secrets = [token.as_str().unwrap(), "k-1", "token-"];
    assert!(
        secrets.iter().all(|secret| !shown.contains(secret)),
        "{shown}"
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.json");
    server.journal().save(&path).unwrap();
    let saved = std::fs::read_to_string(&path).unwrap();
    assert!(
        secrets.iter().all(|secret| !saved.contains(secret)),
        "{saved}"
    );
    assert_eq!(saved.matches(r#""method": "#).count(), 2, "{saved}");
    let stub = Stub::method("Other").secret().reply(json!({"a": "SECRET"}));
    assert!(!format!("{stub:?}").contains("SECRET"));
}

/// Nothing of what was meant for a secret stub is told, also when it was not accepted.
#[tokio::test]
async fn a_call_that_a_secret_stub_refuses_is_secret_too() {
    let server = MockServer::builder()
        .memory()
        .verify_on_drop(false)
        .start()
        .await;
    let key = rpcplugin_testkit::matchers::json(json!({"api_key": "SECRET-RIGHT"}));
    server.mount(
        Stub::method("Login")
            .secret()
            .when(key)
            .reply(json!({"token": "SECRET-TOKEN"})),
    );
    let client = server.client().await;
    let wrong = client
        .call("Login", json!({"api_key": "SECRET-WRONG"}))
        .into_future();
    let error = within(wrong).await.unwrap_err();
    let report = server.verify().await.unwrap_err();
    let shown = format!(
        "{error:?} {report} {} {:?}",
        server.journal(),
        server.calls()
    );
    assert!(!shown.contains("SECRET"), "{shown}");
    assert!(shown.contains("a condition of a secret stub"), "{shown}");
}

/// A key that no `Auth` of the mock knows of is a secret all the same.
#[tokio::test]
async fn keys_of_tokens_are_neither_printed_nor_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording.json");
    for told in [
        TokenAuth::api_key("SECRET"),
        TokenAuth::bearer("SECRET"),
        TokenAuth::bearer("SECRET").header("x-auth-token"),
    ] {
        let server = MockServer::memory().await;
        server.mount(Stub::any().reply(json!({})));
        let client = Client::builder()
            .address(server.address())
            .auth(told)
            .connect()
            .await
            .unwrap();
        client.call("A", json!({})).await.unwrap();
        server.journal().save(&path).unwrap();
        let saved = std::fs::read_to_string(&path).unwrap();
        let shown = format!("{:?} {saved}", server.calls()[0].metadata());
        assert!(!shown.contains("SECRET"), "{shown}");
    }
}

#[tokio::test]
async fn a_closed_client_asks_for_no_token_and_wakes_who_waits_for_one() {
    let server = MockServer::memory().await;
    let never = TokenAuth::provider(std::future::pending::<Result<Token, io::Error>>);
    let builder = Client::builder()
        .address(server.address())
        .schema(echo_schema());
    let client = builder.auth(never).connect_lazy().unwrap();
    let waiting = tokio::spawn(client.call("Echo.Say", json!({})).into_future());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    client.close().await;
    assert!(within(waiting).await.unwrap().unwrap_err().is_closed());
    let late = within(client.call("Echo.Say", json!({})).into_future()).await;
    assert!(late.unwrap_err().is_closed());
}

/// Who waits for the server, and who does not, wait for the same login.
#[tokio::test]
async fn waiting_for_a_server_that_is_down_is_each_calls_own_choice() {
    let name = "memory:auth-wait";
    let login = TokenAuth::login("Echo.Say", json!({"message": "k-1"}));
    let backoff = rpcplugin_testkit::client::Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(1),
        ..Default::default()
    };
    let builder = Client::builder()
        .address(name)
        .backoff(backoff)
        .schema(echo_schema());
    let client = builder.auth(login).connect_lazy().unwrap();
    for waits_first in [false, true] {
        let call = |waits: bool| {
            let request = echo::EchoRequest::default();
            let call = client.unary::<_, echo::EchoReply>("/echo.v1.Echo/Say", request);
            let call = if waits { call.wait_for_ready() } else { call };
            tokio::spawn(call.into_future())
        };
        let (one, two) = (call(waits_first), call(!waits_first));
        let (waiting, failing) = if waits_first { (one, two) } else { (two, one) };
        let failed = within(failing).await.unwrap().unwrap_err();
        assert_eq!(failed.code(), Some(Code::Unavailable), "{failed:?}");
        assert!(!waiting.is_finished());
        waiting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_waits_for_a_token_no_longer_than_a_call() {
    let server = MockServer::memory().await;
    let never = TokenAuth::provider(std::future::pending::<Result<Token, io::Error>>);
    let builder = Client::builder()
        .address(server.address())
        .auth(never)
        .timeout(MINUTE);
    let error = builder.connect().await.unwrap_err();
    let text = format!(
        "no token for {} within the timeout of 60s",
        server.address()
    );
    assert_eq!((error.to_string(), error.is_timeout()), (text, true));
}

#[tokio::test]
async fn keys_that_are_others_are_no_keys_of_tokens_and_endless_tokens_are_endless() {
    for key in [
        "te",
        "content-type",
        "grpc-timeout",
        "connection",
        "host",
        "user-agent",
        "grpc-foo",
        "x-bin",
    ] {
        let told = TokenAuth::bearer("t").header(key);
        let error = Client::builder()
            .address("localhost:1")
            .auth(told)
            .connect_lazy()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("`{key}` cannot be the metadata key of a token")
        );
    }
    for key in ["te", "x-bin"] {
        std::panic::catch_unwind(|| drop(Auth::tokens().header(key))).unwrap_err();
    }
    let (server, _auth) = guarded(Grant::new().expires_in(Duration::MAX)).await;
    let client = within(logging_in(&server).connect()).await.unwrap();
    within(client.call("Process", json!({})).into_future())
        .await
        .unwrap();
}

#[test]
fn debug_shows_no_secret() {
    let auth = Auth::bearer("SECRET");
    let issued = auth.issue(Grant::new().expires_in(MINUTE));
    let login = TokenAuth::login(LOGIN, json!({"api_key": "SECRET"}));
    let builder = Client::builder().address("localhost:1").auth(login.clone());
    let client = builder.clone().connect_lazy().unwrap();
    let call = client
        .call("A", json!({"a": "SECRET"}))
        .metadata("authorization", "SECRET");
    let shown = format!(
        "{auth:?} {login:?} {builder:?} {client:?} {call:?} {:?} {:?} {:?}",
        TokenAuth::bearer("SECRET"),
        Token::new("SECRET").expires_in(MINUTE),
        MockServer::builder().auth(auth.clone()),
    );
    assert!(
        !shown.contains("SECRET") && !shown.contains(&issued),
        "{shown}"
    );
    assert_eq!(
        format!("{login:?}"),
        "TokenAuth(auth.Authenticate, as `authorization`)"
    );
}
