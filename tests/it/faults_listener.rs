//! Faults of the listener: connections that are not to be had, not served, or not for everybody.

use crate::faults_probe::{
    Io, PREFACE, SQUAWK, Wire, alone, client, conversation, dialling, read_call, socket, squawk,
    try_socket,
};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Client, Fault, MockServer, json};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SOCKETS: [Transport; 2] = [Transport::Tcp, Transport::Unix];

fn plaintext(server: &MockServer) -> String {
    server.address().to_string().replace("https://", "")
}

/// One dial by the client under test, and no other.
async fn dial(server: &MockServer) -> Result<Client, rpcplugin_testkit::Error> {
    within(dialling(server).connect()).await
}

async fn assert_refused(server: &MockServer) {
    let error = dial(server).await.expect_err("nobody listens");
    let source =
        std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    let kind = source.map(io::Error::kind);
    assert_eq!(kind, Some(io::ErrorKind::ConnectionRefused), "{error:?}");
    let squatter = MockServer::builder().address(plaintext(server));
    let error = squatter.try_start().await.expect_err("it is held");
    assert!(error.is_bind(), "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_keeps_its_address_and_its_connections() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let caller = client(&server).await;
        let one = server.inject(Fault::refuse());
        let two = server.inject_scoped(Fault::refuse().times(1));
        assert_eq!((one.hits(), two.hits(), one.active()), (1, 1, 0));
        assert_refused(&server).await;
        if wire.transport != Transport::Memory {
            let error = try_socket(server.address()).await.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{wire:?}");
        }
        squawk(&caller).await.unwrap();
        one.remove();
        one.remove();
        one.clone().remove();
        assert_refused(&server).await;
        drop(two);
        squawk(&client(&server).await).await.unwrap();
        squawk(&caller).await.unwrap();
        assert_eq!((one.hits(), server.calls().len()), (1, 3), "{wire:?}");
    }
}

/// {what is done to the server meanwhile} × {what is taken away first}.
#[tokio::test]
async fn a_server_that_refuses_can_die_and_come_back() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let refusal = server.inject(Fault::refuse());
        within(server.restart()).await;
        assert!(server.is_up());
        assert_refused(&server).await;
        within(server.kill().into_future()).await;
        assert_refused(&server).await;
        within(server.restart()).await;
        refusal.remove();
        squawk(&client(&server).await).await.unwrap();

        let refusal = server.inject(Fault::refuse());
        within(server.shutdown(std::time::Duration::from_secs(60))).await;
        refusal.remove();
        assert!(!server.is_up());
        assert_refused(&server).await;
        let refusal = server.inject(Fault::refuse());
        within(server.restart()).await;
        assert_refused(&server).await;
        refusal.remove();
        squawk(&client(&server).await).await.unwrap();

        let refusal = server.inject(Fault::refuse());
        let address = plaintext(&server);
        drop(server);
        refusal.remove();
        if wire.transport == Transport::Tcp {
            let next = MockServer::builder().address(&address).try_start().await;
            assert_eq!(next.unwrap().address().to_string(), address);
        }
    }
}

/// An end, and no reset, though nobody read what was sent.
#[tokio::test]
async fn a_connection_is_accepted_and_closed() {
    for transport in SOCKETS {
        for secure in [false, true] {
            let server = Wire { transport, secure }.start().await;
            let close = server.inject(Fault::close_on_accept().connection(2..=3));
            squawk(&client(&server).await).await.unwrap();
            for words in [&b""[..], PREFACE] {
                let mut stream = socket(&server).await;
                // It may be closed already.
                let _ = stream.write_all(words).await;
                let mut got = Vec::new();
                let read = within(stream.read_to_end(&mut got)).await;
                if words.is_empty() {
                    read.unwrap();
                }
                assert_eq!(got, [0_u8; 0]);
            }
            squawk(&client(&server).await).await.unwrap();
            within(close.wait_for_hits(2)).await;
            let ids: Vec<_> = server
                .calls()
                .iter()
                .map(rpcplugin_testkit::Call::connection_id)
                .collect();
            assert_eq!((ids, close.hits()), (vec![1, 4], 2));
        }
    }
}

#[tokio::test]
async fn a_client_dials_until_it_is_served() {
    for wire in Wire::all() {
        let server = wire.start().await;
        server.inject(Fault::close_on_accept().at_most(3).times(3));
        for _ in 0..3 {
            let error = dial(&server).await.unwrap_err();
            assert!(error.is_connect(), "{wire:?}: {error}");
        }
        squawk(&dial(&server).await.unwrap()).await.unwrap();
        within(server.verify()).await.unwrap();
    }
}

/// Nothing comes, not even settings; then all of it.
#[tokio::test]
async fn a_silent_server_reads_and_writes_nothing_until_it_does() {
    for transport in SOCKETS {
        let server = Wire {
            transport,
            secure: false,
        }
        .start()
        .await;
        let silence = server.inject(Fault::silence());
        let mut stream = socket(&server).await;
        stream.write_all(&conversation(SQUAWK, b"")).await.unwrap();
        within(silence.hit()).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let mut buffer = [0; 1];
        tokio::select! {
            biased;
            read = stream.read(&mut buffer) => panic!("{read:?}"),
            () = std::future::ready(()) => {}
        }
        assert_eq!((silence.active(), server.calls().len()), (1, 0));
        silence.remove();
        let (_, ended) = read_call(&mut stream).await;
        assert!(ended.is_none(), "{ended:?}");
        assert_eq!((silence.active(), server.calls().len()), (0, 1));
    }
}

#[tokio::test]
async fn servers_with_silent_connections_can_be_killed_shut_down_and_dropped() {
    for wire in Wire::all() {
        let mut faults: Vec<fn() -> Fault> = vec![
            Fault::silence,
            || Fault::slow_accept(std::time::Duration::MAX),
            || Fault::close_on_accept().held(),
        ];
        if wire.secure {
            faults.extend([Fault::tls_stall as fn() -> Fault, || {
                Fault::tls_failure().held()
            }]);
        }
        for fault in faults {
            let server = wire.start().await;
            let fault = server.inject(fault());
            for way in 0..3 {
                let connecting = tokio::spawn(dialling(&server).connect());
                within(fault.hit()).await;
                match way {
                    0 => within(server.kill().into_future()).await,
                    1 => within(server.shutdown(std::time::Duration::from_secs(60))).await,
                    _ => break,
                }
                within(connecting).await.unwrap().unwrap_err();
                assert_eq!(
                    (server.connections(), fault.active(), fault.held()),
                    (0, 0, 0)
                );
                within(server.restart()).await;
            }
            drop(server);
            within(async {
                while fault.active() > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
}

/// A client's hello, as far as anybody looks: a handshake record of TLS 1.2.
const HELLO: &[u8] = &[22, 3, 1, 0, 2, 1, 0];

async fn alert(stream: &mut Box<dyn Io>) -> Vec<u8> {
    let mut got = Vec::new();
    within(stream.read_to_end(&mut got))
        .await
        .expect("an end, and no reset");
    got
}

#[tokio::test]
async fn a_tls_handshake_fails_with_the_alert() {
    for transport in Transport::ALL {
        let wire = Wire {
            transport,
            secure: true,
        };
        let server = wire.start().await;
        let failure = server.inject(Fault::tls_failure().at_most(2));
        let label = format!("{failure:?}");
        if transport == Transport::Memory {
            dial(&server).await.unwrap_err();
        } else {
            let mut stream = socket(&server).await;
            within(failure.hit()).await;
            stream.write_all(HELLO).await.unwrap();
            // An alert (21) of TLS 1.2 (3.3), two bytes: fatal (2), handshake_failure (40).
            assert_eq!(alert(&mut stream).await, [21, 3, 3, 0, 2, 2, 40]);
        }
        // It is recorded before the client can know.
        assert_eq!(server.journal().refused().len(), 1, "{transport:?}");
        let error = dial(&server).await.unwrap_err();
        assert!(error.is_tls() && error.is_connect(), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "no TLS with {}: the server has no TLS in common with this client (alert `handshake_failure`)",
                server.address()
            )
        );
        let refused = server.journal().refused();
        assert_eq!(refused.len(), 2);
        for (number, refused) in refused.iter().enumerate() {
            assert_eq!(refused.connection_id(), number as u64 + 1);
            assert!(label.contains(refused.reason()), "{label} {refused}");
            assert!(
                refused
                    .reason()
                    .starts_with("Fault::tls_failure (tests/it/faults_listener.rs:")
            );
            assert!(refused.client_certificate().is_none());
        }
        squawk(&client(&server).await).await.unwrap();
        assert_eq!(failure.hits(), 2);
    }
}

#[tokio::test]
async fn a_tls_handshake_stops_and_goes_on() {
    for transport in Transport::ALL {
        let server = Wire {
            transport,
            secure: true,
        }
        .start()
        .await;
        let stall = server.inject(Fault::tls_stall());
        let connecting = tokio::spawn(dialling(&server).connect());
        within(stall.hit()).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!connecting.is_finished());
        stall.remove();
        squawk(&within(connecting).await.unwrap().unwrap())
            .await
            .unwrap();
        assert_eq!((stall.active(), stall.hits()), (0, 1));
        assert!(server.journal().refused().is_empty());
    }
}

#[tokio::test]
async fn there_is_room_for_so_many_connections() {
    for wire in Wire::all() {
        for most in [0, 1, 3] {
            let server = wire.start().await;
            let full = server.inject(Fault::max_connections(most));
            let mut clients = Vec::new();
            for _ in 0..most {
                clients.push(dial(&server).await.unwrap());
            }
            assert_eq!(full.hits(), 0);
            let error = dial(&server).await.unwrap_err();
            assert!(error.is_connect(), "{wire:?} {most}: {error}");
            assert_eq!(full.hits(), 1, "{wire:?} {most}");
            if let Some(last) = clients.pop() {
                for client in &clients {
                    squawk(client).await.unwrap();
                }
                within(last.close()).await;
                drop(last);
                within(async {
                    while server.connections() >= most {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
                clients.push(dial(&server).await.unwrap());
                dial(&server).await.unwrap_err();
                assert_eq!(full.hits(), 2);
            }
            full.remove();
            squawk(&dial(&server).await.unwrap()).await.unwrap();
            drop(clients);
            alone(&server).await;
            assert_eq!(full.active(), 0);
        }
    }
}

#[tokio::test]
async fn several_admissions_happen_one_after_another() {
    let wire = Wire {
        transport: Transport::Tcp,
        secure: true,
    };
    let server = wire.start().await;
    let silence = server.inject(Fault::silence());
    let close = server.inject(Fault::close_on_accept().once());
    let after = server.inject(Fault::tls_failure());
    let connecting = tokio::spawn(dialling(&server).connect());
    within(silence.hit()).await;
    assert_eq!((close.hits(), after.hits()), (0, 0));
    silence.remove();
    within(connecting).await.unwrap().unwrap_err();
    // What comes after an end does not happen.
    assert_eq!((close.hits(), after.hits()), (1, 0));
    dial(&server).await.unwrap_err();
    assert_eq!((close.hits(), after.hits()), (1, 1));
}

/// The client of the crate under test, told to go on: it is served when there is somebody to serve it.
#[tokio::test]
async fn a_waiting_client_is_served_after_the_refusal() {
    for wire in Wire::all() {
        let server = wire.start().await;
        let caller = client(&server).await;
        let refusal = server.inject(Fault::refuse());
        let cut = server.inject(Fault::cut().once());
        within(cut.hit()).await;
        let call = caller.call("Squawk", json!({})).wait_for_ready();
        let call = tokio::spawn(call.into_future());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!call.is_finished());
        refusal.remove();
        within(call).await.unwrap().unwrap();
    }
}
