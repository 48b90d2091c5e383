//! The faults of the pool in pyvider's guide, one test for each: what its code did, and what ours does instead.

use crate::faults_probe::{alone, until};
use crate::pool_probe::{Caller, acquired, connection_of, memory, pooling};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::Lease;
use rpcplugin_testkit::{Error, Fault, MockServer, Pool, ServingStatus};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

async fn exclusive(server: &MockServer, size: usize, max: usize) -> Pool {
    let builder = pooling(server).size(size).max(max).exclusive();
    within(builder.connect()).await.expect("a pool")
}

/// 1: `acquire` slept inside the lock that `release` needs: a deadlock as soon as the pool was exhausted.
#[tokio::test]
async fn releasing_never_waits_for_somebody_who_acquires() {
    let server = memory().await;
    let pool = exclusive(&server, 2, 2).await;
    let (one, two) = (acquired(&pool).await, acquired(&pool).await);
    let waiting = Caller::waiting(&pool).await;
    drop(one);
    let three = waiting.served().await.unwrap();
    drop(two);
    drop(three);
    assert_eq!((pool.stats().idle, pool.stats().leases), (2, 0));
}

/// 2: clients in use were kept in a set, and could not be hashed: the first `acquire` failed and lost its connection.
#[tokio::test]
async fn the_first_lease_is_had_and_none_is_lost() {
    let server = memory().await;
    let pool = exclusive(&server, 3, 3).await;
    for _ in 0..10 {
        let leases = [
            acquired(&pool).await,
            acquired(&pool).await,
            acquired(&pool).await,
        ];
        drop(leases);
    }
    assert_eq!((pool.stats().created, pool.stats().idle), (3, 3));
}

/// 3: `release` called a method that did not exist, took its failure for bad health and closed every connection.
#[tokio::test]
async fn a_connection_that_was_released_is_used_again() {
    let server = memory().await;
    let pool = exclusive(&server, 1, 1).await;
    for _ in 0..5 {
        let lease = acquired(&pool).await;
        assert_eq!(connection_of(&server, &lease).await, 1);
    }
    assert_eq!(pool.stats().closed.total(), 0);
    // Neither is anything asked of the server when a lease comes back.
    assert_eq!(server.calls().len(), server.calls_to("Get").len());
}

/// 4: health checks and dials under the lock: one slow server held up every `acquire` and `release`.
#[tokio::test]
async fn one_slow_dial_holds_nobody_up() {
    let server = memory().await;
    server.set_health("", ServingStatus::NotServing);
    let pool = exclusive(&server, 2, 3).await;
    let silence = server.inject(Fault::silence());
    let (one, two) = (acquired(&pool).await, acquired(&pool).await);
    let (first, mut second) = (Caller::waiting(&pool).await, Caller::waiting(&pool).await);
    within(silence.hit()).await;
    drop(one);
    let first = first.served().await.unwrap();
    drop(two);
    assert!(second.has_lease().await);
    drop(first);
    for _ in 0..100 {
        drop(acquired(&pool).await);
    }
    assert_eq!((silence.hits(), pool.stats().dialling), (1, 1));
    within(pool.close()).await;
}

/// 5: a connection removed on release freed a place that nobody noticed: waiters looked at what was available only, and
/// the pool was never filled up again.
#[tokio::test]
async fn a_place_that_becomes_free_by_a_loss_is_the_first_waiters() {
    let server = memory().await;
    let pool = exclusive(&server, 2, 2).await;
    let (one, two) = (acquired(&pool).await, acquired(&pool).await);
    let waiting = Caller::waiting(&pool).await;
    let lost = connection_of(&server, &one).await;
    let cut = server.inject(Fault::cut().connection(lost));
    // The bytes of a call are what it is cut by.
    drop(one.call("Get", rpcplugin_testkit::json!({})).await);
    within(cut.hit()).await;
    drop(one);
    let next = waiting.served().await.unwrap();
    assert!(connection_of(&server, &next).await > 2);
    drop((next, two));
    until(|| pool.stats().idle == 2).await;
}

/// 6: the limit was `size * 2`, so that a pool of one handed out two.
#[tokio::test]
async fn a_pool_never_hands_out_more_than_it_has() {
    for (size, max) in [(1, 1), (1, 2), (2, 2), (2, 5)] {
        let server = memory().await;
        let pool = exclusive(&server, size, max).await;
        let mut leases = Vec::new();
        for _ in 0..max {
            leases.push(acquired(&pool).await);
        }
        let mut one_too_many = Caller::waiting(&pool).await;
        until(|| server.connections() == max).await;
        assert!(one_too_many.looks().await.is_none());
        assert_eq!((pool.stats().leases, pool.stats().max), (max, max));
    }
    // Without a word about it, a pool has as many as it keeps.
    let server = memory().await;
    let pool = pooling(&server).size(4).connect().await.unwrap();
    assert_eq!(pool.stats().max, 4);
}

/// 7: `close_all` closed connections in use, woke nobody, and a later `acquire` made new ones.
#[tokio::test]
async fn closing_spares_who_is_at_work_wakes_who_waits_and_is_final() {
    let server = memory().await;
    let pool = exclusive(&server, 1, 1).await;
    let lease = acquired(&pool).await;
    let waiting = Caller::waiting(&pool).await;
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close().await }
    });
    assert!(waiting.served().await.unwrap_err().is_closed());
    connection_of(&server, &lease).await;
    assert!(pool.acquire().await.unwrap_err().is_closed());
    drop(lease);
    within(closing).await.unwrap();
    within(alone(&server)).await;
    assert!(pool.acquire().await.unwrap_err().is_closed());
    assert_eq!((server.connections(), pool.stats().created), (0, 1));
}

/// 8: a permit was taken before the dial and not given back when that failed or was cancelled: after as many failures
/// the pool was dead.
#[tokio::test(start_paused = true)]
async fn failed_and_cancelled_dials_cost_no_capacity() {
    const MAX: usize = 3;
    let server = memory().await;
    let failing = server.inject(Fault::close_on_accept());
    let pool = pooling(&server).size(0).max(MAX).exclusive();
    let pool = pool.connect_lazy().unwrap();
    for n in 0..4 * MAX {
        let error = pool.acquire().await.unwrap_err();
        assert!(error.is_connect(), "{n}: {error:?}");
        // The backoff is over by then.
        tokio::time::sleep_until(Instant::now() + Duration::from_secs(200)).await;
    }
    assert!(failing.hits() >= 4 * MAX as u64);
    failing.remove();
    let silence = server.inject(Fault::silence());
    for _ in 0..4 * MAX {
        let mut caller = Caller::of(&pool);
        assert!(caller.looks().await.is_none());
        tokio::task::yield_now().await;
    }
    silence.remove();
    let mut leases: Vec<Lease> = Vec::new();
    for _ in 0..MAX {
        leases.push(acquired(&pool).await);
    }
    assert_eq!((pool.stats().in_use, server.connections()), (MAX, MAX));
}

/// 9: waiters polled every 100 ms: in no order, late, with some that never had their turn, and no timeout.
#[tokio::test(start_paused = true)]
async fn waiters_take_turns_are_served_at_once_and_do_not_wait_for_ever() {
    let server = memory().await;
    let pool = pooling(&server).exclusive();
    let pool = pool.acquire_timeout(Duration::from_secs(5));
    let pool = pool.connect().await.unwrap();
    let started = Instant::now();
    let mut callers = Vec::new();
    for caller in 0..8 {
        let pool = pool.clone();
        callers.push(tokio::spawn(async move {
            let mut turns = Vec::new();
            for _ in 0..25 {
                let lease = pool.acquire().await?;
                turns.push(pool.stats().waits);
                tokio::task::yield_now().await;
                drop(lease);
            }
            Ok::<_, Error>((caller, turns))
        }));
    }
    let mut turns = HashMap::new();
    for caller in callers {
        let (caller, taken) = within(caller).await.unwrap().unwrap();
        turns.insert(caller, taken.len());
    }
    assert!(turns.len() == 8 && turns.values().all(|turns| *turns == 25));
    assert_eq!(
        started.elapsed(),
        Duration::ZERO,
        "nobody waits for a clock"
    );

    let _lease = acquired(&pool).await;
    assert!(pool.acquire().await.unwrap_err().is_timeout());
    assert_eq!((started.elapsed().as_secs(), pool.stats().timeouts), (5, 1));
}
