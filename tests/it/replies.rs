//! Replies that wait, that never come, and that are empty.

use crate::support::{Transport, echo, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Client, Code, Delay, Error, MockServer, Outcome, Reply, Stub, Value, json,
};
use std::time::Duration;
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

async fn get(client: Client) -> Result<Value, Error> {
    client.call("Get", json!({})).await
}

#[tokio::test]
async fn a_gate_holds_calls_until_it_lets_them_go_in_order() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let (reply, gate) = Reply::gate(json!({"ok": true}));
        server.mount(Stub::method("Get").reply(reply));
        server.mount(Stub::method("Free").reply(json!({})));
        let client = server.client().await;
        let first = tokio::spawn(get(client.clone()));
        within(gate.arrived(1)).await;
        let second = tokio::spawn(get(client.clone()));
        within(gate.arrived(2)).await;
        assert_eq!(gate.held(), 2);
        // Others pass meanwhile.
        within(client.call("Free", json!({})).into_future())
            .await
            .unwrap();

        gate.release(1);
        within(first).await.unwrap().unwrap();
        assert_eq!(
            (gate.held(), server.journal().in_flight().len()),
            (1, 1),
            "{transport:?}"
        );
        assert!(!second.is_finished());
        gate.release(2);
        within(second).await.unwrap().unwrap();
        // The pass that was left over.
        within(get(client.clone())).await.unwrap();
        assert_eq!(gate.held(), 0);

        let third = tokio::spawn(get(client.clone()));
        within(gate.arrived(4)).await;
        drop(gate);
        within(third).await.unwrap().unwrap();
        within(get(client)).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_gives_up_at_a_gate_leaves_it() {
    let server = MockServer::start().await;
    let (reply, gate) = Reply::gate(json!({}));
    server.mount(Stub::method("Get").reply(reply));
    let client = server.client().await;
    let call = tokio::spawn(get(client.clone()));
    within(gate.arrived(1)).await;
    call.abort();
    within(server.wait_until(|journal| journal.ended(Outcome::Cancelled).len() == 1)).await;
    assert_eq!(gate.held(), 0);
    gate.release(1);
    within(get(client)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_never_comes_leaves_the_client_to_its_deadline() {
    let server = MockServer::memory().await;
    server.mount(Stub::method("Get").reply(Reply::never()));
    let client = server.client().await;
    let started = Instant::now();
    let call = client.call("Get", json!({})).timeout(500 * MS);
    let error = call.await.unwrap_err();
    assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    assert_eq!(started.elapsed(), 500 * MS);
    assert_eq!(
        within(server.calls()[0].ended()).await,
        Outcome::DeadlineExceeded
    );
}

/// How long each of the first calls of a stub takes, on a paused clock.
async fn delays(seed: u64, delay: Delay) -> Vec<Duration> {
    let server = MockServer::builder().memory().seed(seed).start().await;
    server.mount(Stub::method("Get").reply(Reply::json(json!({})).delay(delay)));
    let client = server.client().await;
    let mut delays = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        get(client.clone()).await.expect("an answer");
        delays.push(started.elapsed());
    }
    delays
}

#[tokio::test(start_paused = true)]
async fn delays_are_fixed_by_attempt_or_by_the_seed() {
    assert_eq!(delays(1, (7 * MS).into()).await, [7 * MS; 5]);
    let attempts = Delay::per_attempt([30 * MS, 20 * MS, 10 * MS]);
    assert_eq!(
        delays(1, attempts).await,
        [30, 20, 10, 10, 10].map(|n| n * MS)
    );
    for random in [
        Delay::uniform(10 * MS..=900 * MS),
        Delay::log_normal(100 * MS, 1.0),
    ] {
        let drawn = delays(1, random.clone()).await;
        assert_eq!(drawn, delays(1, random.clone()).await);
        assert_ne!(drawn, delays(2, random).await);
        assert!(drawn.windows(2).all(|pair| pair[0] != pair[1]), "{drawn:?}");
    }
}

/// Whatever failed, the test can be run again with the same delays.
#[tokio::test(start_paused = true)]
async fn a_report_tells_the_seed_when_something_was_drawn_from_it() {
    let builder = MockServer::builder()
        .memory()
        .seed(42)
        .verify_on_drop(false);
    let server = builder.start().await;
    server.mount(
        Stub::method("Get")
            .reply(Reply::json(json!({})).delay(MS))
            .times(3),
    );
    let client = server.client().await;
    get(client.clone()).await.unwrap();
    assert!(
        !server
            .verify()
            .await
            .unwrap_err()
            .to_string()
            .contains("seed")
    );
    let random = Reply::json(json!({})).delay(Delay::uniform(MS..=2 * MS));
    server.mount(Stub::method("Get").reply(random));
    get(client).await.unwrap();
    let report = server.verify().await.unwrap_err().to_string();
    let told = "\ndelays and faults were drawn from a seed: RPCPLUGIN_TESTKIT_SEED=42 repeats them";
    assert!(report.ends_with(told), "{report}");
}

#[tokio::test(start_paused = true)]
async fn every_message_of_a_stream_waits_for_its_own_delay() {
    let server = MockServer::builder().memory().seed(3).start().await;
    let reply = Reply::stream([json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]);
    server
        .mount(Stub::method("Watch").reply(reply.message_delay(Delay::uniform(5 * MS..=50 * MS))));
    let client = server.client().await;
    let mut replies = client.call_server_stream("Watch", json!({})).await.unwrap();
    let mut gaps = Vec::new();
    loop {
        let started = Instant::now();
        if replies.message().await.unwrap().is_none() {
            break;
        }
        gaps.push(started.elapsed());
    }
    assert_eq!(gaps.len(), 3);
    assert!(
        gaps.iter().all(|gap| (5 * MS..=51 * MS).contains(gap)),
        "{gaps:?}"
    );
    assert!(gaps[0] != gaps[1] || gaps[1] != gaps[2], "{gaps:?}");
}

#[tokio::test]
async fn a_default_reply_fits_every_type_with_a_schema_or_without() {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::method("Squawk").reply(Reply::default()));
    let squawked = server
        .client()
        .await
        .call("Squawk", json!({}))
        .await
        .unwrap();
    assert_eq!(squawked, json!({"message": "", "count": 0, "blob": ""}));

    let server = MockServer::memory().await;
    server.mount(Stub::method("Squawk"));
    let client = Client::connect(server.address()).await.unwrap();
    let reply: echo::EchoReply = client
        .unary("/echo.v1.Parrot/Squawk", echo::EchoRequest::default())
        .await
        .unwrap();
    assert_eq!(reply, echo::EchoReply::default());
    assert_eq!(
        server
            .client()
            .await
            .call("Squawk", json!({}))
            .await
            .unwrap(),
        json!({})
    );
}

#[test]
#[should_panic(expected = "only a reply of messages has a message delay")]
fn a_channel_has_no_message_delay() {
    drop(Reply::channel().0.message_delay(MS));
}

#[test]
#[should_panic(
    expected = "a reply by a stream ends with `CallStream::fail`, and `never` not at all"
)]
fn never_has_no_end() {
    drop(Reply::never().end_with(rpcplugin_testkit::Status::aborted("")));
}

/// What comes before the stream is in the test's hands is not lost, whatever becomes of the journal.
#[tokio::test]
async fn messages_that_come_while_a_reply_waits_are_there_for_its_reader() {
    for limit in [256 << 20, 100] {
        let builder = MockServer::builder().memory().journal_limit(limit);
        let server = builder.start().await;
        let (reply, mut streams) = Reply::channel();
        let (reply, gate) = Reply::gate(reply);
        server.mount(Stub::method("Chat").reply(reply));
        let client = server.client().await;
        let (say, said) = tokio::sync::mpsc::channel(1);
        let said = tokio_stream::wrappers::ReceiverStream::new(said);
        let mut replies = Box::pin(client.call_bidi_stream("Chat", said).into_future());
        let talk = async {
            gate.arrived(1).await;
            server.reset();
            for n in 0..3 {
                say.send(json!({"n": n})).await.expect("it is read");
            }
            gate.open();
            let mut held = streams.accept().await;
            for n in 0..3 {
                assert_eq!(
                    held.recv().await.expect("a message").expect("one"),
                    json!({"n": n})
                );
            }
            held.send(json!({"ok": true})).await.expect("sent");
            let call = held.call().clone();
            held.finish();
            call
        };
        let (opened, call) = within(async { tokio::join!(&mut replies, talk) }).await;
        assert_eq!(
            opened.unwrap().message().await.unwrap(),
            Some(json!({"ok": true}))
        );
        assert_eq!(within(call.ended()).await, Outcome::Ok);
        // The handle went on recording, though the journal was reset; not so where there was no room for the call.
        let recorded = if limit == 100 { (0, 0) } else { (3, 1) };
        assert_eq!((call.requests().len(), call.replies().len()), recorded);
    }
}

#[tokio::test]
async fn one_reply_in_json_is_encoded_as_each_method_replies() {
    const KV: &[u8] = include_bytes!("../../proto/generated/kv.bin");
    let builder = MockServer::builder().descriptor_set(KV).memory();
    let server = within(builder.start()).await;
    server.mount(Stub::any().reply(json!({"value": "aGk="})));
    let client = within(server.client()).await;
    // As it was encoded for one method it does not go out for another.
    for _ in 0..2 {
        let get = client.call("proto.KV/Get", json!({"key": "a"}));
        assert_eq!(
            within(get.into_future()).await.unwrap(),
            json!({"value": "aGk="})
        );
        let put = client.call("proto.KV/Put", json!({"key": "a"}));
        let refused = within(put.into_future()).await.unwrap_err();
        assert_eq!(
            refused.status().unwrap().message(),
            "the JSON does not fit proto.Empty: unrecognized field name 'value'"
        );
    }
}

#[tokio::test]
async fn a_reply_in_json_to_schemaless_calls_is_not_for_a_method_without_a_schema() {
    let server = within(MockServer::memory()).await;
    server.mount(Stub::any().reply(json!({"value": 1})));
    let client = within(server.client()).await;
    for _ in 0..2 {
        let known = client.call("Get", json!({}));
        assert_eq!(
            within(known.into_future()).await.unwrap(),
            json!({"value": 1})
        );
        let unknown = client.unary::<(), ()>("/echo.v1.Parrot/Say", ());
        let refused = within(unknown.into_future()).await.unwrap_err();
        assert_eq!(
            refused.status().unwrap().message(),
            "the reply to /echo.v1.Parrot/Say is JSON, and the mock has no schema for that method: give \
             `MockServer::builder()` its `.descriptor_set(..)`, or reply with `Reply::message(..)`"
        );
    }
}
