//! The connections of a pool: how many there are, when one is dialled, and why one ends.

use crate::faults_probe::{alone, until};
use crate::pool_probe::{Caller, acquired, answering, connection_of, memory, pooling};
use crate::support::{Transport, redialling, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClosedConnections, PoolBuilder};
use rpcplugin_testkit::{
    Client, ConnectionState, Fault, MockServer, Pool, Reply, Stub, json, mock::GoAway,
};
use std::time::Duration;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep_until},
};

const SECOND: Duration = Duration::from_secs(1);

async fn pass(duration: Duration) {
    sleep_until(Instant::now() + duration).await;
}

fn closed(pool: &Pool) -> ClosedConnections {
    pool.stats().closed
}

#[tokio::test]
async fn connecting_makes_all_connections_at_the_same_time() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let withheld = server.inject(Fault::withhold_settings());
        let connecting = tokio::spawn(pooling(&server).size(5).max(7).connect());
        within(withheld.wait_for_hits(5)).await;
        withheld.remove();
        let pool = within(connecting).await.unwrap().unwrap();
        let stats = pool.stats();
        assert_eq!(
            (stats.size, stats.idle, stats.max, stats.created),
            (5, 5, 7, 5)
        );
        assert_eq!(server.connections(), 5);
        drop(pool);
        within(alone(&server)).await;
    }
}

#[tokio::test]
async fn connecting_fails_when_one_connection_does_and_leaves_none() {
    for transport in Transport::ALL {
        for failing in 1..=3 {
            let server = transport.start().await;
            server.inject(Fault::close_on_accept().connection(failing));
            // The others are under way when it happens.
            let error = within(pooling(&server).size(3).connect())
                .await
                .unwrap_err();
            assert!(error.is_connect());
            let address = server.address();
            assert_eq!(
                error.to_string(),
                format!("{address} accepted the connection but does not speak HTTP/2")
            );
            within(alone(&server)).await;
        }
    }
}

#[tokio::test]
async fn connecting_that_is_cancelled_leaves_no_connection() {
    let server = memory().await;
    let withheld = server.inject(Fault::withhold_settings());
    let connecting = tokio::spawn(pooling(&server).size(3).connect());
    within(withheld.wait_for_hits(3)).await;
    connecting.abort();
    within(alone(&server)).await;
}

#[tokio::test]
async fn a_lazy_pool_dials_for_the_first_lease_and_then_up_to_its_size() {
    let server = memory().await;
    let pool = pooling(&server).size(3).connect_lazy().unwrap();
    tokio::task::yield_now().await;
    assert_eq!((server.connections(), pool.stats().size), (0, 0));
    let lease = acquired(&pool).await;
    assert_eq!(connection_of(&server, &lease).await, 1);
    until(|| pool.stats().size == 3).await;
    assert_eq!(server.connections(), 3);

    // It can be made where there is no runtime.
    let builder = pooling(&server);
    let made = std::thread::spawn(move || builder.connect_lazy()).join();
    drop(acquired(&made.unwrap().unwrap()).await);
    // And one that keeps none dials when it has to.
    let pool = pooling(&server).size(0).connect().await.unwrap();
    assert_eq!((pool.stats().size, pool.stats().max), (0, 1));
    drop(acquired(&pool).await);
    assert_eq!(pool.stats().size, 1);
}

#[tokio::test]
async fn one_more_is_dialled_only_when_all_are_full_and_one_at_a_time() {
    let server = memory().await;
    let pool = pooling(&server).max(3).exclusive().connect().await.unwrap();
    drop(acquired(&pool).await);
    let first = acquired(&pool).await;
    assert_eq!(server.connections(), 1);

    let withheld = server.inject(Fault::withhold_settings().connection(2..));
    let (one, mut two) = (Caller::waiting(&pool).await, Caller::waiting(&pool).await);
    within(withheld.hit()).await;
    assert_eq!((pool.stats().dialling, pool.stats().size), (1, 1));
    // A slow dial holds nobody up: the first in the queue gets what comes back.
    drop(first);
    let one = one.served().await.unwrap();
    assert!(two.looks().await.is_none());
    assert_eq!(withheld.hits(), 1);
    withheld.remove();
    let two = two.served().await.unwrap();
    let three = acquired(&pool).await;
    assert_eq!((pool.stats().size, pool.stats().in_use), (3, 3));
    let mut four = Caller::waiting(&pool).await;
    until(|| server.connections() == 3).await;
    assert!(four.looks().await.is_none());
    drop(two);
    drop(four.served().await.unwrap());
    drop((one, three));
    assert_eq!(pool.stats().created, 3);
}

/// {transport} × {killed by a FIN, by a reset, told to go away}.
#[tokio::test]
async fn lost_connections_are_handed_to_nobody_and_replaced_in_the_background() {
    for transport in Transport::ALL {
        for way in 0..3 {
            let server = transport.start().await;
            answering(&server);
            let pool = within(pooling(&server).size(3).connect()).await.unwrap();
            match way {
                0 => within(server.kill().into_future()).await,
                1 => within(server.kill().reset().into_future()).await,
                _ => {
                    server.inject(Fault::go_away(GoAway::graceful()).connection(1..=3));
                }
            }
            until(|| closed(&pool).lost == 3).await;
            if way < 2 {
                assert_eq!(pool.stats().size, 0);
                within(server.restart()).await;
            }
            until(|| pool.stats().size == 3 && closed(&pool).lost == 3).await;
            let lease = acquired(&pool).await;
            assert!(connection_of(&server, &lease).await > 3);
            assert_eq!((pool.stats().created, pool.stats().idle), (6, 2));
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_with_leases_on_it_serves_again_when_it_is_back() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        answering(&server);
        let pool = within(pooling(&server).connect()).await.unwrap();
        let lease = acquired(&pool).await;
        let state = lease.state();
        within(server.kill().into_future()).await;
        until(|| closed(&pool).lost == 1).await;
        assert_eq!((pool.stats().size, pool.stats().in_use), (1, 1));
        within(server.restart()).await;
        // The pool has one connection at most, and somebody holds it: both get on with the same.
        let other = loop {
            // While the server was away a dial may have failed.
            match within(pool.acquire()).await {
                Ok(lease) => break lease,
                Err(error) => assert!(error.is_connect(), "{error:?}"),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(*state.borrow(), ConnectionState::Ready);
        let (one, two) = (
            connection_of(&server, &lease).await,
            connection_of(&server, &other).await,
        );
        assert_eq!(one, two);
        assert_eq!((pool.stats().created, server.connections()), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn failed_dials_follow_the_backoff_and_waiters_and_newcomers_have_their_error() {
    let server = memory().await;
    let pool = patient(&server).size(2).connect().await.unwrap();
    within(server.kill().into_future()).await;
    until(|| closed(&pool).lost == 2).await;
    let address = server.address();
    let mut failures = 0;
    let started = Instant::now();
    while started.elapsed() < 300 * SECOND {
        let error = pool.acquire().await.unwrap_err();
        assert!(error.is_connect());
        assert_eq!(
            format!("{error:?}"),
            format!(
                "Connect: cannot connect to {address}\n  caused by: no server of this process has that name"
            )
        );
        assert_eq!((pool.stats().dialling, pool.stats().waiting), (0, 0));
        failures += 1;
        pass(5 * SECOND).await;
    }
    assert!(failures >= 50, "{failures}: it fails at once");
    within(server.restart()).await;
    // Its next dial is within the longest wait.
    pass(145 * SECOND).await;
    assert_eq!((pool.stats().size, pool.stats().created), (2, 4));
    drop(pool.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_fails_nobody_whom_another_connection_can_serve() {
    let server = memory().await;
    let failing = server.inject(Fault::close_on_accept().connection(2..));
    let pool = pooling(&server).max(2).exclusive().connect().await.unwrap();
    let lease = acquired(&pool).await;
    let mut waiting = Caller::waiting(&pool).await;
    within(failing.wait_for_hits(2)).await;
    assert!(waiting.looks().await.is_none());
    assert_eq!((pool.stats().size, pool.stats().dialling), (1, 0));
    // Who comes meanwhile waits too.
    let mut later = Caller::waiting(&pool).await;
    drop(lease);
    drop(waiting.served().await.unwrap());
    assert!(later.has_lease().await);

    // The dials went on as long as somebody waited, and capacity was not used up by them.
    let lease = acquired(&pool).await;
    let waiting = Caller::waiting(&pool).await;
    failing.remove();
    drop(waiting.served().await.unwrap());
    assert_eq!(pool.stats().size, 2);
    drop(lease);
}

/// A pool with gRPC's own backoff.
fn patient(server: &MockServer) -> PoolBuilder {
    pooling(server).client(Client::builder())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_on_every_connection_is_not_dialled_in_a_loop() {
    let server = memory().await;
    let pool = patient(&server).connect().await.unwrap();
    let abrupt = GoAway::graceful().abrupt();
    let hung_up = server.inject(Fault::go_away(abrupt).times(0..));
    pass(60 * SECOND).await;
    // One at once, then waits of 1, 1.6, 2.56, 4.1, 6.55, 10.5, 16.8 and 26.8 s, with their jitter. The client under it may
    // dial a second time itself, when the connection is gone before it was seen.
    let dials = hung_up.hits() - 1;
    assert!((6..=20).contains(&dials), "{dials}");
    let told = pool.acquire().await.unwrap_err().to_string();
    let address = server.address();
    let expected = format!("{address} accepts connections and ends them before any");
    assert!(told.starts_with(&expected), "{told}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_before_anybody_had_them_are_made_again_ever_more_slowly() {
    let server = memory().await;
    let pool = patient(&server).connect().await.unwrap();
    let mut waits = Vec::new();
    let mut told = None;
    let hang_up_on = |connection: u64| {
        let abrupt = GoAway::graceful().abrupt();
        server.inject(Fault::go_away(abrupt).connection(connection));
    };
    for made in 2..8 {
        hang_up_on(made - 1);
        let killed = Instant::now();
        while pool.stats().created < made {
            if pool.stats().size == 0 && waits.len() == 2 && told.is_none() {
                let error = pool.acquire().await.unwrap_err();
                assert!(error.is_connect());
                told = Some(error.to_string());
            }
            pass(SECOND / 100).await;
        }
        waits.push(killed.elapsed().as_secs_f64());
    }
    let expected = [0.0, 1.0, 1.6, 2.56, 4.1, 6.55];
    for (wait, expected) in waits.iter().zip(expected) {
        let jitter = 0.2 * expected + 0.05;
        assert!((wait - expected).abs() <= jitter, "{waits:?}");
    }
    let address = server.address();
    let expected = format!("{address} accepts connections and ends them before anybody uses them");
    assert_eq!(told, Some(expected));
    // Once somebody has it, that is forgotten.
    drop(acquired(&pool).await);
    hang_up_on(7);
    let killed = Instant::now();
    until(|| pool.stats().created == 8).await;
    assert!(killed.elapsed() < SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_above_size() {
    let server = memory().await;
    let pool = pooling(&server).size(2).max(4).exclusive();
    let pool = pool.idle_timeout(60 * SECOND).connect().await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(acquired(&pool).await);
    }
    pass(600 * SECOND).await;
    assert_eq!(pool.stats().size, 4, "they are in use");
    drop(leases);
    pass(59 * SECOND).await;
    assert_eq!(pool.stats().size, 4);
    // The oldest stay, whoever used them.
    let first = acquired(&pool).await;
    pass(2 * SECOND).await;
    assert_eq!((pool.stats().size, closed(&pool).idle), (2, 2));
    until(|| server.connections() == 2).await;
    assert_eq!(connection_of(&server, &first).await, 1);
    drop(first);
    pass(6000 * SECOND).await;
    assert_eq!((pool.stats().size, closed(&pool).total()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn old_connections_are_replaced_and_drained_but_never_cut() {
    let server = memory().await;
    let (reply, gate) = Reply::gate(json!({"value": 1}));
    server.mount(Stub::method("Held").reply(reply));
    let client = redialling(&server, server.address()).no_timeout();
    let pool = Pool::builder(server.address())
        .client(client)
        .size(2)
        .max(3);
    let pool = pool
        .max_lifetime(100 * SECOND)
        .exclusive()
        .connect()
        .await
        .unwrap();
    let lease = acquired(&pool).await;
    let held = tokio::spawn(async move {
        let reply = lease.call("Held", json!({})).await;
        (lease, reply)
    });
    within(gate.arrived(1)).await;
    pass(89 * SECOND).await;
    assert_eq!(closed(&pool).lifetime, 0);
    pass(22 * SECOND).await;
    // One is gone and one drains; both have a replacement.
    let stats = pool.stats();
    assert_eq!(
        (stats.size, stats.created, stats.closed.lifetime),
        (3, 4, 1)
    );
    pass(30 * SECOND).await;
    assert_eq!(server.connections(), 3);
    gate.open();
    let (lease, reply) = within(held).await.unwrap();
    assert_eq!(reply.unwrap(), json!({"value": 1}));
    // It is this one's as long as it wants it.
    assert_eq!(connection_of(&server, &lease).await, 1);
    drop(lease);
    until(|| server.connections() == 2).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.idle, stats.closed.lifetime), (2, 2, 2));

    // From then on about every hundred seconds.
    pass(1000 * SECOND).await;
    let replaced = closed(&pool).lifetime;
    assert!((18..=24).contains(&replaced), "{replaced}");
    assert_eq!(closed(&pool).total(), replaced);
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_on_an_old_connection_after_its_lease_is_not_cut() {
    let server = memory().await;
    let (reply, gate) = Reply::gate(json!({"value": 1}));
    server.mount(Stub::method("Held").reply(reply));
    let client = redialling(&server, server.address()).no_timeout();
    let pool = Pool::builder(server.address()).client(client);
    let pool = pool.max_lifetime(10 * SECOND).connect().await.unwrap();
    let client = Client::clone(&*acquired(&pool).await);
    let held = tokio::spawn(client.call("Held", json!({})).into_future());
    within(gate.arrived(1)).await;
    pass(1000 * SECOND).await;
    assert!(closed(&pool).lifetime > 80);
    assert_eq!(server.connections(), 2);
    gate.open();
    assert_eq!(within(held).await.unwrap().unwrap(), json!({"value": 1}));
    until(|| server.connections() == 1).await;
}

#[tokio::test]
async fn dropping_the_last_handle_and_lease_frees_everything() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        answering(&server);
        let pool = within(pooling(&server).size(3).connect()).await.unwrap();
        let lease = acquired(&pool).await;
        drop(pool.clone());
        drop(pool);
        connection_of(&server, &lease).await;
        assert_eq!(server.connections(), 3);
        drop(lease);
        within(alone(&server)).await;

        // Also with a dial under way.
        let withheld = server.inject(Fault::withhold_settings());
        let pool = pooling(&server).size(3).connect_lazy().unwrap();
        let caller = Caller::waiting(&pool).await;
        within(withheld.hit()).await;
        drop(caller);
        drop(pool);
        within(alone(&server)).await;
    }
}

/// A runtime ends and takes what runs on it along. The pool goes on on the next.
#[test]
fn a_pool_outlives_the_runtime_that_it_was_made_on() {
    let (servers, first, second) = (runtime(), runtime(), runtime());
    let server = servers.block_on(MockServer::start());
    answering(&server);
    let pool = first.block_on(async {
        let pool = pooling(&server).size(2).connect();
        within(pool).await.expect("a pool")
    });
    drop(first);
    second.block_on(async {
        let lease = acquired(&pool).await;
        connection_of(&server, &lease).await;
        drop(lease);
        until(|| pool.stats().idle == 2).await;
        within(pool.close()).await;
        within(alone(&server)).await;
    });
}

/// Who waits on another runtime than the one that ends gets a lease nevertheless, or is told that there is none in time.
#[test]
fn nobody_waits_for_a_runtime_that_has_ended() {
    for is_given_back in [true, false] {
        let (servers, first, second) = (runtime(), runtime(), runtime());
        let server = servers.block_on(MockServer::start());
        answering(&server);
        let limit = if is_given_back {
            30 * SECOND
        } else {
            SECOND / 20
        };
        let (pool, lease) = first.block_on(async {
            let pool = pooling(&server).size(1).max(1).exclusive();
            let pool = within(pool.acquire_timeout(limit).connect());
            let pool = pool.await.expect("a pool");
            let lease = acquired(&pool).await;
            (pool, lease)
        });
        let waiting = second.spawn({
            let pool = pool.clone();
            async move { pool.acquire().await }
        });
        second.block_on(async {
            // It may have been told already.
            until(|| pool.stats().waits == 1).await;
            first.shutdown_background();
            let kept = if is_given_back {
                drop(lease);
                None
            } else {
                Some(lease)
            };
            let answer = within(waiting).await.expect("no panic");
            match answer {
                Ok(lease) if is_given_back => drop(connection_of(&server, &lease).await),
                Err(error) if !is_given_back => assert!(error.is_timeout(), "{error}"),
                answer => panic!("given back: {is_given_back}; {answer:?}"),
            }
            drop(kept);
            within(pool.close()).await;
        });
    }
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(1).enable_all();
    builder.build().expect("a runtime")
}

#[test]
fn mistakes_are_told_when_it_is_made() {
    let builder = || Pool::builder("memory:pool");
    let cases: [(PoolBuilder, &str); 6] = [
        (
            builder().max(0),
            "the pool of memory:pool has no connections: `.max(0)`",
        ),
        (
            builder().size(5).max(3),
            "the pool of memory:pool cannot keep 5 connections and have at most 3: `.size(5).max(3)`",
        ),
        (
            builder().streams_per_connection(0),
            "the pool of memory:pool has no leases: `.streams_per_connection(0)`",
        ),
        (
            builder().max_lifetime(Duration::ZERO),
            "the pool of memory:pool cannot replace connections all the time: `.max_lifetime(0)`",
        ),
        (
            Pool::builder("not an address"),
            &"not an address"
                .parse::<rpcplugin_testkit::Address>()
                .unwrap_err()
                .to_string(),
        ),
        (
            builder().client(Client::builder().descriptor_set([0xff])),
            &rpcplugin_testkit::Schema::from_descriptor_set([0xff])
                .unwrap_err()
                .to_string(),
        ),
    ];
    for (builder, expected) in cases {
        assert_eq!(builder.connect_lazy().unwrap_err().to_string(), expected);
    }
    // The address of the client is of no account.
    let client = Client::builder()
        .address("not an address")
        .backoff(Backoff::default());
    let pool = builder().client(client).connect_lazy().unwrap();
    assert_eq!(pool.address().to_string(), "memory:pool");
}
