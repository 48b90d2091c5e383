//! Faults of the byte stream: every byte is counted by a socket that knows no HTTP/2 but what is written here.

use crate::faults_probe::{
    PING, PONG, PREFACE, SQUAWK, Wire, all_that_is_sent, alone, client, conversation, mount,
    read_call, socket, squawk,
};
use crate::support::{Transport, echo, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::InjectedFault;
use rpcplugin_testkit::{Client, Code, Fault, MockServer, Outcome, json};
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::TcpListener;
use tokio_stream::StreamExt as _;

const SOCKETS: [Transport; 2] = [Transport::Tcp, Transport::Unix];

fn plain(transport: Transport) -> Wire {
    Wire {
        transport,
        secure: false,
    }
}

#[tokio::test]
async fn a_connection_is_cut_after_exactly_so_many_bytes() {
    for transport in SOCKETS {
        let server = plain(transport).start().await;
        let whole = all_that_is_sent(&server).await;
        assert_eq!(
            all_that_is_sent(&server).await,
            whole,
            "it is always the same"
        );
        for reset in [false, true] {
            alone(&server).await;
            for after in (0..whole.len()).step_by(3).chain([whole.len() - 1]) {
                let cut = if reset {
                    Fault::cut_by_reset()
                } else {
                    Fault::cut()
                };
                let cut = server.inject(cut.after_bytes(after as u64));
                let mut stream = socket(&server).await;
                // It may be closed before.
                let _ = stream.write_all(&conversation(SQUAWK, b"")).await;
                let (got, ended) = read_call(&mut stream).await;
                let case = format!("{transport:?}, reset: {reset}, after {after}");
                assert_eq!(got, whole[..after], "{case}");
                let by_reset = reset && transport == Transport::Tcp;
                match ended.expect("the connection has ended") {
                    Ok(()) => assert!(!by_reset, "{case}"),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{case}");
                        assert!(by_reset, "{case}");
                    }
                }
                assert_eq!(cut.hits(), 1, "{case}");
                cut.remove();
                alone(&server).await;
            }
        }
        assert_eq!(all_that_is_sent(&server).await, whole);
    }
}

/// Up to the last byte before the cut the server answers; with the next one it is gone.
#[tokio::test]
async fn a_connection_is_cut_after_exactly_so_many_bytes_have_come_in() {
    for transport in SOCKETS {
        for reset in [false, true] {
            let server = plain(transport).start().await;
            let whole = [PREFACE, PING, b"\0"].concat();
            let cut = if reset {
                Fault::cut_by_reset()
            } else {
                Fault::cut()
            };
            let cut = server.inject(cut.incoming().after_bytes(whole.len() as u64));
            let mut stream = socket(&server).await;
            stream.write_all(&whole[..whole.len() - 1]).await.unwrap();
            let mut got = Vec::new();
            while !got.windows(PONG.len()).any(|part| part == PONG) {
                assert!(within(stream.read_buf(&mut got)).await.unwrap() > 0);
            }
            assert_eq!(cut.hits(), 0);
            stream.write_all(b"\0").await.unwrap();
            let ended = within(stream.read_to_end(&mut got)).await;
            let by_reset = reset && transport == Transport::Tcp;
            let kind = ended.map_err(|error| error.kind());
            assert_eq!(kind.is_err(), by_reset, "{transport:?} {reset}: {kind:?}");
            assert_eq!(cut.hits(), 1);
        }
    }
}

#[tokio::test]
async fn exactly_one_byte_is_inverted() {
    for transport in SOCKETS {
        let server = plain(transport).start().await;
        let whole = all_that_is_sent(&server).await;
        // Where the frames begin is how they are told apart here too: their lengths stay.
        let ends = whole.len() - 1;
        for at in [0, 9, ends] {
            for count in 1..=2_usize.min(whole.len() - at) {
                let flip = Fault::flip_bytes(count as u64).after_bytes(at as u64);
                alone(&server).await;
                let flip = server.inject_scoped(flip.times(1));
                let mut stream = socket(&server).await;
                stream.write_all(&conversation(SQUAWK, b"")).await.unwrap();
                let mut got = vec![0; whole.len()];
                within(stream.read_exact(&mut got)).await.unwrap();
                let mut expected = whole.clone();
                expected[at..at + count]
                    .iter_mut()
                    .for_each(|byte| *byte = !*byte);
                assert_eq!(got, expected, "{transport:?} {at} {count}");
                drop(flip);
            }
        }

        // And one that comes in: the last letter of what is said.
        let said = conversation(SQUAWK, b"\x0a\x02ho");
        let flip = Fault::flip_bytes(1)
            .incoming()
            .after_bytes(said.len() as u64 - 1);
        server.inject(flip.at_most(1));
        let mut stream = socket(&server).await;
        stream.write_all(&said).await.unwrap();
        let call = within(server.wait_until(|journal| {
            journal.calls().iter().any(|call| {
                call.requests()
                    .iter()
                    .any(|message| !message.bytes().is_empty())
            })
        }));
        call.await;
        let calls = server.calls();
        let last = calls.last().unwrap();
        // 'o' inverted is no UTF-8.
        assert_eq!(last.requests()[0].bytes().as_ref(), b"\x0a\x02h\x90");
    }
}

/// What is inverted below TLS, TLS finds: in the handshake, or later.
#[tokio::test]
async fn tls_finds_what_was_inverted() {
    for transport in Transport::ALL {
        let wire = Wire {
            transport,
            secure: true,
        };
        let server = wire.start().await;
        let flip = server.inject(Fault::flip_bytes(1).after_bytes(50));
        let error = within(crate::faults_probe::dialling(&server).connect())
            .await
            .unwrap_err();
        assert!(error.is_tls(), "{wire:?}: {error}");
        assert_eq!(flip.hits(), 1);
        flip.remove();

        // A connection that is open.
        let caller = client(&server).await;
        let flip = server.inject(Fault::flip_bytes(1).method("Squawk").once());
        let call = caller.call("Squawk", json!({})).into_future();
        let error = within(call).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable), "{wire:?}: {error}");
        assert_eq!(flip.hits(), 1);
        squawk(&caller).await.unwrap();
    }
}

/// A relay that counts what a server sends: the socket of a client that speaks TLS.
async fn relay(server: &MockServer) -> (String, tokio::task::JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let ahead = socket(server).await;
    let counted = tokio::spawn(async move {
        let (near, _) = listener.accept().await.expect("a client");
        let (mut near_in, mut near_out) = near.into_split();
        let (mut ahead_in, mut ahead_out) = tokio::io::split(ahead);
        let up = tokio::spawn(async move { copy(&mut near_in, &mut ahead_out).await });
        let mut count = 0;
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = ahead_in.read(&mut buffer).await {
            count += read as u64;
            // The client may have gone.
            let _ = near_out.write_all(&buffer[..read]).await;
        }
        up.abort();
        count
    });
    (address, counted)
}

#[tokio::test]
async fn bytes_are_counted_below_tls() {
    for transport in SOCKETS {
        for after in [0, 1, 100, 1500] {
            let wire = Wire {
                transport,
                secure: true,
            };
            let server = wire.start().await;
            let cut = server.inject(Fault::cut().after_bytes(after).once());
            let (address, counted) = relay(&server).await;
            let builder = Client::builder().address(address.as_str());
            let tls = server.client_tls().unwrap().server_name("localhost");
            let connecting = builder.tls(tls).connect();
            // How far it comes does not matter.
            let client = within(connecting).await;
            if let Ok(client) = &client {
                let calls = (0..50).map(|_| client.call("Squawk", json!({})).into_future());
                for call in calls {
                    let _ = within(call).await;
                }
            }
            assert_eq!(within(counted).await.unwrap(), after, "{wire:?}");
            assert_eq!(cut.hits(), 1);
        }
    }
}

/// {transport} × {plaintext, mTLS} × {FIN, RST} × {before any message, …, before the trailers, never}.
#[tokio::test]
async fn a_stream_is_cut_after_exactly_so_many_messages() {
    for wire in Wire::all() {
        for reset in [false, true] {
            let server = wire.start().await;
            for messages in 0..=6_usize {
                let cut = if reset {
                    Fault::cut_by_reset()
                } else {
                    Fault::cut()
                };
                let cut = cut.method("Split").after_messages(messages as u64);
                let cut = server.inject(cut);
                let caller = client(&server).await;
                let case = format!("{wire:?} {reset} {messages}");
                let stream = caller.server_stream::<_, echo::EchoReply>(
                    "/echo.v1.Echo/Split",
                    echo::EchoRequest::default(),
                );
                let got = match within(stream.into_future()).await {
                    Ok(stream) => within(stream.collect::<Vec<_>>()).await,
                    Err(error) => vec![Err(error)],
                };
                let whole: Vec<_> = got.iter().flatten().map(|reply| &reply.message).collect();
                assert_eq!(
                    whole,
                    ["0", "1", "2", "3", "4"][..messages.min(5)],
                    "{case}"
                );
                let call = server.calls().pop().unwrap();
                if messages == 6 {
                    assert_eq!((got.len(), cut.hits()), (5, 0), "{case}");
                    assert_eq!(call.outcome(), Some(Outcome::Ok));
                    assert!(call.faults().is_empty());
                } else {
                    let error = got.last().unwrap().as_ref().unwrap_err();
                    assert_eq!(error.code(), Some(Code::Unavailable), "{case}: {error}");
                    assert_eq!(cut.hits(), 1, "{case}");
                    assert_eq!(within(call.ended()).await, Outcome::Dropped, "{case}");
                    assert_told(&call.faults(), &cut);
                }
                caller.close().await;
                cut.remove();
            }
        }
    }
}

/// The labels of the faults of a call are those of this one.
fn assert_told(faults: &[String], fault: &InjectedFault) {
    let told = format!("{fault:?}");
    let label = told.strip_prefix("InjectedFault(").expect("its text");
    let [only] = faults else {
        panic!("{faults:?}");
    };
    assert!(label.starts_with(&format!("{only}, ")), "{label} {only}");
}

#[tokio::test]
async fn a_stock_tonic_client_gets_exactly_so_many_messages_too() {
    for messages in 0..=5_usize {
        let server = plain(Transport::Tcp).start().await;
        let cut = Fault::cut().method("Split").after_messages(messages as u64);
        server.inject(cut);
        let channel = crate::judges::channel(server.address()).await;
        let mut client = echo::echo_client::EchoClient::new(channel);
        let split = within(client.split(echo::EchoRequest::default())).await;
        let mut stream = split.unwrap().into_inner();
        for n in 0..messages {
            let reply = within(stream.message()).await.unwrap().unwrap();
            assert_eq!(reply.message, n.to_string());
        }
        within(stream.message()).await.unwrap_err();
    }
}

/// What is there when a fault is injected is hit, and what comes; with `connection`, only that.
#[tokio::test]
async fn open_connections_and_those_that_come_are_hit() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let (one, two) = (client(&server).await, client(&server).await);
        squawk(&one).await.unwrap();
        squawk(&two).await.unwrap();
        // It is the second connection that is cut, and nobody dials again.
        let cut = server.inject(Fault::cut().connection(2));
        within(cut.hit()).await;
        squawk(&one).await.unwrap();
        squawk(&two).await.unwrap();
        let ids: Vec<_> = server
            .calls()
            .iter()
            .map(rpcplugin_testkit::Call::connection_id)
            .collect();
        assert_eq!(ids, [1, 2, 1, 3], "{wire:?}");

        // All that are open, and one that comes.
        let stall = server.inject(Fault::stall());
        let third = tokio::spawn(crate::faults_probe::dialling(&server).connect());
        let calls =
            [&one, &two].map(|caller| tokio::spawn(caller.call("Squawk", json!({})).into_future()));
        within(stall.wait_for_hits(3)).await;
        assert!(calls.iter().all(|call| !call.is_finished()) && !third.is_finished());
        assert_eq!(stall.active(), 3);
        stall.remove();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        squawk(&within(third).await.unwrap().unwrap())
            .await
            .unwrap();
        assert_eq!((stall.hits(), stall.active()), (3, 0), "{wire:?}");
    }
}

/// In which order settings are answered and windows are opened depends on the pieces that come in.
fn sorted(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = 9 + (usize::from(bytes[1]) << 8 | usize::from(bytes[2]));
        let (frame, rest) = bytes.split_at(length);
        frames.push(frame);
        bytes = rest;
    }
    frames.sort_by_key(|frame| {
        (
            frame[8],
            if frame[8] == 0 {
                frame[3..].to_vec()
            } else {
                Vec::new()
            },
        )
    });
    frames
}

/// Slow, in pieces, or both: not a byte is lost or in another place.
#[tokio::test]
async fn what_is_slow_arrives_as_it_was_sent() {
    const MS: Duration = Duration::from_millis(1);
    let faults: [fn() -> Fault; 5] = [
        || Fault::slices(1, Duration::ZERO),
        || Fault::slices(7, MS),
        || Fault::bandwidth(1 << 20),
        || Fault::latency(MS),
        || Fault::latency(rpcplugin_testkit::Delay::uniform(Duration::ZERO..=3 * MS)),
    ];
    for transport in SOCKETS {
        let server = plain(transport).builder().seed(11).start().await;
        mount(&server);
        let whole = all_that_is_sent(&server).await;
        let whole = sorted(&whole);
        for (number, fault) in faults.iter().enumerate() {
            let one = server.inject(fault());
            assert_eq!(
                sorted(&all_that_is_sent(&server).await),
                whole,
                "{transport:?} {number}"
            );
            let other = server.inject(Fault::slices(3, Duration::ZERO).outgoing());
            assert_eq!(
                sorted(&all_that_is_sent(&server).await),
                whole,
                "{transport:?} {number}"
            );
            one.remove();
            other.remove();
        }
    }
}
