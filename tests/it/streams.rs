//! Streams: flow control, cancelling, pacing, and both ends in the test's hands.

use crate::support::{Transport, echo, echo_schema, within};
use echo::EchoRequest;
use rpcplugin_testkit::{CallStream, Code, MockServer, Outcome, Reply, Status, Stub, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

const MEGABYTE: usize = 1 << 20;
/// A stream's window, what one pipe holds, and the few messages on their way.
const AHEAD: usize = 6;

/// In virtual time this ends when nothing else can happen.
async fn until_idle() {
    let _ = timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_holds_the_client_back() {
    let server = Transport::Memory.start_echo().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Join").reply(reply));
    let client = server.client().await;

    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let big = move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        EchoRequest {
            blob: vec![0; MEGABYTE],
            ..EchoRequest::default()
        }
    };
    let requests = tokio_stream::iter(0..50).map(big);
    let call = client.client_stream::<_, echo::EchoReply>("/echo.v1.Echo/Join", requests);
    let calling = tokio::spawn(call.into_future());
    let mut held = streams.accept().await;
    until_idle().await;
    let ahead = sent.load(Ordering::Relaxed);
    assert!(
        (1..=AHEAD).contains(&ahead),
        "{ahead} messages were sent ahead"
    );

    for read in 1..=50 {
        assert!(held.recv().await.unwrap().is_some());
        until_idle().await;
        let ahead = sent.load(Ordering::Relaxed) - read;
        assert!(ahead <= AHEAD, "{ahead} messages ahead after {read}");
    }
    assert_eq!(held.recv().await.unwrap(), None);
    held.send(json!({"count": 50})).await.unwrap();
    held.finish();
    assert_eq!(calling.await.unwrap().unwrap().count, 50);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_the_server_back() {
    let server = Transport::Memory.start_echo().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    server.mount(Stub::method("Split").reply(move |mut stream: CallStream| {
        let counter = Arc::clone(&counter);
        async move {
            for _ in 0..50 {
                let blob = vec![0; MEGABYTE];
                stream
                    .send_message(&echo::EchoReply {
                        blob,
                        ..Default::default()
                    })
                    .await?;
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    }));
    let client = server.client().await;
    let mut replies = client.call_server_stream("Split", json!({})).await.unwrap();
    until_idle().await;
    let ahead = sent.load(Ordering::Relaxed);
    assert!(
        (1..=AHEAD).contains(&ahead),
        "{ahead} messages were sent ahead"
    );

    let mut read = 0;
    while replies.message().await.unwrap().is_some() {
        read += 1;
    }
    assert_eq!(read, 50);
}

#[tokio::test]
async fn a_stream_is_driven_from_both_ends() {
    for transport in Transport::ALL {
        let server = transport.start_echo().await;
        let (reply, mut streams) = Reply::channel();
        server.mount(
            Stub::method("Chat").reply(reply.metadata("x-room", "7").trailer("x-left", "yes")),
        );
        let client = server.client().await;

        let (say, said) = mpsc::channel(1);
        // The answer begins before the first message: a client may wait for it.
        let chat = client.call_bidi_stream("Chat", ReceiverStream::new(said));
        let mut replies = within(chat.into_future()).await.unwrap();
        assert_eq!(replies.metadata().get("x-room").unwrap(), "7");
        let mut held = within(streams.accept()).await;

        held.send(json!({"message": "welcome"})).await.unwrap();
        assert_eq!(
            within(replies.message()).await.unwrap().unwrap()["message"],
            "welcome"
        );
        say.send(json!({"message": "hello"})).await.unwrap();
        assert_eq!(
            within(held.recv()).await.unwrap().unwrap()["message"],
            "hello"
        );
        held.send(json!({"message": "a"})).await.unwrap();
        held.send(json!({"message": "b"})).await.unwrap();
        drop(say);
        assert_eq!(within(held.recv()).await.unwrap(), None);
        let call = held.call().clone();
        held.finish();
        assert_eq!(
            within(replies.message()).await.unwrap().unwrap()["message"],
            "a"
        );
        assert_eq!(
            within(replies.message()).await.unwrap().unwrap()["message"],
            "b"
        );
        assert_eq!(within(replies.message()).await.unwrap(), None);
        assert_eq!(
            within(replies.trailers())
                .await
                .unwrap()
                .get("x-left")
                .unwrap(),
            "yes"
        );

        assert_eq!(call, ("Chat", json!([{"message": "hello"}])));
        assert_eq!(call.outcome(), Some(Outcome::Ok));
        assert_eq!(call.replies().len(), 3);
    }
}

#[tokio::test]
async fn how_a_held_stream_ends_is_what_the_client_sees() {
    let server = MockServer::memory().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::any().reply(reply));
    let client = server.client().await;

    let mut replies = client.call_server_stream("Watch", json!({})).await.unwrap();
    within(streams.accept())
        .await
        .fail(Status::aborted("shut down"));
    let error = within(replies.message()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.status().unwrap().message()),
        (Some(Code::Aborted), "shut down")
    );

    let mut replies = client.call_server_stream("Watch", json!({})).await.unwrap();
    drop(within(streams.accept()).await);
    let error = within(replies.message()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Cancelled));
    assert_eq!(
        error.status().unwrap().message(),
        "the mock's CallStream was dropped before `finish` or `fail`"
    );

    drop(streams);
    let error = within(client.call("Watch", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Internal));
    assert_eq!(
        error.status().unwrap().message(),
        "the stub replies by a channel, and its CallStreams was dropped"
    );
}

#[tokio::test]
async fn a_closure_that_holds_the_stream_ends_it_by_what_it_returns() {
    let server = MockServer::builder()
        .memory()
        .verify_on_drop(false)
        .start()
        .await;
    server.mount(
        Stub::method("Fail").reply(|mut stream: CallStream| async move {
            stream.send(json!({"n": 1})).await?;
            Err(Status::data_loss("lost the rest"))
        }),
    );
    server.mount(
        Stub::method("Panic").reply(|mut stream: CallStream| async move {
            stream.send(json!({"n": 1})).await?;
            panic!("a bug in the test")
        }),
    );
    let client = server.client().await;
    let cases = [
        ("Fail", Code::DataLoss, "lost the rest"),
        (
            "Panic",
            Code::Internal,
            "the stub's reply panicked: a bug in the test",
        ),
    ];
    for (method, code, message) in cases {
        let mut replies = client.call_server_stream(method, json!({})).await.unwrap();
        assert_eq!(
            within(replies.message()).await.unwrap(),
            Some(json!({"n": 1})),
            "{method}"
        );
        let error = within(replies.message()).await.unwrap_err();
        assert_eq!(
            (error.code(), error.status().unwrap().message()),
            (Some(code), message)
        );
    }
}

#[tokio::test]
async fn dropping_a_call_resets_its_stream() {
    for transport in Transport::ALL {
        let server = transport.start_echo().await;
        let (reply, mut streams) = Reply::channel();
        server.mount(Stub::any().reply(reply));
        let client = server.client().await;

        // While it waits for the reply.
        let calling = tokio::spawn(client.call("Echo/Say", json!({})).into_future());
        let held = within(streams.accept()).await;
        calling.abort();
        assert_eq!(
            within(held.call().ended()).await,
            Outcome::Cancelled,
            "{transport:?}"
        );

        // While replies stream.
        let replies = client.call_server_stream("Split", json!({})).await.unwrap();
        let mut held = within(streams.accept()).await;
        assert!(within(held.recv()).await.unwrap().is_some());
        drop(replies);
        assert_eq!(
            within(held.call().ended()).await,
            Outcome::Cancelled,
            "{transport:?}"
        );
        assert!(held.send(json!({})).await.is_err());

        // While requests stream.
        let (say, said) = mpsc::channel(1);
        let replies = client
            .call_bidi_stream("Chat", ReceiverStream::new(said))
            .await
            .unwrap();
        let mut held = within(streams.accept()).await;
        say.send(json!({"message": "hello"})).await.unwrap();
        assert!(within(held.recv()).await.unwrap().is_some());
        drop(replies);
        let error = within(held.recv()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the call of Chat was cut: cancelled by the client"
        );
        // The client's own stream of requests is let go of.
        within(say.closed()).await;
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_paced_and_breaks_off_after_n_messages() {
    let server = MockServer::memory().await;
    let pace = Duration::from_secs(2);
    let reply = Reply::stream([json!({"n": 1}), json!({"n": 2}), json!({"n": 3})])
        .delay(Duration::from_secs(5))
        .message_delay(pace)
        .end_with(Status::unavailable("gone"));
    server.mount(Stub::any().reply(reply));
    let started = Instant::now();
    let mut replies = server
        .client()
        .await
        .call_server_stream("Watch", json!({}))
        .await
        .unwrap();
    for n in 1..=3 {
        assert_eq!(replies.message().await.unwrap(), Some(json!({"n": n})));
    }
    assert_eq!(
        replies.message().await.unwrap_err().code(),
        Some(Code::Unavailable)
    );

    let call = &server.calls()[0];
    let at: Vec<_> = call
        .replies()
        .iter()
        .map(|reply| (reply.at() - started).as_secs())
        .collect();
    assert_eq!(at, [7, 9, 11]);
    assert_eq!(call.outcome(), Some(Outcome::Status(Code::Unavailable)));
}

#[tokio::test]
async fn a_bidi_reply_that_is_known_begins_before_the_first_message_and_records_what_comes() {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::method("Chat").reply(Reply::stream([json!({"message": "news"})])));
    let client = server.client().await;
    let (say, said) = mpsc::channel(1);
    let mut replies = within(
        client
            .call_bidi_stream("Chat", ReceiverStream::new(said))
            .into_future(),
    )
    .await
    .unwrap();
    assert_eq!(
        within(replies.message()).await.unwrap().unwrap()["message"],
        "news"
    );
    assert_eq!(within(replies.message()).await.unwrap(), None);
    drop(say);
}

#[tokio::test]
async fn a_bidi_stub_with_a_condition_is_chosen_by_the_first_message() {
    let server = Transport::Memory.start_echo().await;
    let condition = json!([{"message": "left"}]);
    server.mount(Stub::method("Chat").reply(Reply::stream([json!({"message": "otherwise"})])));
    server.mount(
        Stub::method("Chat")
            .when(condition)
            .reply(|mut stream: CallStream| async move {
                while let Some(message) = stream.recv().await? {
                    stream
                        .send(json!({"message": message["message"], "count": 1}))
                        .await?;
                }
                Ok(())
            }),
    );
    let client = server.client().await;
    let words =
        |words: [&'static str; 2]| tokio_stream::iter(words).map(|word| json!({"message": word}));
    let chat = |words| async {
        client
            .call_bidi_stream("Chat", words)
            .await
            .expect("an answer")
    };

    let left: Vec<_> = within(chat(words(["left", "then"])).await.collect::<Vec<_>>()).await;
    let left: Vec<_> = left
        .into_iter()
        .map(|reply| reply.unwrap()["message"].clone())
        .collect();
    assert_eq!(left, ["left", "then"]);
    let right: Vec<_> = within(chat(words(["right", "then"])).await.collect::<Vec<_>>()).await;
    assert_eq!(right[0].as_ref().unwrap()["message"], "otherwise");
}

/// What waited to be received is received, and then the end is told for what it was.
#[tokio::test]
async fn a_cut_call_is_not_taken_for_a_finished_one() {
    let server = Transport::Memory.start_echo().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Chat").reply(reply.clone()));
    server.mount(Stub::method("Split").reply(reply));
    let client = server.client().await;

    let (say, said) = mpsc::channel(1);
    let replies = client
        .call_bidi_stream("Chat", ReceiverStream::new(said))
        .await
        .unwrap();
    let mut held = within(streams.accept()).await;
    say.send(json!({"message": "one"})).await.unwrap();
    within(async {
        while held.call().requests().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(replies);
    within(held.call().ended()).await;
    assert_eq!(
        within(held.recv()).await.unwrap().unwrap()["message"],
        "one"
    );
    let error = within(held.recv()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the call of Chat was cut: cancelled by the client"
    );

    // All was sent before it was cut: that is told too.
    let replies = client.call_server_stream("Split", json!({})).await.unwrap();
    let mut held = within(streams.accept()).await;
    assert!(within(held.recv()).await.unwrap().is_some());
    assert_eq!(within(held.recv()).await.unwrap(), None);
    drop(replies);
    within(held.call().ended()).await;
    assert!(within(held.recv()).await.is_err());
}

#[tokio::test]
async fn streams_that_nobody_reads_starve_no_other_call() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(
        Stub::method("Split").reply(|mut stream: CallStream| async move {
            let blob = vec![0; MEGABYTE];
            loop {
                stream
                    .send_message(&echo::EchoReply {
                        blob: blob.clone(),
                        ..Default::default()
                    })
                    .await?;
            }
        }),
    );
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Join").reply(reply));
    server.mount(Stub::method("Squawk").reply(json!({})));
    let client = server.client().await;
    let mut unread = Vec::new();
    let mut held = Vec::new();
    for _ in 0..24 {
        unread.push(client.call_server_stream("Split", json!({})).await.unwrap());
        let big = || EchoRequest {
            blob: vec![0; MEGABYTE],
            ..EchoRequest::default()
        };
        let upload = client.client_stream::<_, echo::EchoReply>(
            "/echo.v1.Echo/Join",
            tokio_stream::iter(0..9).map(move |_| big()),
        );
        tokio::spawn(upload.into_future());
        held.push(within(streams.accept()).await);
    }
    for _ in 0..20 {
        within(client.call("Squawk", json!({})).into_future())
            .await
            .unwrap();
    }
}

/// `h2` alone hangs up on a client that does this.
#[tokio::test]
async fn many_cancelled_calls_cost_no_other_call_its_connection() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::any().reply(Reply::json(json!({}))));
    let client = server.client().await;
    for _ in 0..5 {
        let calls: Vec<_> = (0..200)
            .map(|_| tokio::spawn(client.call("Squawk", json!({})).into_future()))
            .collect();
        tokio::task::yield_now().await;
        calls.iter().for_each(|call| call.abort());
        within(client.call("Echo/Say", json!({})).into_future())
            .await
            .unwrap();
    }
    assert!(server.calls().iter().all(|call| call.connection_id() == 1));
}

/// A real server answers at once, and a client may wait for that before it sends.
#[tokio::test]
async fn a_stream_that_no_stub_is_for_is_refused_before_its_first_message() {
    for server in [
        MockServer::builder()
            .schema(echo_schema())
            .allow_unmatched()
            .start()
            .await,
        MockServer::builder().allow_unmatched().start().await,
    ] {
        let client = rpcplugin_testkit::Client::connect(server.address())
            .await
            .unwrap();
        let (_say, said) = mpsc::channel::<EchoRequest>(1);
        let chat = client
            .bidi_stream::<_, echo::EchoReply>("/echo.v1.Echo/Chat", ReceiverStream::new(said));
        let error = within(chat.into_future()).await.unwrap_err();
        assert!(
            matches!(
                error.code(),
                Some(Code::FailedPrecondition | Code::Unimplemented)
            ),
            "{error:?}"
        );
        let endless = tokio_stream::iter(std::iter::repeat(EchoRequest::default()));
        let join = client.client_stream::<_, echo::EchoReply>("/echo.v1.Echo/Join", endless);
        within(join.into_future()).await.unwrap_err();
        let methods: Vec<_> = server
            .calls()
            .iter()
            .map(|call| call.method().to_owned())
            .collect();
        assert_eq!(methods, ["Chat", "Join"]);
    }
}

#[tokio::test]
async fn a_client_stream_may_be_refused_before_its_end() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(
        Stub::method("Join")
            .reply(|_: CallStream| async { Err(Status::resource_exhausted("enough")) }),
    );
    let client = server.client().await;
    let (_say, said) = mpsc::channel::<EchoRequest>(1);
    let join =
        client.client_stream::<_, echo::EchoReply>("/echo.v1.Echo/Join", ReceiverStream::new(said));
    assert_eq!(
        within(join.into_future()).await.unwrap_err().code(),
        Some(Code::ResourceExhausted)
    );
}

#[tokio::test]
async fn a_stream_of_requests_that_panics_fails_the_call_with_its_text() {
    let server = Transport::Tcp.start_echo().await;
    let (reply, mut streams) = Reply::channel();
    server.mount(Stub::method("Join").reply(reply));
    let client = server.client().await;
    let (say, said) = mpsc::channel::<EchoRequest>(1);
    let requests = ReceiverStream::new(said).map(|request| {
        assert!(request.message != "bad", "a bug in the client's stream");
        request
    });
    let join = client.client_stream::<_, echo::EchoReply>("/echo.v1.Echo/Join", requests);
    let calling = tokio::spawn(join.into_future());
    let held = within(streams.accept()).await;
    say.send(EchoRequest {
        message: "bad".to_owned(),
        ..EchoRequest::default()
    })
    .await
    .unwrap();
    let error = within(calling).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(Code::Internal));
    assert_eq!(
        error.status().unwrap().message(),
        "the stream of requests panicked: a bug in the client's stream"
    );
    assert_eq!(within(held.call().ended()).await, Outcome::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_delay_of_for_ever_is_one() {
    let server = MockServer::memory().await;
    server.mount(Stub::any().reply(Reply::json(json!({})).delay(Duration::MAX)));
    let client = server.client().await;
    assert!(
        client
            .call("Never", json!({}))
            .await
            .unwrap_err()
            .is_timeout()
    );
}
