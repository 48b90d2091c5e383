//! How long byte faults and slow admissions take, to the millisecond, on a clock that stands still.

use crate::faults_probe::{Wire, client, dialling, mount, squawk};
use crate::support::{Transport, echo};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Client, Delay, Fault, MockServer, Reply, Stub, json};
use std::time::Duration;
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const fn memory(secure: bool) -> Wire {
    Wire {
        transport: Transport::Memory,
        secure,
    }
}

const MEMORY: [Wire; 2] = [memory(false), memory(true)];

async fn took(client: &Client) -> Duration {
    let began = Instant::now();
    squawk(client).await.expect("an answer");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_exactly_the_latency_of_each_way() {
    let cases: [(fn() -> Fault, u32); 5] = [
        (|| Fault::latency(70 * MS), 140),
        (|| Fault::latency(70 * MS).incoming(), 70),
        (|| Fault::latency(70 * MS).outgoing(), 70),
        (|| Fault::latency(Delay::uniform(70 * MS..=70 * MS)), 140),
        (|| Fault::latency(Duration::ZERO), 0),
    ];
    for wire in MEMORY {
        let server = wire.start().await;
        let caller = client(&server).await;
        assert_eq!(took(&caller).await, Duration::ZERO);
        for (fault, expected) in &cases {
            let latency = server.inject(fault());
            for _ in 0..3 {
                assert_eq!(took(&caller).await, *expected * MS, "{wire:?}");
            }
            assert_eq!(latency.hits(), 1);
            latency.remove();
            assert_eq!(took(&caller).await, Duration::ZERO, "{wire:?}");
        }
        // Two add up.
        let _one = server.inject_scoped(Fault::latency(10 * MS));
        let _other = server.inject_scoped(Fault::latency(5 * MS).outgoing());
        assert_eq!(took(&caller).await, 25 * MS);
    }
}

/// It begins on the connection of the first such call, once: later calls do not make it longer.
#[tokio::test(start_paused = true)]
async fn a_latency_that_a_call_began_does_not_grow() {
    for wire in MEMORY {
        let server = wire.start().await;
        let (one, other) = (client(&server).await, client(&server).await);
        let latency = server.inject(Fault::latency(50 * MS).method("Squawk"));
        // What came before it has come.
        let expected = [50, 100, 100, 100].map(|n| n * MS);
        for caller in [&one, &other] {
            for expected in expected {
                assert_eq!(took(caller).await, expected, "{wire:?}");
            }
        }
        assert_eq!((latency.hits(), latency.active()), (2, 2));
        latency.remove();
        assert_eq!(took(&one).await, Duration::ZERO);
        assert_eq!(latency.active(), 0);
    }
}

/// The second reply is longer by so many bytes, and takes so much longer.
async fn longer_by(fault: Fault) -> Duration {
    let server = MEMORY[0].start().await;
    let caller = client(&server).await;
    // It asks for the schema, and headers that were sent are short the next time.
    squawk(&caller).await.expect("an answer");
    server.inject(fault);
    let mut times = Vec::new();
    for length in [2000, 3000] {
        let reply = json!({"message": "x".repeat(length)});
        server.mount(Stub::method("Parrot/Say").reply(reply).at_most(1));
        let began = Instant::now();
        let call = caller.call("Parrot/Say", json!({})).timeout(Duration::MAX);
        let reply = call.await.expect("an answer");
        assert_eq!(reply["message"], "x".repeat(length));
        times.push(began.elapsed());
        assert!(times[0] > Duration::ZERO);
        // What is still on its way has passed.
        tokio::time::advance(Duration::from_secs(600)).await;
    }
    times[1].checked_sub(times[0]).expect("longer")
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_at_their_rate() {
    for rate in [1000, 500, 100] {
        let longer = longer_by(Fault::bandwidth(rate).outgoing()).await;
        assert_eq!(
            longer,
            1_000_000 / u32::try_from(rate).unwrap() * MS,
            "{rate}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn slices_keep_their_distance() {
    for (size, between) in [(10, 5 * MS), (100, 70 * MS), (1, MS)] {
        let longer = longer_by(Fault::slices(size, between).outgoing()).await;
        let slices = 1000 / u32::try_from(size).unwrap();
        assert_eq!(longer, slices * between, "{size}");
    }
}

async fn jittered(seed: u64) -> Vec<Duration> {
    let server = MEMORY[0].builder().seed(seed).start().await;
    mount(&server);
    let caller = client(&server).await;
    server.inject(Fault::latency(Delay::uniform(MS..=100 * MS)));
    let mut times = Vec::new();
    for _ in 0..20 {
        times.push(took(&caller).await);
    }
    times
}

#[tokio::test(start_paused = true)]
async fn jitter_is_drawn_from_the_seed() {
    let times = jittered(1).await;
    assert_eq!(jittered(1).await, times);
    assert_ne!(jittered(2).await, times);
    assert!(
        times.iter().all(|time| (2 * MS..=300 * MS).contains(time)),
        "{times:?}"
    );
}

/// {how long} × {TLS}: that connection waits, and no other.
#[tokio::test(start_paused = true)]
async fn a_slow_accept_takes_exactly_so_long_and_holds_up_nobody() {
    for wire in MEMORY {
        let server = wire.start().await;
        let slow = server.inject(Fault::slow_accept(300 * MS).at_most(2));
        let began = Instant::now();
        let connecting = [(); 2].map(|()| tokio::spawn(dialling(&server).connect()));
        slow.wait_for_hits(2).await;
        let quick = dialling(&server).connect().await.unwrap();
        assert_eq!(took(&quick).await, Duration::ZERO);
        assert_eq!(began.elapsed(), Duration::ZERO);
        for connecting in connecting {
            connecting.await.unwrap().unwrap();
        }
        assert_eq!(began.elapsed(), 300 * MS, "{wire:?}");
        assert_eq!((slow.hits(), slow.active()), (2, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_accept_that_is_taken_away_is_over() {
    for wire in MEMORY {
        let server = wire.start().await;
        let slow = server.inject(Fault::slow_accept(Duration::MAX));
        let began = Instant::now();
        let connecting = tokio::spawn(dialling(&server).connect());
        slow.hit().await;
        assert_eq!(slow.active(), 1);
        slow.remove();
        let client = connecting.await.unwrap().unwrap();
        squawk(&client).await.unwrap();
        assert_eq!((began.elapsed(), slow.active()), (Duration::ZERO, 0));
    }
}

/// What a fault held back goes on when it is taken away, at once and in order, and nothing of it is left.
#[tokio::test(start_paused = true)]
async fn what_is_held_back_goes_on_when_the_fault_is_taken_away() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let faults: [fn() -> Fault; 8] = [
        || Fault::latency(DAY),
        || Fault::bandwidth(0),
        || Fault::slices(1, DAY),
        Fault::stall,
        || Fault::stall().held(),
        || Fault::stall().method("Split"),
        || Fault::delay(DAY).method("Split"),
        || Fault::hold().after_messages(2),
    ];
    for wire in MEMORY {
        for (number, fault) in faults.iter().enumerate() {
            let server = wire.start().await;
            let caller = client(&server).await;
            squawk(&caller).await.unwrap();
            let fault = server.inject(fault());
            let began = Instant::now();
            let call = caller
                .server_stream::<_, echo::EchoReply>(
                    "/echo.v1.Echo/Split",
                    echo::EchoRequest::default(),
                )
                .timeout(Duration::MAX);
            let split = tokio::spawn(async move {
                let mut stream = call.await?;
                let mut words = Vec::new();
                while let Some(reply) = tokio_stream::StreamExt::next(&mut stream).await {
                    words.push(reply?.message);
                }
                Ok::<_, rpcplugin_testkit::Error>(words)
            });
            fault.hit().await;
            assert!(!split.is_finished());
            assert_eq!((fault.hits(), fault.active()), (1, 1), "{number}");
            fault.remove();
            let words = split.await.unwrap().unwrap();
            assert_eq!(words, ["0", "1", "2", "3", "4"], "{wire:?} {number}");
            assert_eq!(
                (began.elapsed(), fault.active(), fault.held()),
                (Duration::ZERO, 0, 0),
                "{number}"
            );
            squawk(&caller).await.unwrap();
            assert_eq!(
                (began.elapsed(), fault.hits()),
                (Duration::ZERO, 1),
                "{number}"
            );
        }
    }
}

/// A fault that stands in both ways of a connection is held once, and released once.
#[tokio::test(start_paused = true)]
async fn a_connection_is_held_once() {
    for wire in MEMORY {
        let server = wire.start().await;
        let caller = client(&server).await;
        squawk(&caller).await.unwrap();
        let latency = server.inject(Fault::latency(10 * MS).held());
        let call = tokio::spawn(caller.call("Squawk", json!({})).into_future());
        latency.hit().await;
        // They make the server write too.
        server.inject(Fault::pings(1));
        tokio::time::advance(100 * MS).await;
        assert_eq!(
            (latency.held(), latency.hits(), latency.active()),
            (1, 1, 1)
        );
        let began = Instant::now();
        latency.release(1);
        call.await.unwrap().unwrap();
        assert_eq!((began.elapsed(), latency.held()), (20 * MS, 0), "{wire:?}");
    }
}

/// Until so many bytes have gone out, it can be taken away as if it had never been.
#[tokio::test(start_paused = true)]
async fn what_was_taken_away_before_its_moment_never_happens() {
    let faults: [fn() -> Fault; 6] = [
        || Fault::go_away(rpcplugin_testkit::Reason::NO_ERROR).after_bytes(100),
        || Fault::raw_bytes(vec![0; 100]).after_bytes(100),
        || Fault::cut().after_bytes(100),
        || Fault::cut().after_messages(3),
        || Fault::reset(rpcplugin_testkit::Reason::CANCEL).after_messages(3),
        || Fault::no_message().after_messages(3),
    ];
    for (number, fault) in faults.iter().enumerate() {
        let server = MEMORY[0].builder().start().await;
        let (reply, mut streams) = Reply::channel();
        server.mount(Stub::method("Split").reply(reply));
        let caller = client(&server).await;
        let fault = server.inject(fault());
        let call = caller.server_stream::<_, echo::EchoReply>(
            "/echo.v1.Echo/Split",
            echo::EchoRequest::default(),
        );
        let calling = tokio::spawn(call.into_future());
        let mut ours = streams.accept().await;
        ours.send(json!({"message": "0"})).await.unwrap();
        let mut stream = calling.await.unwrap().unwrap();
        tokio_stream::StreamExt::next(&mut stream)
            .await
            .unwrap()
            .unwrap();
        fault.remove();
        for _ in 1..20 {
            ours.send(json!({"message": "and some more"}))
                .await
                .unwrap();
            tokio_stream::StreamExt::next(&mut stream)
                .await
                .unwrap()
                .unwrap();
        }
        ours.finish();
        assert!(
            tokio_stream::StreamExt::next(&mut stream).await.is_none(),
            "{number}"
        );
        assert_eq!((fault.hits(), fault.active()), (0, 0), "{number}");
        assert!(server.calls()[0].faults().is_empty(), "{number}");
    }
}

#[tokio::test]
async fn no_number_is_too_large() {
    let server = MockServer::memory().await;
    server.mount(Stub::method("Get").reply(json!({})));
    let caller = server.client().await;
    for fault in [
        Fault::cut().after_bytes(u64::MAX),
        Fault::pings(1).after_bytes(u64::MAX),
        Fault::delay(MS).after_messages(u64::MAX),
        Fault::reset(rpcplugin_testkit::Reason::CANCEL).after_bytes(u64::MAX),
        Fault::bandwidth(u64::MAX),
        Fault::slices(usize::MAX, Duration::ZERO),
        Fault::max_connections(usize::MAX),
        Fault::latency(Duration::ZERO).connection(u64::MAX),
    ] {
        let fault = server.inject(fault);
        caller.call("Get", json!({})).await.unwrap();
        server.client().await.call("Get", json!({})).await.unwrap();
        fault.release(usize::MAX);
        fault.remove();
    }
}
