//! Pings: who is asked, when, and what comes of no answer. The clock passes when everybody waits.

use crate::support::{Transport, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClientBuilder, ClientEvent, Events, Keepalive};
use rpcplugin_testkit::mock::GoAway;
use rpcplugin_testkit::{
    Client, Code, Fault, MockServer, Outcome, Reason, Reply, Strategy, Stub, json,
};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

/// A ping every minute, which may take ten seconds.
fn minutely() -> Keepalive {
    Keepalive::every(60 * SECOND).timeout(10 * SECOND)
}

fn builder(server: &MockServer) -> ClientBuilder {
    Client::builder()
        .address(server.address())
        .schema(echo_schema())
        .no_timeout()
}

/// A server whose calls of `Say` last, and those of `Split` do not.
async fn start() -> MockServer {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::method("Echo/Say").reply(Reply::never()).times(0..));
    server.mount(Stub::method("Squawk").reply(json!({})).times(0..));
    server
}

/// Why the connection is lost, and after how many seconds from now.
async fn lost(events: &mut Events) -> (u64, String) {
    let began = Instant::now();
    let lost = events.wait_for(|event| matches!(event, ClientEvent::Lost { .. }));
    // Longer than any interval of these tests.
    let lost = tokio::time::timeout(100_000 * SECOND, lost).await;
    let Ok(Some(ClientEvent::Lost { why, .. })) = lost else {
        panic!("{lost:?}");
    };
    (began.elapsed().as_secs(), why)
}

#[tokio::test(start_paused = true)]
async fn nobody_is_pinged_unless_that_is_asked_for() {
    // Whether calls are in flight, what the client is told, and whether the missing answer is noticed.
    let table = [
        (true, None, false),
        (false, None, false),
        (true, Some(minutely()), true),
        (false, Some(minutely()), false),
        (true, Some(minutely().without_calls()), true),
        (false, Some(minutely().without_calls()), true),
    ];
    for (calls, keepalive, noticed) in table {
        let server = start().await;
        server.inject(Fault::unanswered_pings());
        let client = within(builder(&server).keepalive(keepalive).connect())
            .await
            .unwrap();
        let mut events = client.events();
        let call = tokio::spawn(client.call("Echo/Say", json!({})).into_future());
        within(server.wait_for_calls(1)).await;
        if !calls {
            call.abort();
            within(server.calls()[0].ended()).await;
        }
        let case = format!("calls: {calls}, {keepalive:?}");
        if noticed {
            let why = "no answer to a keepalive ping within 10s".to_owned();
            assert_eq!(lost(&mut events).await, (70, why), "{case}");
        } else {
            sleep_until(Instant::now() + 7 * 24 * 3600 * SECOND).await;
            assert_eq!(client.stats().endpoints[0].counts.lost, 0, "{case}");
            assert_eq!(server.connections(), 1, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_is_pinged_as_long_as_it_does() {
    let server = start().await;
    let keepalive = minutely().without_calls();
    let client = within(builder(&server).keepalive(keepalive).connect())
        .await
        .unwrap();
    let mut events = client.events();
    sleep_until(Instant::now() + 3600 * SECOND).await;
    assert_eq!(client.stats().endpoints[0].counts.lost, 0);
    // The last was answered at the hour.
    server.inject(Fault::unanswered_pings());
    let (after, _) = lost(&mut events).await;
    assert!((10..=70).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_call_on_a_server_that_stalls_goes_to_another_if_it_may_and_fails_otherwise() {
    for idempotent in [true, false] {
        let cluster = Transport::Memory.builder().schema(echo_schema());
        let cluster = cluster.start_cluster(2).await;
        cluster[1].mount(Stub::any().reply(json!({"message": "second"})));
        let (held, gate) = Reply::gate(json!({}));
        cluster[0].mount(Stub::any().reply(held));
        let client = Client::builder()
            .endpoints(cluster.addresses())
            .strategy(Strategy::First)
            .schema(echo_schema())
            .no_timeout()
            .keepalive(minutely());
        let client = within(client.connect()).await.unwrap();
        let mut events = client.events();
        let call = client.call("Echo/Say", json!({}));
        let call = if idempotent { call.idempotent() } else { call };
        let began = Instant::now();
        let call = tokio::spawn(call.into_future());
        within(gate.arrived(1)).await;
        cluster[0].pause();
        let answered = call.await.unwrap();
        let after = began.elapsed().as_secs();
        let lost = events.wait_for(|event| matches!(event, ClientEvent::Lost { .. }));
        let Some(ClientEvent::Lost { address, .. }) = within(lost).await else {
            panic!("no connection is lost");
        };
        assert_eq!((&address, after), (cluster[0].address(), 70));
        if idempotent {
            assert_eq!(answered.unwrap()["message"], "second");
        } else {
            assert_eq!(answered.unwrap_err().code(), Some(Code::Unavailable));
            assert_eq!(cluster[1].calls().len(), 0);
        }
        // The next goes there without a wait.
        let began = Instant::now();
        let next = client.call("Echo/Say", json!({}));
        assert_eq!(
            within(next.into_future()).await.unwrap()["message"],
            "second"
        );
        assert_eq!(began.elapsed(), Duration::ZERO);
        cluster[0].resume();
        let call = cluster[0].calls()[0].clone();
        assert_eq!(within(call.ended()).await, Outcome::Dropped);
    }
}

/// How long a ping is away on the next connection, in seconds, after farewells of these kinds.
#[tokio::test(start_paused = true)]
async fn who_is_told_of_too_many_pings_pings_half_as_often() {
    let calm = || GoAway::new(Reason::ENHANCE_YOUR_CALM).debug_data("too_many_pings");
    let table = [
        (vec![], 60),
        (vec![GoAway::graceful()], 60),
        (vec![calm()], 120),
        (vec![calm(), GoAway::graceful(), calm()], 240),
        (vec![calm(), calm(), calm()], 480),
    ];
    for (farewells, interval) in table {
        let server = start().await;
        let quick = Backoff {
            initial: Duration::from_millis(1),
            max: Duration::from_millis(1),
            ..Backoff::default()
        };
        let client = builder(&server)
            .keepalive(minutely().without_calls())
            .backoff(quick);
        let client = within(client.connect()).await.unwrap();
        let case = format!("{farewells:?}");
        for farewell in farewells {
            let mut events = client.events();
            let squawk = client.call("Squawk", json!({}));
            within(squawk.into_future()).await.unwrap();
            let fault = server.inject(Fault::go_away(farewell).at_most(1));
            assert_eq!(lost(&mut events).await.0, 0, "{case}");
            fault.remove();
        }
        let mut events = client.events();
        let squawk = client.call("Squawk", json!({}));
        within(squawk.into_future()).await.unwrap();
        server.inject(Fault::unanswered_pings());
        let (after, why) = lost(&mut events).await;
        assert_eq!(why, "no answer to a keepalive ping within 10s", "{case}");
        assert_eq!(after, interval + 10, "{case}");
    }
}
