use crate::net::shape::ROOM;
use crate::net::shaped::harness::{pair, random_bytes, serve, served};
use crate::net::{Bind, Distortion, OnHit, Stream, Way};
use std::{
    io::{ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    sync::oneshot,
    time::{Instant, sleep_until},
};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn latency(by: Duration) -> Distortion {
    Distortion::Latency(Box::new(move || by))
}

async fn read(client: &mut Stream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).await.expect("so many came");
    bytes
}

/// Lets every task do what it can at this instant.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A future that ends when it is told, and a hand on it.
fn hold() -> (oneshot::Sender<()>, oneshot::Receiver<()>, OnHit) {
    let (release, released) = oneshot::channel::<()>();
    let (hit, was_hit) = oneshot::channel();
    let on_hit: OnHit = Box::new(move || {
        let _ = hit.send(());
        Some(Box::pin(async move {
            let _ = released.await;
        }))
    });
    (release, was_hit, on_hit)
}

#[tokio::test(start_paused = true)]
async fn latency_is_exact_and_does_not_add_up() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    server.add(1, Way::Out, 0, latency(ms(100)));
    server.add(1, Way::In, 0, latency(ms(70)));
    let start = Instant::now();
    server.write(b"a");
    client.write_all(b"x").await.unwrap();
    settle().await;
    sleep_until(start + ms(1)).await;
    server.write(b"b");
    client.write_all(b"y").await.unwrap();
    assert_eq!(server.read(start).await, (70, b"x".to_vec()));
    assert_eq!(server.read(start).await, (71, b"y".to_vec()));
    assert_eq!(read(&mut client, 1).await, b"a");
    assert_eq!(start.elapsed(), ms(100));
    assert_eq!(read(&mut client, 1).await, b"b");
    assert_eq!(start.elapsed(), ms(101));
}

#[tokio::test(start_paused = true)]
async fn jitter_keeps_the_order_of_writes() {
    let (mut client, server) = served(&Bind::Memory).await;
    let mut delays = [30, 10, 50].map(ms).into_iter();
    let delay = move || delays.next().unwrap_or_default();
    server.add(1, Way::Out, 0, Distortion::Latency(Box::new(delay)));
    let start = Instant::now();
    for piece in [b"a", b"b", b"c"] {
        server.write(piece);
    }
    assert_eq!(read(&mut client, 2).await, b"ab");
    assert_eq!(start.elapsed(), ms(30));
    assert_eq!(read(&mut client, 1).await, b"c");
    assert_eq!(start.elapsed(), ms(50));
}

#[tokio::test(start_paused = true)]
async fn bandwidth_is_exact_beyond_the_queue() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    server.add(1, Way::Out, 0, Distortion::Bandwidth(100_000));
    server.add(2, Way::In, 0, Distortion::Bandwidth(10_000));
    let start = Instant::now();
    server.write(&[1; 200_000]);
    assert_eq!(read(&mut client, 200_000).await, [1; 200_000]);
    assert_eq!(start.elapsed(), ms(2000));

    let start = Instant::now();
    client.write_all(&[2; 5000]).await.unwrap();
    assert_eq!(server.read_exact(5000).await, [2; 5000]);
    assert_eq!(start.elapsed(), ms(500));
}

#[tokio::test(start_paused = true)]
async fn slices_come_one_by_one() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    let slices = |size, between| Distortion::Slices { size, between };
    server.add(1, Way::Out, 0, slices(2, ms(10)));
    server.add(1, Way::In, 0, slices(2, Duration::ZERO));
    let start = Instant::now();
    server.write(b"abcde");
    client.write_all(b"vwxyz").await.unwrap();
    for piece in [b"vw".as_slice(), b"xy", b"z"] {
        assert_eq!(server.read(start).await, (0, piece.to_vec()));
    }
    for (at, piece) in [(0, b"ab".as_slice()), (10, b"cd"), (20, b"e")] {
        let mut came = [0; 9];
        let count = client.read(&mut came).await.unwrap();
        assert_eq!((&came[..count], start.elapsed()), (piece, ms(at)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fin_comes_after_exactly_so_many_bytes() {
    let text: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for (size, after) in [(1, 5), (7, 0), (7, 7), (7, 10), (100_000, 77_777)] {
        let (mut client, server) = served(&Bind::Memory).await;
        server.write(b"before");
        assert_eq!(read(&mut client, 6).await, b"before");
        let cut = Distortion::Cut { reset: false };
        server.add(1, Way::Out, after as u64, cut);
        for piece in text.chunks(size).take(20) {
            // It may be cut by now.
            let _ = server.writes.send(piece.to_vec());
        }
        let mut came = Vec::new();
        client.read_to_end(&mut came).await.unwrap();
        assert!(came == text[..after], "{} of {after}", came.len());
        assert_eq!(server.error().await, ErrorKind::ConnectionAborted);
    }
}

#[tokio::test]
async fn a_reset_comes_after_exactly_so_many_bytes() {
    for after in [0, 3, 5] {
        let (mut client, server) = served(&Bind::Tcp).await;
        server.add(1, Way::Out, after, Distortion::Cut { reset: true });
        for piece in [b"ab", b"cd", b"ef"] {
            let _ = server.writes.send(piece.to_vec());
        }
        let mut came = Vec::new();
        let error = client.read_to_end(&mut came).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(came, b"abcdef"[..usize::try_from(after).unwrap()]);
        assert_eq!(server.error().await, ErrorKind::ConnectionAborted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_of_what_comes_in_closes_both_ways() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    server.add(1, Way::In, 3, Distortion::Cut { reset: false });
    client.write_all(b"abcde").await.unwrap();
    assert_eq!(server.read_exact(3).await, b"abc");
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    assert_eq!(server.error().await, ErrorKind::ConnectionAborted);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_to_read_is_woken_by_a_cut() {
    for way in [Way::In, Way::Out] {
        let (mut client, server) = served(&Bind::Memory).await;
        settle().await;
        server.add(1, way, 0, Distortion::Cut { reset: false });
        assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
        assert_eq!(server.error().await, ErrorKind::ConnectionAborted);
    }
}

#[tokio::test(start_paused = true)]
async fn flips_stand_where_they_should_and_then_it_goes_straight_again() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    server.add(1, Way::In, 2, Distortion::Flip { bytes: 2 });
    server.add(2, Way::Out, 1, Distortion::Flip { bytes: 1 });
    assert!(server.shape.distorts());
    client.write_all(b"abcde").await.unwrap();
    server.write(b"xyz");
    assert_eq!(server.read_exact(5).await, b"ab\x9c\x9be");
    assert_eq!(read(&mut client, 3).await, b"x\x86z");
    settle().await;
    client.write_all(b"more").await.unwrap();
    assert_eq!(server.read_exact(4).await, b"more");
    assert!(!server.shape.distorts());
}

#[tokio::test(start_paused = true)]
async fn a_stall_stops_everything_and_its_removal_lets_it_go() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    server.add(1, Way::In, 1, Distortion::Stall);
    server.add(1, Way::Out, 1, Distortion::Stall);
    let text = random_bytes(&mut fastrand::Rng::with_seed(1), 200_000);
    server.write(&text);
    let mut sent = 0;
    while let Poll::Ready(count) = {
        settle().await;
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut client).poll_write(&mut cx, &text[sent..])
    } {
        sent += count.unwrap();
    }
    // The queue, and the pipe.
    assert_eq!(sent, 1 + 2 * ROOM);
    assert_eq!(read(&mut client, 1).await, text[..1]);
    assert_eq!(server.read_exact(1).await, text[..1]);
    assert!(server.reads.try_recv().is_err());
    server.shape.remove(1);
    assert!(read(&mut client, text.len() - 1).await == text[1..]);
    client.write_all(&text[sent..]).await.unwrap();
    assert!(server.read_exact(text.len() - 1).await == text[1..]);
    settle().await;
    assert!(!server.shape.distorts());
}

#[tokio::test(start_paused = true)]
async fn a_stall_hides_the_end() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    server.add(1, Way::In, 0, Distortion::Stall);
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    settle().await;
    assert!(server.reads.try_recv().is_err());
    server.shape.remove(1);
    let start = Instant::now();
    assert_eq!(server.read(start).await, (0, b"last".to_vec()));
    assert_eq!(server.read(start).await, (0, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_is_awaited_holds_one_way_and_not_the_other() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    let (release, was_hit, on_hit) = hold();
    server.shape.add(1, Way::Out, 1, latency(ms(5)), on_hit);
    let start = Instant::now();
    server.write(b"abc");
    was_hit.await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read(start).await.1, b"x");
    sleep_until(start + ms(50)).await;
    assert_eq!(read(&mut client, 1).await, b"a");
    let mut scratch = [0; 9];
    let mut nothing = ReadBuf::new(&mut scratch);
    let mut cx = Context::from_waker(Waker::noop());
    let came = Pin::new(&mut client).poll_read(&mut cx, &mut nothing);
    assert!(came.is_pending());
    release.send(()).unwrap();
    assert_eq!(read(&mut client, 2).await, b"bc");
    assert_eq!(start.elapsed(), ms(55));
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_held_and_a_removal_lets_go() {
    let (mut client, mut server) = served(&Bind::Memory).await;
    let (mut release, was_hit, on_hit) = hold();
    let cut = Distortion::Cut { reset: false };
    server.shape.add(1, Way::In, 2, cut, on_hit);
    client.write_all(b"abc").await.unwrap();
    was_hit.await.unwrap();
    settle().await;
    assert_eq!(server.read_exact(2).await, b"ab");
    assert!(server.reads.try_recv().is_err() && !release.is_closed());
    server.shape.remove(1);
    release.closed().await;
    assert_eq!(server.read_exact(1).await, b"c");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_what_is_late() {
    let (mut client, server) = served(&Bind::Memory).await;
    server.add(1, Way::Out, 0, latency(ms(100)));
    let start = Instant::now();
    server.write(b"abc");
    drop(server.writes);
    let mut came = Vec::new();
    client.read_to_end(&mut came).await.unwrap();
    assert_eq!(
        (came.as_slice(), start.elapsed()),
        (b"abc".as_slice(), ms(100))
    );
}

#[tokio::test(start_paused = true)]
async fn all_buffers_of_a_write_are_one_piece() {
    let (mut client, mut shaped, shape, _cut) = pair(&Bind::Memory).await;
    shape.add(1, Way::Out, 0, latency(ms(1)), Box::new(|| None));
    assert!(shaped.is_write_vectored());
    let bufs = [b"ab".as_slice(), b"", b"cd"].map(IoSlice::new);
    assert_eq!(shaped.write_vectored(&bufs).await.unwrap(), 4);
    shaped.shutdown().await.unwrap();
    assert_eq!(read(&mut client, 4).await, b"abcd");
}

#[tokio::test(start_paused = true)]
async fn a_killed_connection_does_not_wait_for_a_stall() {
    let (_client, shaped, shape, cut) = pair(&Bind::Memory).await;
    let server = serve(shaped, shape.clone());
    server.add(1, Way::In, 0, Distortion::Stall);
    settle().await;
    cut.close(false);
    // It closes what its task waits on, which is not woken by that; in the mock the task waits for its wishes too.
    shape.remove(1);
    assert_eq!(server.error().await, ErrorKind::ConnectionAborted);
    shape.add(2, Way::In, 0, Distortion::Stall, Box::new(|| None));
    assert!(shape.lock().into.is_idle(), "the connection is over");
}
