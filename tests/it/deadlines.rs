//! One deadline for each call, over everything that it waits for. In virtual time.

use crate::support::{Transport, echo, within};
use echo::{EchoReply, EchoRequest, echo_client::EchoClient};
use rpcplugin_testkit::{Call, CallStream, Client, Code, MockServer, Outcome, Reply, Stub, json};
use std::time::Duration;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_late_reply_is_a_deadline_exceeded_at_the_deadline() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(Reply::json(json!({})).delay(LONG)));
    let client = server.client().await;
    let started = Instant::now();
    let error = client
        .call("Slow", json!({}))
        .timeout(TIMEOUT)
        .await
        .unwrap_err();

    assert!(error.is_timeout());
    assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    assert_eq!(
        error.to_string(),
        format!(
            "/rpcplugin.v1.Plugin/Call at {} exceeded its deadline of 200ms while waiting for the response headers",
            server.address()
        )
    );
    // tokio's clock ticks in milliseconds.
    assert!(
        (TIMEOUT..TIMEOUT + Duration::from_millis(2)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );

    let call = &server.calls()[0];
    assert_eq!(call.timeout(), Some(TIMEOUT));
    assert_eq!(within(call.ended()).await, Outcome::DeadlineExceeded);
}

/// What tonic's own channel does not do: it only limits the headers.
#[tokio::test(start_paused = true)]
async fn the_deadline_goes_on_over_a_body_that_stalls() {
    let server = Transport::Memory.start_echo().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Split").reply(reply.clone()));
    server.mount(Stub::method("Echo/Say").reply(reply));
    let client = server.client().await;

    let mut replies = client
        .call_server_stream("Split", json!({}))
        .timeout(TIMEOUT)
        .await
        .unwrap();
    let mut held = streams.accept().await;
    held.send(json!({"count": 1})).await.unwrap();
    assert_eq!(replies.message().await.unwrap().unwrap()["count"], 1);
    let error = replies.message().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "/echo.v1.Echo/Split at {} exceeded its deadline of 200ms while reading the response",
            server.address()
        )
    );
    assert_eq!(within(held.call().ended()).await, Outcome::DeadlineExceeded);
    assert!(held.send(json!({"count": 2})).await.is_err());

    let unary = client.unary::<_, EchoReply>("/echo.v1.Echo/Say", EchoRequest::default());
    let error = unary.timeout(TIMEOUT).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_generated_client_gets_the_deadline_it_set() {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::method("Echo/Say").reply(Reply::json(json!({})).delay(LONG)));
    server.mount(
        Stub::method("Split").reply(|stream: CallStream| async move {
            let _held = stream;
            std::future::pending().await
        }),
    );
    let mut client = EchoClient::new(server.client().await);

    let mut request = tonic::Request::new(EchoRequest::default());
    request.set_timeout(TIMEOUT);
    let status = client.say(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);

    let mut request = tonic::Request::new(EchoRequest::default());
    request.set_timeout(TIMEOUT);
    let mut replies = client.split(request).await.unwrap().into_inner();
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status
            .message()
            .ends_with("exceeded its deadline of 200ms while reading the response"),
        "{status}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_covers_the_wait_for_a_connection() {
    let client = Client::builder()
        .address("memory:nobody-is-here")
        .connect_lazy()
        .unwrap();
    let call = client.unary::<_, EchoReply>("/echo.v1.Echo/Say", EchoRequest::default());
    let error = call.timeout(TIMEOUT).wait_for_ready().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(
        error.to_string(),
        "/echo.v1.Echo/Say at memory:nobody-is-here exceeded its deadline of 200ms while waiting for a connection"
    );
}

#[tokio::test(start_paused = true)]
async fn every_call_has_the_timeout_of_the_client_unless_it_says_otherwise() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})));
    let thirty = Client::connect(server.address()).await.unwrap();
    let five = Client::builder()
        .address(server.address())
        .timeout(Duration::from_secs(5))
        .connect()
        .await
        .unwrap();
    let none = Client::builder()
        .address(server.address())
        .no_timeout()
        .connect()
        .await
        .unwrap();

    thirty.call("A", json!({})).await.unwrap();
    five.call("B", json!({})).await.unwrap();
    none.call("C", json!({})).await.unwrap();
    five.call("D", json!({})).timeout(TIMEOUT).await.unwrap();
    five.call("E", json!({}))
        .timeout(Duration::MAX)
        .await
        .unwrap();

    let seen: Vec<_> = server.calls().iter().map(Call::timeout).collect();
    let expected = [
        Some(Duration::from_secs(30)),
        Some(Duration::from_secs(5)),
        None,
        Some(TIMEOUT),
        // No limit is none, and not a large one.
        None,
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_limit_waits_as_long_as_it_takes() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(Reply::json(json!({"ok": true})).delay(LONG)));
    let client = Client::builder()
        .address(server.address())
        .no_timeout()
        .connect()
        .await
        .unwrap();
    let started = Instant::now();
    client.call("Slow", json!({})).await.unwrap();
    assert!(started.elapsed() >= LONG);
}

#[tokio::test]
async fn a_deadline_that_the_server_declares_is_one_too() {
    let server = Transport::Tcp.start().await;
    server.mount(Stub::any().reply(Reply::status(
        Code::DeadlineExceeded,
        "my upstream was late",
    )));
    let error = server
        .client()
        .await
        .call("Echo", json!({}))
        .await
        .unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.status().unwrap().message(), "my upstream was late");
}

#[tokio::test(start_paused = true)]
async fn an_early_cancellation_is_no_deadline() {
    let server = MockServer::memory().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::any().reply(reply));
    let client = server.client().await;
    let calling = tokio::spawn(client.call("Slow", json!({})).timeout(LONG).into_future());
    let held = streams.accept().await;
    calling.abort();
    assert_eq!(within(held.call().ended()).await, Outcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_on_sending_does_not_outlast_the_deadline() {
    let server = Transport::Memory.start_echo().await;
    let news = (0..1000).map(|n| json!({"count": n}));
    server.mount(
        Stub::method("Split").reply(Reply::stream(news).message_delay(Duration::from_millis(1))),
    );
    let client = server.client().await;
    let mut replies = client
        .call_server_stream("Split", json!({}))
        .timeout(TIMEOUT)
        .await
        .unwrap();
    let error = loop {
        match replies.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream was read to its end"),
            Err(error) => break error,
        }
    };
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(
        within(server.calls()[0].ended()).await,
        Outcome::DeadlineExceeded
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_without_any_time_is_not_sent() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(json!({})));
    let client = server.client().await;
    let error = client
        .call("Echo", json!({}))
        .timeout(Duration::ZERO)
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    assert!(server.calls().is_empty());
}
