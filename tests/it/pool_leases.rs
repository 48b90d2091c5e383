//! Leases: who gets one, when, and how it comes back.

use crate::pool_probe::{Caller, acquired, answering, connection_of, memory, pooling};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Lease, PoolStats};
use rpcplugin_testkit::{Client, Code, Fault, MockServer, Pool, Reply, Stub, json};
use std::{sync::Mutex, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

#[tokio::test]
async fn a_lease_calls_over_every_transport_with_and_without_tls() {
    for transport in Transport::ALL {
        for secure in [false, true] {
            let server = transport.secured(secure).start().await;
            answering(&server);
            let pool = within(pooling(&server).size(2).connect()).await.unwrap();
            assert_eq!(pool.address(), server.address());
            let (one, two) = (acquired(&pool).await, acquired(&pool).await);
            assert_eq!(one.address(), server.address());
            assert_eq!(
                connection_of(&server, &one).await,
                connection_of(&server, &two).await
            );
            within(one.health_check()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn leases_share_connections_up_to_so_many_streams_and_exclusive_ones_do_not() {
    for (streams, exclusive, expected) in [
        (100, false, vec![1, 1, 1, 1]),
        (3, false, vec![1, 1, 1, 2]),
        (1, false, vec![1, 2, 3, 4]),
        (100, true, vec![1, 2, 3, 4]),
    ] {
        let server = memory().await;
        let builder = pooling(&server).max(4).streams_per_connection(streams);
        let builder = if exclusive {
            builder.exclusive()
        } else {
            builder
        };
        let pool = builder.connect().await.unwrap();
        let mut leases = Vec::new();
        let mut connections = Vec::new();
        for _ in 0..4 {
            let lease = acquired(&pool).await;
            connections.push(connection_of(&server, &lease).await);
            leases.push(lease);
        }
        assert_eq!(
            connections, expected,
            "{streams} streams, exclusive: {exclusive}"
        );
        assert_eq!(server.connections(), pool.stats().size);

        // The oldest connection is taken again, when it has a place.
        drop(leases);
        let lease = acquired(&pool).await;
        assert_eq!(connection_of(&server, &lease).await, 1);
    }
}

#[tokio::test]
async fn a_lease_comes_back_however_its_holder_ends() {
    let server = memory().await;
    let pool = pooling(&server).exclusive().connect().await.unwrap();
    let (reply, gate) = Reply::gate(json!({}));
    server.mount(Stub::method("Held").reply(reply));

    drop(acquired(&pool).await);
    assert_eq!(pool.stats().leases, 0);

    let lease = acquired(&pool).await;
    let panicking = tokio::spawn(async move {
        let _lease = lease;
        panic!("on purpose");
    });
    assert!(within(panicking).await.unwrap_err().is_panic());
    assert_eq!(pool.stats().leases, 0);

    let lease = acquired(&pool).await;
    let calling = tokio::spawn(async move { lease.call("Held", json!({})).await });
    within(gate.arrived(1)).await;
    calling.abort();
    assert!(within(calling).await.unwrap_err().is_cancelled());
    assert_eq!(pool.stats().leases, 0);

    let lease = acquired(&pool).await;
    std::thread::spawn(move || drop(lease)).join().unwrap();
    assert_eq!(pool.stats().leases, 0);

    let lease = acquired(&pool).await;
    assert_eq!(connection_of(&server, &lease).await, 1);
    assert_eq!((pool.stats().created, pool.stats().in_use), (1, 1));
    assert_eq!(
        format!("{lease:?}"),
        format!("Lease({}, connection 0)", server.address())
    );
}

#[tokio::test]
async fn who_waits_is_served_in_the_order_of_arrival() {
    let server = memory().await;
    let pool = pooling(&server).exclusive().connect().await.unwrap();
    let lease = acquired(&pool).await;
    let mut callers = Vec::new();
    for _ in 0..16 {
        callers.push(Caller::waiting(&pool).await);
    }
    assert_eq!(pool.stats().waiting, 16);
    drop(lease);
    for n in 0..16 {
        // Nobody overtakes, neither those behind nor those who come now.
        let mut newcomer = Caller::of(&pool);
        assert!(newcomer.looks().await.is_none());
        drop(newcomer);
        for later in callers.iter_mut().skip(1) {
            assert!(later.looks().await.is_none(), "{n}");
        }
        let lease = callers.remove(0).served().await.unwrap();
        drop(lease);
    }
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.waits, stats.timeouts), (0, 32, 0));
}

#[tokio::test]
async fn many_tasks_that_want_one_connection_take_turns() {
    const TASKS: usize = 8;
    const TURNS: usize = 20;
    let server = memory().await;
    let pool = pooling(&server).exclusive().connect().await.unwrap();
    let order = std::sync::Arc::new(Mutex::new(Vec::new()));
    let held = acquired(&pool).await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (taking, order) = (pool.clone(), std::sync::Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            for _ in 0..TURNS {
                let _lease = taking.acquire().await.expect("a lease");
                order.lock().expect("no panic").push(task);
                tokio::task::yield_now().await;
            }
        }));
        while pool.stats().waiting <= task {
            tokio::task::yield_now().await;
        }
    }
    drop(held);
    for task in tasks {
        within(task).await.unwrap();
    }
    let order = order.lock().unwrap();
    for turn in order.chunks(TASKS) {
        assert_eq!(turn, (0..TASKS).collect::<Vec<_>>(), "{order:?}");
    }
}

/// {how many wait} × {who is cancelled} × {before the lease is free, after}.
#[tokio::test]
async fn whoever_is_cancelled_loses_the_place_and_the_lease_goes_to_the_next() {
    for callers in 1..4 {
        for cancelled in 0..callers {
            for in_the_same_moment in [false, true] {
                let server = memory().await;
                let pool = pooling(&server).exclusive().connect().await.unwrap();
                let mut lease = Some(acquired(&pool).await);
                let mut waiting = Vec::new();
                for _ in 0..callers {
                    waiting.push(Caller::waiting(&pool).await);
                }
                if in_the_same_moment {
                    // The first in the queue has it, and does not know yet.
                    drop(lease.take());
                }
                drop(waiting.remove(cancelled));
                drop(lease);
                for caller in waiting {
                    drop(caller.served().await.unwrap());
                }
                let stats = pool.stats();
                assert_eq!((stats.leases, stats.waiting, stats.idle), (0, 0, 1));
                drop(acquired(&pool).await);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_comes_in_time_is_given_and_later_there_is_a_timeout_that_says_why() {
    let server = memory().await;
    let limit = Duration::from_millis(100);
    let pool = pooling(&server).size(2).exclusive().acquire_timeout(limit);
    let pool = pool.connect().await.unwrap();
    let (one, two) = (acquired(&pool).await, acquired(&pool).await);
    let started = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    let elapsed = started.elapsed().as_millis();
    assert!((100..=101).contains(&elapsed), "{elapsed}");
    assert!(error.is_timeout());
    assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    let address = server.address();
    let expected = format!(
        "no lease of a connection to {address} within the acquire timeout of 100ms (connections: 2 of at most 2, leases out: 2)"
    );
    assert_eq!(error.to_string(), expected);
    assert!(std::error::Error::source(&error).is_none());
    let expected = PoolStats::default();
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.waits, stats.timeouts), (0, 1, 1));
    assert_eq!(stats.closed, expected.closed);

    let waiting = Caller::waiting(&pool).await;
    sleep_until(Instant::now() + limit / 2).await;
    drop(two);
    let two = waiting.served().await.unwrap();

    // With no time at all there is a lease at once or none.
    let hasty = pooling(&server).exclusive().acquire_timeout(Duration::ZERO);
    let hasty = hasty.connect().await.unwrap();
    let lease = hasty.acquire().await.unwrap();
    assert!(hasty.acquire().await.unwrap_err().is_timeout());
    drop(lease);
    let patient = pooling(&server).exclusive().acquire_timeout(Duration::MAX);
    drop(patient.connect().await.unwrap().acquire().await.unwrap());
    drop((one, two));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_while_a_dial_is_under_way_says_so_and_keeps_the_last_error() {
    let server = memory().await;
    server.inject(Fault::close_on_accept().connection(2));
    let silence = server.inject(Fault::silence().connection(3..));
    let pool = pooling(&server).max(2).exclusive();
    let pool = pool
        .acquire_timeout(Duration::from_secs(10))
        .connect()
        .await
        .unwrap();
    let _lease = acquired(&pool).await;
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(silence.hits(), 1);
    let address = server.address();
    assert_eq!(
        format!("{error:?}"),
        format!(
            "Timeout: no lease of a connection to {address} within the acquire timeout of 10s (connections: 1 of at most 2, leases out: 1, being dialled: 1)\n  \
             caused by: {address} accepted the connection but does not speak HTTP/2\n  \
             caused by: it closed the connection"
        )
    );
}

/// What a pool is made for: a generated client, streams, and calls at the same time.
#[tokio::test]
async fn everything_a_client_can_do_a_lease_can() {
    use crate::support::echo::{EchoRequest, echo_client::EchoClient};
    let server = Transport::Tcp.start_echo().await;
    let echoed = |call: &rpcplugin_testkit::Call| json!({"message": call.request()["message"]});
    server.mount(Stub::method("Echo.Say").reply(echoed));
    let pool = pooling(&server)
        .size(2)
        .exclusive()
        .connect()
        .await
        .unwrap();
    let said = |lease: Lease, text: &str| {
        let message = text.to_owned();
        async move {
            let mut client = EchoClient::new(Client::clone(&lease));
            let request = EchoRequest {
                message,
                ..EchoRequest::default()
            };
            let reply = within(client.say(request)).await;
            reply.map(|reply| reply.into_inner().message)
        }
    };
    let (one, two) = (acquired(&pool).await, acquired(&pool).await);
    let (one, two) = tokio::join!(said(one, "one"), said(two, "two"));
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        ("one".to_owned(), "two".to_owned())
    );
    let on: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.connection_id())
        .collect();
    assert_ne!(on[0], on[1]);
}

#[tokio::test]
async fn a_pool_is_cheap_to_clone_and_its_leases_outlive_it() {
    let server = memory().await;
    let pool = pooling(&server)
        .size(2)
        .exclusive()
        .connect()
        .await
        .unwrap();
    let lease = acquired(&pool.clone()).await;
    let (told, gone) = oneshot::channel();
    let other = pool.clone();
    tokio::spawn(async move {
        let lease = other.acquire().await.expect("a lease");
        drop(told.send(lease));
    });
    let second = within(gone).await.unwrap();
    assert_eq!(pool.stats().leases, 2);
    drop(pool);
    connection_of(&server, &lease).await;
    drop(lease);
    connection_of(&server, &second).await;
}

#[tokio::test]
async fn the_default_pool_has_one_connection_and_a_hundred_streams() {
    let server = MockServer::start().await;
    let pool = Pool::builder(server.address()).connect().await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..100 {
        leases.push(acquired(&pool).await);
    }
    let _hundred_and_first = Caller::waiting(&pool).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.max, stats.leases), (1, 1, 100));
    let text = format!("{pool:?}");
    assert!(
        text.starts_with(&format!("Pool({}, PoolStats {{ size: 1,", server.address())),
        "{text}"
    );
}
