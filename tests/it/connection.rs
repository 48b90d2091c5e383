//! The client's connection: its states, redialling, going away, and closing.

use crate::support::{Transport, within};
use h2::server;
use http::{HeaderMap, Response};
use rpcplugin_testkit::{
    Address, Client, ClientConfig, Code, ConnectionState, MockServer, Reply, Status, Stub,
    client::Backoff, json,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address").into();
    (listener, address)
}

type RawServer = server::Connection<TcpStream, bytes::Bytes>;

async fn accept(listener: &TcpListener) -> RawServer {
    let (stream, _) = within(listener.accept()).await.expect("a connection");
    within(server::handshake(stream)).await.expect("HTTP/2")
}

/// Answers the next call of a raw connection with an empty struct.
async fn answer(connection: &mut RawServer) {
    let (_, mut respond) = within(connection.accept())
        .await
        .expect("a call")
        .expect("no error");
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .expect("a response");
    let mut stream = respond
        .send_response(response, false)
        .expect("the client waits");
    stream
        .send_data(bytes::Bytes::from_static(&[0; 5]), false)
        .expect("the client waits");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    stream.send_trailers(trailers).expect("the client waits");
}

const CALL: &str = "/rpcplugin.v1.Plugin/Call";

fn call(client: &Client) -> rpcplugin_testkit::client::UnaryCall<()> {
    client.unary::<(), ()>(CALL, ())
}

#[tokio::test(start_paused = true)]
async fn the_state_follows_the_connection() {
    let backoff = Backoff {
        jitter: 0.0,
        ..Backoff::default()
    };
    let client = Client::builder()
        .address("memory:state")
        .backoff(backoff)
        .connect_lazy()
        .unwrap();
    let mut state = client.state();
    assert_eq!(*state.borrow(), ConnectionState::Idle);

    let error = call(&client).await.unwrap_err();
    assert!(error.is_connect());
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert_eq!(error.to_string(), "cannot connect to memory:state");
    assert_eq!(
        format!("{error:?}"),
        "Connect: cannot connect to memory:state\n  caused by: no server of this process has that name"
    );
    assert_eq!(
        *state.borrow_and_update(),
        ConnectionState::TransientFailure
    );

    let server = MockServer::builder().address("memory:state").start().await;
    server.mount(Stub::any().reply(json!({})));
    // Within the backoff the call fails by the last dial, and nothing is dialled.
    assert!(call(&client).await.unwrap_err().is_connect());
    assert_eq!(server.connections(), 0);
    client
        .call("Echo", json!({}))
        .wait_for_ready()
        .await
        .unwrap();
    assert_eq!(*state.borrow_and_update(), ConnectionState::Ready);

    drop(server);
    state.changed().await.unwrap();
    assert_eq!(*state.borrow_and_update(), ConnectionState::Idle);
    let server = MockServer::builder().address("memory:state").start().await;
    server.mount(Stub::any().reply(json!({})));
    client.call("Echo", json!({})).await.unwrap();

    client.close().await;
    assert_eq!(*state.borrow_and_update(), ConnectionState::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_dialled_as_the_backoff_says() {
    let backoff = Backoff {
        jitter: 0.0,
        ..Backoff::default()
    };
    let client = Client::builder()
        .address("memory:backoff")
        .backoff(backoff)
        .connect_lazy()
        .unwrap();
    let started = Instant::now();
    let waiting = tokio::spawn(
        call(&client)
            .timeout(Duration::from_secs(600))
            .wait_for_ready()
            .into_future(),
    );
    // Dials at 0, 1, 2.6, 5.16 and 9.256 s find nobody; the next is at 15.81 s.
    tokio::time::sleep_until(started + Duration::from_secs(10)).await;
    let server = MockServer::builder()
        .address("memory:backoff")
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})));
    waiting.await.unwrap().unwrap();
    let elapsed = started.elapsed().as_secs_f64();
    assert!((elapsed - 15.81).abs() < 0.02, "{elapsed}");
}

#[tokio::test]
async fn a_refused_connection_names_the_address_and_keeps_the_cause() {
    let (listener, address) = listener().await;
    drop(listener);
    let error = Client::connect(&address).await.unwrap_err();
    assert!(error.is_connect());
    assert_eq!(error.to_string(), format!("cannot connect to {address}"));
    let cause = std::error::Error::source(&error)
        .unwrap()
        .downcast_ref::<std::io::Error>()
        .unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::ConnectionRefused);

    let missing = Address::unix(format!("{}/nothing-here", env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let error = Client::connect(&missing).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot connect to {missing}"));
    let cause = std::error::Error::source(&error)
        .unwrap()
        .downcast_ref::<std::io::Error>()
        .unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_server_that_accepts_and_never_speaks_is_no_connection() {
    let (_silent, address) = listener().await;
    let limit = Duration::from_millis(50);
    let error = Client::builder()
        .address(&address)
        .connect_timeout(limit)
        .connect()
        .await
        .unwrap_err();
    assert!(error.is_connect());
    assert_eq!(
        error.to_string(),
        format!("no connection to {address} within the connect timeout of 50ms")
    );
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_no_connection() {
    let (listener, address) = listener().await;
    let speaking = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream
            .write_all(b"220 mail.example.org ESMTP ready\r\n")
            .await
            .expect("written");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let error = within(Client::connect(&address)).await.unwrap_err();
    assert!(error.is_connect());
    assert_eq!(
        error.to_string(),
        format!("{address} accepted the connection but does not speak HTTP/2")
    );
    within(speaking).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_goes_away_is_replaced_without_a_failed_call() {
    let (listener, address) = listener().await;
    let serving = tokio::spawn(async move {
        let mut accepted = 0;
        for _ in 0..3 {
            let mut connection = accept(&listener).await;
            accepted += 1;
            answer(&mut connection).await;
            connection.graceful_shutdown();
            // Drives the connection to its end, so that the goodbye is sent and the client's own is read.
            assert!(
                within(connection.accept())
                    .await
                    .is_none_or(|call| call.is_err())
            );
        }
        accepted
    });
    let client = Client::connect(&address).await.unwrap();
    let mut state = client.state();
    for _ in 0..3 {
        within(call(&client).into_future()).await.unwrap();
        within(state.wait_for(|state| *state == ConnectionState::Idle))
            .await
            .unwrap();
    }
    assert_eq!(within(serving).await.unwrap(), 3);
}

/// It makes connections ready and ends them, so that no call can be sent. Each dial is one of its own doing then.
#[tokio::test]
async fn a_server_that_hangs_up_on_every_connection_is_not_dialled_in_a_loop() {
    let (listener, address) = listener().await;
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let serving = tokio::spawn(async move {
        loop {
            let mut connection = accept(&listener).await;
            counter.fetch_add(1, Ordering::Relaxed);
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
            let _ = within(connection.accept()).await;
        }
    });
    let hour = Backoff {
        initial: Duration::from_secs(3600),
        ..Backoff::default()
    };
    let client = Client::builder()
        .address(&address)
        .backoff(hour)
        .connect_lazy()
        .unwrap();
    let calls = 50;
    for _ in 0..calls {
        let error = within(call(&client).into_future()).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable), "{error:?}");
    }
    let accepted = accepted.load(Ordering::Relaxed);
    assert!(accepted <= calls + 2, "{accepted} dials for {calls} calls");
    serving.abort();
}

/// `h2` queues a stream that the peer has no room for, and would send it after all.
#[tokio::test]
async fn a_call_that_gave_up_waiting_for_a_free_stream_is_never_sent() {
    let (listener, address) = listener().await;
    let (seen, mut paths) = tokio::sync::mpsc::unbounded_channel();
    let release = Arc::new(tokio::sync::Notify::new());
    let go = Arc::clone(&release);
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let handshake = server::Builder::new()
            .max_concurrent_streams(1)
            .handshake::<_, bytes::Bytes>(stream);
        let mut connection = handshake.await.expect("HTTP/2");
        let mut held = None;
        loop {
            tokio::select! {
                accepted = connection.accept() => {
                    let Some(Ok((request, mut respond))) = accepted else { return };
                    let path = request.uri().path().to_owned();
                    seen.send(path.clone()).expect("the test listens");
                    if path == "/a.B/One" {
                        held = Some(respond);
                    } else {
                        respond.send_reset(h2::Reason::INTERNAL_ERROR);
                    }
                }
                () = go.notified() => held.take().expect("One is held").send_reset(h2::Reason::INTERNAL_ERROR),
            }
        }
    });
    let client = Client::connect(&address).await.unwrap();
    let one = tokio::spawn(client.unary::<(), ()>("/a.B/One", ()).into_future());
    assert_eq!(within(paths.recv()).await.unwrap(), "/a.B/One");
    let two = client
        .unary::<(), ()>("/a.B/Two", ())
        .timeout(Duration::from_millis(30));
    assert!(within(two.into_future()).await.unwrap_err().is_timeout());
    let three = tokio::spawn(client.unary::<(), ()>("/a.B/Three", ()).into_future());
    release.notify_one();
    assert_eq!(
        within(one).await.unwrap().unwrap_err().code(),
        Some(Code::Internal)
    );
    assert_eq!(
        within(three).await.unwrap().unwrap_err().code(),
        Some(Code::Internal)
    );
    assert_eq!(within(paths.recv()).await.unwrap(), "/a.B/Three");

    // Whoever waits for a stream of a connection that goes learns it.
    let one = tokio::spawn(client.unary::<(), ()>("/a.B/One", ()).into_future());
    assert_eq!(within(paths.recv()).await.unwrap(), "/a.B/One");
    let waiting = tokio::spawn(client.unary::<(), ()>("/a.B/Four", ()).into_future());
    tokio::task::yield_now().await;
    within(client.drain(Duration::ZERO)).await;
    assert!(within(waiting).await.unwrap().unwrap_err().is_closed());
    assert_eq!(
        within(one).await.unwrap().unwrap_err().code(),
        Some(Code::Unavailable)
    );
    serving.abort();
}

/// As a test that kills and restarts its server does.
#[tokio::test(start_paused = true)]
async fn a_server_that_dies_with_calls_on_it_is_dialled_at_once_when_it_is_back() {
    let client = Client::builder()
        .address("memory:dies")
        .connect_lazy()
        .unwrap();
    for round in 0..5 {
        let server = MockServer::builder().address("memory:dies").start().await;
        let (reply, mut streams) = Reply::channel();
        server.mount(Stub::any().reply(reply));
        let calling = tokio::spawn(client.unary::<(), ()>("/a.B/C", ()).into_future());
        let held = within(streams.accept()).await;
        drop(server);
        let error = within(calling).await.unwrap().unwrap_err();
        assert!(!error.is_connect(), "round {round}: {error:?}");
        drop(held);
    }
}

/// A client in a `static` meets the runtimes of several tests.
#[test]
fn a_dial_that_ends_with_its_runtime_is_made_again() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (listening, address) = first.block_on(listener());
    let stuck = Client::builder().address(&address).connect_lazy().unwrap();
    first.block_on(async {
        let _calling = tokio::spawn(call(&stuck).into_future());
        let mut state = stuck.state();
        within(state.wait_for(|state| *state == ConnectionState::Connecting))
            .await
            .unwrap();
    });
    assert_eq!(*stuck.state().borrow(), ConnectionState::Connecting);
    drop(first);
    assert_eq!(*stuck.state().borrow(), ConnectionState::Idle);
    drop(listening);
    let error = runtime().block_on(async { within(call(&stuck).into_future()).await.unwrap_err() });
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backoff_beyond_the_end_of_time_is_no_panic() {
    let backoff = Backoff {
        initial: Duration::MAX,
        max: Duration::MAX,
        ..Backoff::default()
    };
    let client = Client::builder()
        .address("memory:never")
        .backoff(backoff)
        .connect_lazy()
        .unwrap();
    for _ in 0..2 {
        assert!(
            within(call(&client).into_future())
                .await
                .unwrap_err()
                .is_connect()
        );
    }
}

#[tokio::test]
async fn two_that_close_both_wait() {
    let server = MockServer::start().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::any().reply(reply));
    let client = server.client().await;
    let calling = tokio::spawn(client.call("Slow", json!({})).into_future());
    let mut held = within(streams.accept()).await;
    let closing = [client.clone(), client.clone()]
        .map(|client| tokio::spawn(async move { client.close().await }));
    let mut state = client.state();
    within(state.wait_for(|state| *state == ConnectionState::Shutdown))
        .await
        .unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(closing.iter().all(|closing| !closing.is_finished()));
    held.send(json!({})).await.unwrap();
    held.finish();
    within(calling).await.unwrap().unwrap();
    for closing in closing {
        within(closing).await.unwrap();
    }
}

#[tokio::test]
async fn close_lets_calls_finish_and_refuses_later_ones() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let (reply, mut streams) = Reply::channel();
        server.mount(Stub::any().reply(reply));
        let client = server.client().await;
        let calling = tokio::spawn(client.call("Slow", json!({})).into_future());
        let mut held = within(streams.accept()).await;

        let closing = tokio::spawn({
            let client = client.clone();
            async move { client.close().await }
        });
        let mut state = client.state();
        within(state.wait_for(|state| *state == ConnectionState::Shutdown))
            .await
            .unwrap();
        let error = client.call("Late", json!({})).await.unwrap_err();
        assert!(error.is_closed());
        assert_eq!(
            error.to_string(),
            format!("the client of {} is closed", server.address())
        );

        assert!(!closing.is_finished());
        held.send(json!({"done": true})).await.unwrap();
        held.finish();
        assert_eq!(
            within(calling).await.unwrap().unwrap(),
            json!({"done": true})
        );
        within(closing).await.unwrap();
        within(client.close()).await;
        // Nothing but the one call was ever sent: no shutdown, above all.
        assert_eq!(server.calls(), [("Slow", json!({}))]);
    }
}

#[tokio::test(start_paused = true)]
async fn close_cuts_what_is_left_after_the_grace() {
    let server = MockServer::memory().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::any().reply(reply));
    let client = Client::builder()
        .address(server.address())
        .close_grace(Duration::from_secs(3))
        .connect()
        .await
        .unwrap();
    let mut replies = client.call_server_stream("Watch", json!({})).await.unwrap();
    let held = streams.accept().await;
    let started = Instant::now();
    client.close().await;
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(
        replies.message().await.unwrap_err().code(),
        Some(Code::Unavailable)
    );
    assert_eq!(
        within(held.call().ended()).await,
        rpcplugin_testkit::Outcome::Dropped
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_has_ended_holds_up_no_close() {
    let server = MockServer::memory().await;
    server.mount(Stub::method("Good").reply(Reply::stream([json!({"n": 1})])));
    server.mount(
        Stub::method("Bad")
            .reply(Reply::stream([json!({"n": 1})]).end_with(Status::aborted("enough"))),
    );
    let client = server.client().await;
    let mut good = client.call_server_stream("Good", json!({})).await.unwrap();
    while good.message().await.unwrap().is_some() {}
    let mut bad = client.call_server_stream("Bad", json!({})).await.unwrap();
    while bad.message().await.is_ok() {}
    let started = Instant::now();
    client.close().await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    drop((good, bad));
}

#[tokio::test(start_paused = true)]
async fn close_ends_the_wait_for_a_connection() {
    let client = Client::builder()
        .address("memory:closed-while-waiting")
        .connect_lazy()
        .unwrap();
    let waiting = tokio::spawn(call(&client).wait_for_ready().into_future());
    let mut state = client.state();
    state
        .wait_for(|state| *state == ConnectionState::TransientFailure)
        .await
        .unwrap();
    client.close().await;
    assert!(waiting.await.unwrap().unwrap_err().is_closed());
}

#[tokio::test]
async fn close_gives_up_a_dial_at_once() {
    let (_silent, address) = listener().await;
    let client = Client::builder().address(&address).connect_lazy().unwrap();
    let calling = tokio::spawn(call(&client).into_future());
    let mut state = client.state();
    within(state.wait_for(|state| *state == ConnectionState::Connecting))
        .await
        .unwrap();
    // Its own grace is longer than any test runs.
    within(client.drain(Duration::from_secs(3600))).await;
    assert!(within(calling).await.unwrap().unwrap_err().is_closed());
}

#[tokio::test]
async fn a_stream_outlives_the_client_that_opened_it() {
    let server = MockServer::start().await;
    server.mount(Stub::any().reply(Reply::stream((0..100).map(|n| json!({"n": n})))));
    let mut replies = {
        let client = Client::connect(server.address()).await.unwrap();
        client.call_server_stream("Watch", json!({})).await.unwrap()
    };
    for n in 0..100 {
        assert_eq!(
            within(replies.message()).await.unwrap(),
            Some(json!({"n": n}))
        );
    }
}

#[tokio::test]
async fn a_configuration_connects_as_it_says() {
    let server = MockServer::start().await;
    server.mount(Stub::any().reply(json!({"ok": true})));
    let Address::Tcp { host, port, .. } = server.address() else {
        panic!("not TCP");
    };
    let config = ClientConfig::from_vars("PLUGIN_", |name| {
        Ok(match name {
            "PLUGIN_SERVER_HOST" => Some(host.clone()),
            "PLUGIN_SERVER_PORT" => Some(port.to_string()),
            "PLUGIN_TIMEOUT" => Some("7.5".to_owned()),
            _ => None,
        })
    });
    let client = Client::builder()
        .config(config.unwrap())
        .connect()
        .await
        .unwrap();
    client.call("Echo", json!({})).await.unwrap();
    let timeout = server.calls()[0].timeout().unwrap();
    assert!(
        timeout <= Duration::from_millis(7500) && timeout > Duration::from_secs(5),
        "{timeout:?}"
    );
}

/// The backoff of a dial runs from its beginning, and may be over when it fails; whoever waited for it has its answer.
#[tokio::test(start_paused = true)]
async fn connecting_to_a_server_that_is_silent_takes_one_connect_timeout() {
    let server = MockServer::memory().await;
    server.pause();
    let limit = Duration::from_secs(3);
    let builder = Client::builder()
        .address(server.address())
        .connect_timeout(limit);
    let began = Instant::now();
    let error = builder.connect().await.unwrap_err();
    assert_eq!(began.elapsed(), limit);
    assert!(error.is_connect(), "{error}");
}
