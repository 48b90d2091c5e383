//! Bytes that must come through unchanged, whatever happens at the same time.

use crate::net::shaped::harness::{pair, random_bytes};
use crate::net::{Bind, Distortion, Shaped, Stream, Way};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Something that changes no byte, and lets everything pass in time.
fn harmless(dice: &mut fastrand::Rng) -> Distortion {
    let mut own = dice.fork();
    match dice.u8(..4) {
        0 => Distortion::Latency(Box::new(move || Duration::from_millis(own.u64(..30)))),
        1 => Distortion::Bandwidth(dice.u64(1_000_000..50_000_000)),
        2 => Distortion::Slices {
            size: dice.usize(100..9000),
            between: Duration::from_micros(dice.u64(..2000)),
        },
        _ => Distortion::Flip { bytes: 0 },
    }
}

/// Sends this text both ways through both ends, whose tasks read and write at once; gives back what came.
async fn exchange(client: Stream, server: Shaped, text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut client_in, mut client_out) = tokio::io::split(client);
    let (mut server_in, mut server_out) = tokio::io::split(server);
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let mut dice = fastrand::Rng::with_seed(text.len() as u64);
    let client_writes = async {
        client_out.write_all(text).await.expect("it is open");
        client_out.shutdown().await.expect("it is open");
    };
    let server_writes = async {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(dice.usize(1..30_000).min(rest.len()));
            server_out.write_all(piece).await.expect("it is open");
            rest = behind;
        }
        server_out.shutdown().await.expect("it is open");
    };
    let (_, _, to_client_read, to_server_read) = tokio::join!(
        client_writes,
        server_writes,
        client_in.read_to_end(&mut to_client),
        server_in.read_to_end(&mut to_server),
    );
    to_client_read.expect("it ends well");
    to_server_read.expect("it ends well");
    (to_client, to_server)
}

#[tokio::test(start_paused = true)]
async fn a_million_bytes_come_through_several_distortions() {
    for _ in 0..5 {
        let seed = fastrand::u64(..);
        let mut dice = fastrand::Rng::with_seed(seed);
        let (client, server, shape, _) = pair(&Bind::Memory).await;
        let text = random_bytes(&mut dice, 1_000_000);
        for id in 0..8 {
            let way = if dice.bool() { Way::In } else { Way::Out };
            let after = dice.u64(..500_000);
            shape.add(id, way, after, harmless(&mut dice), Box::new(|| None));
        }
        let (to_client, to_server) = exchange(client, server, &text).await;
        assert!(to_client == text, "to the client, seed {seed}");
        assert!(to_server == text, "to the server, seed {seed}");
    }
}

/// Another thread adds and removes all the while, stalls too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shape_can_change_at_any_time() {
    let seed = fastrand::u64(..);
    let mut dice = fastrand::Rng::with_seed(seed);
    let (client, server, shape, _) = pair(&Bind::Tcp).await;
    let text = random_bytes(&mut dice, 1_000_000);
    let changes = tokio::spawn(async move {
        loop {
            for id in 0..3 {
                let way = if dice.bool() { Way::In } else { Way::Out };
                let distortion = match dice.u8(..3) {
                    0 => Distortion::Stall,
                    1 => Distortion::Flip { bytes: 0 },
                    _ => Distortion::Slices {
                        size: dice.usize(500..9000),
                        between: Duration::ZERO,
                    },
                };
                shape.add(id, way, dice.u64(..9000), distortion, Box::new(|| None));
                tokio::task::yield_now().await;
            }
            for id in [1, 0, 2] {
                shape.remove(id);
                tokio::task::yield_now().await;
            }
        }
    });
    let (to_client, to_server) = exchange(client, server, &text).await;
    changes.abort();
    assert!(to_client == text, "to the client, seed {seed}");
    assert!(to_server == text, "to the server, seed {seed}");
}

/// The server's task may be in the middle of a poll when it is added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_after_an_addition_is_distorted() {
    let (mut client, mut server, shape, _) = pair(&Bind::Memory).await;
    let (read, mut reads) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(byte) = server.read_u8().await {
            let _ = read.send(byte);
        }
    });
    for byte in (0..=255).cycle().take(5000) {
        shape.add(
            1,
            Way::In,
            0,
            Distortion::Flip { bytes: 1 },
            Box::new(|| None),
        );
        client.write_u8(byte).await.unwrap();
        assert_eq!(reads.recv().await, Some(!byte));
    }
}
