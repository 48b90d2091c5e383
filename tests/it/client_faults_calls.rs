//! More of `client_faults.rs`: the faults 15, 22 and 23, which are of calls.

use crate::client_probe::{answering_cluster, balanced, eventually, failures, get, passing, ready};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClientEvent, Ejection, EndpointCounts, RetryPolicy};
use rpcplugin_testkit::{Call, Client, Code, Fault, Outcome, Reply, Status, Stub, json};
use std::{collections::HashSet, time::Duration};

const MS: Duration = Duration::from_millis(1);

fn ejected(client: &Client) -> Vec<bool> {
    let endpoints = client.stats().endpoints;
    endpoints.iter().map(|one| one.is_ejected).collect()
}

/// What happened at all endpoints together.
fn total(client: &Client, of: fn(&EndpointCounts) -> u64) -> u64 {
    let endpoints = client.stats().endpoints;
    endpoints.iter().map(|one| of(&one.counts)).sum()
}

/// 15: every failure was repeated on all servers: payments, mistakes of the caller, calls that were cancelled.
#[tokio::test(start_paused = true)]
async fn only_what_may_be_repeated_is_repeated() {
    for code in failures() {
        for idempotent in [false, true] {
            let cluster = answering_cluster(3).await;
            let client = ready(balanced(&cluster)).await;
            cluster.inject(Fault::status(Status::new(code, "why")).method("ProcessPayment"));
            let call = client.call("ProcessPayment", json!({"amount": 1}));
            let call = if idempotent { call.idempotent() } else { call };
            let error = within(call.into_future()).await.unwrap_err();

            let case = format!("{code:?} {idempotent}: {error}");
            let repeated = idempotent && code == Code::Unavailable;
            let attempts = if repeated { 4 } else { 1 };
            let payments = cluster.calls_to("ProcessPayment").len();
            assert_eq!(payments, attempts, "{case}");
            assert_eq!(client.stats().retries, attempts as u64 - 1, "{case}");
            // It is the server's own, however often it was tried.
            let status = error
                .status()
                .map(|status| (status.code(), status.message()));
            assert_eq!(status, Some((code, "why")), "{case}");
        }
    }
}

/// 15: all callers began with the first server, and had "All servers failed" in place of what had happened.
#[tokio::test(start_paused = true)]
async fn a_call_that_failed_everywhere_tells_each_cause_and_calls_begin_at_any_server() {
    let cluster = answering_cluster(3).await;
    let retry = RetryPolicy::default();
    let backoff = Backoff {
        jitter: 0.0,
        ..retry.backoff
    };
    let client = ready(balanced(&cluster).retry(retry.backoff(backoff))).await;
    cluster.mount(
        Stub::method("Get")
            .reply(Reply::status(Code::Unavailable, "full"))
            .then(Reply::status(Code::Unavailable, "starting"))
            .then(Reply::status(Code::FailedPrecondition, "no such account"))
            .priority(1),
    );
    let call = client.call("Get", json!({})).idempotent();
    let error = within(call.into_future()).await.unwrap_err();
    let told = error.status().unwrap();
    assert_eq!(
        (told.code(), told.message()),
        (Code::FailedPrecondition, "no such account")
    );
    let calls = cluster.calls_to("Get");
    let at: Vec<_> = calls.iter().map(Call::server_address).collect();
    assert_eq!(at.iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(
        error.to_string(),
        format!(
            "/rpcplugin.v1.Plugin/Call failed after 3 attempts:\n  {} after 0.0ns: UNAVAILABLE: full\n  \
             {} after 100.0ms: UNAVAILABLE: starting\n  {} after 300.0ms: FAILED_PRECONDITION: no such account",
            at[0], at[1], at[2]
        )
    );

    let cluster = answering_cluster(3).await;
    let client = ready(balanced(&cluster).ejection(None)).await;
    cluster.inject(Fault::status(Status::unavailable("full")).method("Get"));
    for _ in 0..9 {
        let call = client.call("Get", json!({})).idempotent();
        within(call.into_future()).await.unwrap_err();
    }
    let calls = cluster.calls_to("Get");
    let first = calls.iter().filter(|call| {
        let before = call.metadata().get("grpc-previous-rpc-attempts");
        before.is_none()
    });
    let began: HashSet<_> = first.map(|call| call.server_address().clone()).collect();
    assert_eq!(began.len(), 3);
}

/// 15: cancelling was caught like a failure, and the call went on with the next server.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_is_not_repeated_and_leaves_nothing() {
    let cluster = answering_cluster(3).await;
    let client = ready(balanced(&cluster)).await;
    // The look-up of methods ends when it knows enough.
    let before = total(&client, |counts| counts.cancelled);
    let held = cluster.inject(Fault::hold().method("Get"));
    let calling = tokio::spawn(client.call("Get", json!({})).idempotent().into_future());
    within(held.hit()).await;
    calling.abort();
    let call = cluster.calls_to("Get").remove(0);
    assert_eq!(within(call.ended()).await, Outcome::Cancelled);
    within(calling).await.unwrap_err();
    held.remove();

    // Nor between two attempts.
    cluster.inject(Fault::status(Status::unavailable("full")).method("Get"));
    let calling = tokio::spawn(client.call("Get", json!({})).idempotent().into_future());
    eventually(|| client.stats().retries == 1).await;
    calling.abort();
    within(calling).await.unwrap_err();

    passing(60_000 * MS).await;
    assert_eq!(cluster.calls_to("Get").len(), 1 + 1);
    assert_eq!(total(&client, |counts| counts.cancelled) - before, 1);
    let endpoints = client.stats().endpoints;
    assert!(endpoints.iter().all(|one| one.in_flight == 0));
}

/// 22: only connecting could fail in the eyes of the breaker, which was one for all servers.
#[tokio::test(start_paused = true)]
async fn each_endpoint_is_ejected_for_its_own_failed_calls() {
    for code in failures() {
        let cluster = answering_cluster(3).await;
        let client = ready(balanced(&cluster)).await;
        cluster[1].inject(Fault::status(Status::new(code, "broken")).method("Get"));
        let mut failed = 0;
        for _ in 0..30 {
            failed += usize::from(get(&client).await.is_err());
        }
        let counts = matches!(
            code,
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Internal
                | Code::Unknown
                | Code::DataLoss
        );
        assert_eq!(ejected(&client), [false, counts, false], "{code:?}");
        assert_eq!(failed, if counts { 5 } else { 10 }, "{code:?}");
        assert_eq!(total(&client, |counts| counts.connected), 3);
    }
}

/// 22: as soon as the time was over, all callers went to the server at once.
#[tokio::test(start_paused = true)]
async fn one_of_sixty_four_callers_tries_an_endpoint_that_was_ejected() {
    let cluster = answering_cluster(3).await;
    let ejection = Ejection {
        jitter: 0.0,
        ..Ejection::default()
    };
    let client = ready(balanced(&cluster).ejection(ejection)).await;
    let mut events = client.events();
    let broken = cluster[0].inject(Fault::status(Status::internal("broken")).method("Get"));
    for _ in 0..15 {
        drop(get(&client).await);
    }
    assert_eq!(ejected(&client), [true, false, false]);
    broken.remove();
    passing(1001 * MS).await;

    let held = cluster[0].inject(Fault::hold().method("Get"));
    for round in 0..2 {
        let calls: Vec<_> = (0..64)
            .map(|_| tokio::spawn(client.call("Get", json!({})).into_future()))
            .collect();
        let open = if round == 0 { 1 } else { 0 };
        let ended = || calls.iter().filter(|call| call.is_finished()).count();
        eventually(|| ended() == 64 - open).await;
        eventually(|| held.held() == 1).await;
        assert_eq!(held.hits(), 1);
        assert_eq!(ejected(&client), [true, false, false]);
    }
    held.open();
    let back = events.wait_for(|event| matches!(event, ClientEvent::Reinstated(_)));
    within(back).await.unwrap();
    let before = cluster.counts();
    for _ in 0..30 {
        get(&client).await.unwrap();
    }
    let after = cluster.counts();
    let shares: Vec<_> = (0..3).map(|at| after[at] - before[at]).collect();
    assert_eq!(shares, [10, 10, 10]);
}

/// 22: the wait was 60 s by the wall clock, the same for all clients, which so came back together.
#[tokio::test(start_paused = true)]
async fn clients_leave_an_endpoint_alone_for_different_times() {
    let cluster = answering_cluster(2).await;
    cluster[0].inject(Fault::status(Status::internal("broken")).method("Get"));
    let mut penalties = HashSet::new();
    for seed in 0..8 {
        let client = ready(balanced(&cluster).seed(seed)).await;
        let mut events = client.events();
        for _ in 0..10 {
            drop(get(&client).await);
        }
        let ejected = events.wait_for(|event| matches!(event, ClientEvent::Ejected { .. }));
        let Some(ClientEvent::Ejected { penalty, .. }) = within(ejected).await else {
            panic!("seed {seed}: it was not ejected");
        };
        assert!((800 * MS..=1200 * MS).contains(&penalty), "seed {seed}");
        penalties.insert(penalty);
    }
    assert!(penalties.len() > 4, "{penalties:?}");
}

/// 23: every call dialled.
#[tokio::test]
async fn many_calls_share_one_connection_to_each_server() {
    for transport in Transport::ALL {
        let cluster = transport.builder().start_cluster(2).await;
        cluster.mount(Stub::any().reply(json!({})).times(0..));
        let client = ready(balanced(&cluster)).await;
        for _ in 0..50 {
            get(&client).await.unwrap();
        }
        let calls: Vec<_> = (0..64)
            .map(|_| tokio::spawn(client.call("Get", json!({})).into_future()))
            .collect();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        for server in &cluster {
            let calls = server.calls_to("Get");
            assert!(calls.iter().all(|call| call.connection_id() == 1));
            assert_eq!((calls.len(), server.connections()), (57, 1));
        }
        assert_eq!(total(&client, |counts| counts.connected), 2);
    }
}

/// 23: whoever was connected had succeeded, and failures were mixed into the numbers of successes.
#[tokio::test(start_paused = true)]
async fn successes_failures_and_calls_that_never_left_are_counted_apart() {
    let cluster = answering_cluster(2).await;
    let builder = balanced(&cluster).retry(RetryPolicy::none());
    let client = ready(builder.ejection(None)).await;
    let before = client.stats();
    cluster[0].inject(Fault::status(Status::not_found("no")).method("Get"));
    let held = cluster[1].inject(Fault::hold().method("Long"));
    for _ in 0..40 {
        drop(get(&client).await);
    }
    // One that succeeds elsewhere, and one that its caller gives up.
    let long = || tokio::spawn(client.call("Long", json!({})).into_future());
    let dropped = [long(), long()];
    within(held.hit()).await;
    eventually(|| dropped.iter().any(|call| call.is_finished())).await;
    for call in dropped {
        call.abort();
        drop(within(call).await);
    }
    let after = client.stats();
    let counts = |at: usize| {
        let [before, after] = [&before, &after].map(|stats| stats.endpoints[at].counts);
        (
            after.attempts - before.attempts,
            after.succeeded - before.succeeded,
            after.failed - before.failed,
            after.cancelled - before.cancelled,
            after.unsent - before.unsent,
        )
    };
    assert_eq!(
        (counts(0), counts(1)),
        ((21, 1, 20, 0, 0), (21, 20, 0, 1, 0))
    );
    assert_eq!(after.calls - before.calls, 42);
    assert_eq!((after.retries, after.transparent_retries), (0, 0));
}
