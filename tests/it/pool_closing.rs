//! Closing a pool: who waits, who has a lease, and who comes later.

use crate::faults_probe::{alone, until};
use crate::pool_probe::{Caller, acquired, answering, connection_of, memory, pooling};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Error, Fault, MockServer, Reply, Stub, json};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const SECOND: Duration = Duration::from_secs(1);

fn assert_closed(error: &Error, server: &MockServer) {
    assert!(error.is_closed(), "{error:?}");
    let expected = format!("the pool of {} is closed", server.address());
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn closing_is_terminal_and_closes_every_connection() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        answering(&server);
        let pool = within(pooling(&server).size(3).connect()).await.unwrap();
        drop(acquired(&pool).await);
        within(pool.close()).await;
        within(alone(&server)).await;
        assert_closed(&pool.acquire().await.unwrap_err(), &server);
        assert_closed(&pool.clone().acquire().await.unwrap_err(), &server);
        within(pool.close()).await;
        within(async { tokio::join!(pool.close(), pool.drain(SECOND)) }).await;
        let stats = pool.stats();
        assert_eq!((stats.size, stats.closed.closed, stats.created), (0, 3, 3));
        assert_eq!(server.connections(), 0);

        // One that was never connected, and whose server is away.
        within(server.kill().into_future()).await;
        let pool = pooling(&server).connect_lazy().unwrap();
        within(pool.close()).await;
        assert_closed(&pool.acquire().await.unwrap_err(), &server);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_at_once_and_leases_that_are_out_may_finish() {
    let server = memory().await;
    let (reply, gate) = Reply::gate(json!({"value": 1}));
    server.mount(Stub::method("Held").reply(reply));
    let pool = pooling(&server)
        .size(2)
        .exclusive()
        .connect()
        .await
        .unwrap();
    let (one, two) = (acquired(&pool).await, acquired(&pool).await);
    let waiting = [Caller::waiting(&pool).await, Caller::waiting(&pool).await];
    let started = Instant::now();
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    for caller in waiting {
        assert_closed(&caller.served().await.unwrap_err(), &server);
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_closed(&pool.acquire().await.unwrap_err(), &server);

    // A lease is good for calls until it is back.
    let first = connection_of(&server, &one).await;
    assert_eq!(server.connections(), 2);
    drop(one);
    until(|| server.connections() == 1).await;
    assert_ne!(connection_of(&server, &two).await, first);
    let held = tokio::spawn(async move { two.call("Held", json!({})).await });
    within(gate.arrived(1)).await;
    sleep_until(started + 9 * SECOND).await;
    assert!(!closing.is_finished());
    gate.open();
    assert_eq!(within(held).await.unwrap().unwrap(), json!({"value": 1}));
    within(closing).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 9);
    assert_eq!((server.connections(), pool.stats().closed.closed), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_finish_in_time_is_cut() {
    let server = memory().await;
    let (reply, gate) = Reply::gate(json!({}));
    server.mount(Stub::method("Held").reply(reply).times(0..));
    for (nth, (own, expected)) in [(None, 10), (Some(3 * SECOND), 3), (Some(Duration::ZERO), 0)]
        .into_iter()
        .enumerate()
    {
        let pool = pooling(&server)
            .size(2)
            .exclusive()
            .connect()
            .await
            .unwrap();
        let (idle, calling) = (acquired(&pool).await, acquired(&pool).await);
        let started = Instant::now();
        let held = tokio::spawn(async move {
            let reply = calling.call("Held", json!({})).await;
            (calling, reply)
        });
        within(gate.arrived(nth + 1)).await;
        match own {
            None => pool.close().await,
            Some(limit) => pool.drain(limit).await,
        }
        assert_eq!(started.elapsed().as_secs(), expected);
        let (calling, reply) = within(held).await.unwrap();
        assert_eq!(
            reply.unwrap_err().code(),
            Some(rpcplugin_testkit::Code::Unavailable)
        );
        within(alone(&server)).await;
        for lease in [&idle, &calling] {
            let late = lease.call("Get", json!({})).await.unwrap_err();
            assert!(late.is_closed(), "{late:?}");
        }
        drop((idle, calling));
        let stats = pool.stats();
        assert_eq!((stats.size, stats.leases, stats.closed.closed), (0, 0, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_drains_with_the_shortest_time_cuts_for_all() {
    let server = memory().await;
    let pool = pooling(&server).connect().await.unwrap();
    let _lease = acquired(&pool).await;
    let started = Instant::now();
    let long = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(Duration::MAX).await }
    });
    pool.drain(2 * SECOND).await;
    within(long).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn closing_that_is_cancelled_leaves_the_pool_closed() {
    let server = memory().await;
    let pool = pooling(&server)
        .size(2)
        .exclusive()
        .connect()
        .await
        .unwrap();
    let lease = acquired(&pool).await;
    let cancelled = tokio::time::timeout(SECOND, pool.close()).await;
    assert!(cancelled.is_err());
    assert_closed(&pool.acquire().await.unwrap_err(), &server);
    sleep_until(Instant::now() + 100 * SECOND).await;
    connection_of(&server, &lease).await;
    drop(lease);
    within(alone(&server)).await;
    within(pool.close()).await;
}

#[tokio::test]
async fn a_dial_that_is_under_way_is_given_up() {
    let server = memory().await;
    let silence = server.inject(Fault::silence());
    let pool = pooling(&server).connect_lazy().unwrap();
    let waiting = Caller::waiting(&pool).await;
    within(silence.hit()).await;
    within(pool.close()).await;
    assert_closed(&waiting.served().await.unwrap_err(), &server);
    let stats = pool.stats();
    assert_eq!((stats.size, stats.dialling, stats.created), (0, 0, 0));
    // A server that reads nothing does not see who has gone.
    silence.remove();
    within(alone(&server)).await;
}

#[tokio::test]
async fn a_lease_on_a_lost_connection_does_not_keep_a_closed_pool_open() {
    let server = memory().await;
    let pool = pooling(&server).connect().await.unwrap();
    let lease = acquired(&pool).await;
    within(server.kill().into_future()).await;
    until(|| pool.stats().closed.lost == 1).await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    until(|| pool.stats().dialling == 0).await;
    drop(lease);
    within(closing).await.unwrap();
    assert_eq!(pool.stats().closed.total(), pool.stats().created);
}
