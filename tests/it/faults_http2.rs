//! Faults of HTTP/2 connections, to the frame: SETTINGS, windows, PING, and bytes that are no frames.

use crate::ask::{ask, h2};
use crate::probe::{
    ACK, DATA, Frame, HEADERS, PING, Probe, SETTINGS, WINDOW_UPDATE, Wire, data, framed, said,
};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Code, Fault, MockServer, Reply, Stub, json};
use std::{collections::HashMap, future::poll_fn, pin::pin};

const SQUAWK: &str = "/echo.v1.Parrot/Squawk";
const JOIN: &str = "/echo.v1.Echo/Join";

/// The setting `MAX_CONCURRENT_STREAMS`.
const MOST: u16 = 3;

async fn start(wire: Wire) -> MockServer {
    let server = wire.start().await;
    server.mount(
        Stub::method("Squawk")
            .reply(json!({"message": "hi"}))
            .times(0..),
    );
    server.mount(
        Stub::method("Join")
            .reply(json!({"message": "joined"}))
            .times(0..),
    );
    server
}

fn is_settings(frame: &Frame) -> bool {
    (frame.kind, frame.flags) == (SETTINGS, 0)
}

fn is_acknowledgement(frame: &Frame) -> bool {
    (frame.kind, frame.flags) == (SETTINGS, ACK)
}

/// All settings that there are among these, one map for each frame.
fn settings(frames: &[Frame]) -> Vec<HashMap<u16, u32>> {
    frames
        .iter()
        .filter(|one| is_settings(one))
        .map(Frame::settings)
        .collect()
}

/// A call on this stream is answered as if nothing were wrong.
async fn assert_served(probe: &mut Probe, stream: u32) {
    probe.call(stream, SQUAWK, &said("x")).await;
    let frames = probe.stream(stream).await;
    assert_eq!(data(&frames, stream), framed(&said("hi")));
}

#[tokio::test]
async fn the_most_streams_are_in_the_first_settings_and_in_new_ones_on_open_connections() {
    for wire in Wire::ALL {
        let server = start(wire).await;
        let mut open = Probe::settled(&server).await;
        let before = open.settle(1).await;
        assert!(settings(&before).iter().all(|one| !one.contains_key(&MOST)));
        let fault = server.inject(Fault::max_concurrent_streams(3));
        let told = open.until(is_settings).await;
        assert_eq!(settings(&told)[0][&MOST], 3);
        assert_eq!(fault.hits(), 1);

        let mut fresh = Probe::open(&server).await;
        let frames = fresh.settle(1).await;
        let told: Vec<_> = settings(&frames)
            .iter()
            .map(|one| one.get(&MOST).copied())
            .collect();
        assert_eq!(told, [Some(3)], "{wire:?}");
        assert_eq!(frames[0].kind, SETTINGS);
        // It is said, and nothing more: streams beyond it are served.
        for stream in [1, 3, 5, 7, 9] {
            fresh.headers(stream, SQUAWK, false).await;
        }
        for stream in [1, 3, 5, 7, 9] {
            fresh.send(DATA, 1, stream, &framed(&said("x"))).await;
            fresh.stream(stream).await;
        }
        // What was said stays said; a later fault says something else.
        fault.remove();
        assert_eq!(settings(&fresh.settle(2).await), []);
        server.inject(Fault::max_concurrent_streams(1));
        assert_eq!(settings(&fresh.until(is_settings).await)[0][&MOST], 1);
    }
}

#[tokio::test]
async fn new_settings_wait_until_the_first_are_acknowledged() {
    let server = start(Wire::Tcp).await;
    let mut probe = Probe::open(&server).await;
    probe.acknowledges = false;
    probe.until(is_settings).await;
    server.inject(Fault::max_concurrent_streams(2));
    assert_eq!(settings(&probe.settle(1).await), []);
    assert_served(&mut probe, 1).await;
    probe.send(SETTINGS, ACK, 0, &[]).await;
    let frames = probe.until(is_settings).await;
    assert_eq!(settings(&frames)[0][&MOST], 2);
}

#[tokio::test]
async fn settings_and_their_acknowledgement_are_withheld_until_the_fault_is_removed() {
    for wire in Wire::ALL {
        let server = start(wire).await;
        let first = server.inject(Fault::withhold_settings());
        let second = server.inject(Fault::withhold_settings());
        let mut probe = Probe::open(&server).await;
        let frames = probe.settle(1).await;
        assert!(frames.iter().all(|one| one.kind != SETTINGS), "{frames:?}");
        // A client that does not wait for them is served.
        assert_served(&mut probe, 1).await;
        assert_eq!((first.hits(), second.hits()), (1, 1));
        first.remove();
        assert!(probe.settle(2).await.iter().all(|one| one.kind != SETTINGS));
        second.remove();
        let frames = probe.until(is_acknowledgement).await;
        assert_eq!(settings(&frames).len(), 1);
        assert_eq!((first.active(), second.active()), (0, 0));
        assert_served(&mut probe, 3).await;
    }
}

/// How many bytes of one message can be sent before the windows are used up, and what opens them again.
async fn fill(probe: &mut Probe, stream: u32, most: usize, step: usize) {
    let mut sent = 0;
    while sent < most {
        let piece = vec![0; step.min(most - sent)];
        probe.send(DATA, 0, stream, &piece).await;
        sent += piece.len();
    }
}

#[tokio::test]
async fn no_window_is_opened_until_the_fault_is_removed() {
    for wire in [Wire::Tcp, Wire::Mutual] {
        for before_connecting in [true, false] {
            let server = start(wire).await;
            let inject = || server.inject(Fault::withhold_window_updates());
            let early = before_connecting.then(inject);
            let mut probe = Probe::settled(&server).await;
            probe.settle(1).await;
            let fault = early.unwrap_or_else(inject);
            within(fault.hit()).await;
            // Of the connection 65,535 from the start, later all there is: of the stream then 1 MiB.
            let most = if before_connecting { 65_535 } else { 1 << 20 };
            probe.headers(1, JOIN, false).await;
            // One message that goes on: its prefix is among the bytes.
            let whole = framed(&vec![0; 2 << 20]);
            probe.send(DATA, 0, 1, &whole[..5]).await;
            fill(&mut probe, 1, most - 5, 16_384).await;
            let frames = probe.settle(2).await;
            assert!(
                frames.iter().all(|one| one.kind != WINDOW_UPDATE),
                "{frames:?}"
            );
            fault.remove();
            let update = probe
                .until(|one| {
                    one.kind == WINDOW_UPDATE && one.stream == u32::from(!before_connecting)
                })
                .await;
            let opened: u64 = update
                .iter()
                .filter(|one| one.kind == WINDOW_UPDATE)
                .map(|one| u64::from(one.number(0)))
                .sum();
            assert!(opened > 0);
            assert_eq!(fault.active(), 0);
        }
    }
}

/// What a client may send is what it was told, to the byte.
#[tokio::test]
async fn a_client_stops_after_65_535_bytes_and_goes_on_when_the_fault_is_removed() {
    for wire in [Wire::Tcp, Wire::Mutual] {
        let server = start(wire).await;
        let fault = server.inject(Fault::withhold_window_updates());
        let requests = h2(&server).await;
        // Its answer comes behind the first frames. Its request has used up some of the window.
        ask(&requests, SQUAWK, &said("x"), None).await;
        let used = framed(&said("x")).len();
        let mut ready = within(requests.clone().ready()).await.unwrap();
        let request = crate::raw::grpc(JOIN).body(()).unwrap();
        let (response, mut stream) = ready.send_request(request, false).unwrap();
        let whole = framed(&said(&"x".repeat(100_000)));
        let (mut sent, mut response) = (0, pin!(response));
        while sent < whole.len() {
            stream.reserve_capacity(whole.len() - sent);
            if stream.capacity() == 0 && sent == 65_535 - used {
                within(server.wait_until(|journal| journal.len() == 2)).await;
                fault.remove();
            }
            if stream.capacity() == 0 {
                let granted = within(poll_fn(|cx| stream.poll_capacity(cx))).await;
                granted.unwrap().unwrap();
            }
            let piece = stream.capacity().min(whole.len() - sent);
            assert!(fault.active() == 0 || sent + piece <= 65_535 - used);
            stream
                .send_data(whole[sent..sent + piece].to_vec().into(), false)
                .unwrap();
            sent += piece;
        }
        stream.send_data(bytes::Bytes::new(), true).unwrap();
        assert_eq!(within(response.as_mut()).await.unwrap().status(), 200);
        assert_eq!((fault.hits(), fault.active()), (1, 0));
    }
}

#[tokio::test]
async fn pings_are_not_answered_until_the_fault_is_removed() {
    for wire in Wire::ALL {
        let server = start(wire).await;
        let mut probe = Probe::settled(&server).await;
        let fault = server.inject(Fault::unanswered_pings());
        for number in 1..=3_u8 {
            probe.send(PING, 0, 0, &[number; 8]).await;
            let stream = u32::from(number) * 2 - 1;
            probe.call(stream, SQUAWK, &said("x")).await;
            let frames = probe
                .until(|one| one.stream == stream && one.ends_stream())
                .await;
            assert!(frames.iter().all(|one| one.kind != PING), "{frames:?}");
        }
        fault.remove();
        let pongs = probe
            .until(|one| (one.kind, one.flags) == (PING, ACK) && one.payload == [3; 8])
            .await;
        let pongs: Vec<_> = pongs.iter().filter(|one| one.kind == PING).collect();
        assert_eq!(
            pongs.iter().map(|one| one.payload[0]).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!((fault.hits(), fault.active()), (1, 0));
        probe.settle(9).await;
    }
}

fn numbered(frames: &[Frame]) -> Vec<u64> {
    let pings = frames
        .iter()
        .filter(|one| (one.kind, one.flags) == (PING, 0));
    let number = |one: &Frame| u64::from_be_bytes(one.payload[..].try_into().expect("eight bytes"));
    pings.map(number).collect()
}

#[tokio::test]
async fn exactly_so_many_pings_are_sent_at_once_numbered_from_one() {
    for wire in Wire::ALL {
        for count in [0, 1, 1000] {
            let server = start(wire).await;
            let mut probe = Probe::settled(&server).await;
            let fault = server.inject(Fault::pings(count).method("Squawk").once());
            probe.call(1, SQUAWK, &said("x")).await;
            let frames = probe
                .until(|one| one.stream == 1 && one.ends_stream())
                .await;
            assert_eq!(numbered(&frames), (1..=count).collect::<Vec<_>>());
            assert_eq!(fault.hits(), 1);
            assert_served(&mut probe, 3).await;
        }
        // Without a call: at once on those that are open, and on those that come.
        let server = start(wire).await;
        let mut open = Probe::settled(&server).await;
        server.inject(Fault::pings(2));
        let mut fresh = Probe::open(&server).await;
        for probe in [&mut open, &mut fresh] {
            let frames = probe
                .until(|one| one.kind == PING && one.payload[7] == 2)
                .await;
            assert_eq!(numbered(&frames), [1, 2]);
        }
    }
}

#[tokio::test]
async fn bytes_go_out_as_they_are_between_two_frames_where_they_were_placed() {
    let unknown = [&[0, 0, 1, 0xEE, 7, 0, 0, 0, 0], &b"?"[..]].concat();
    let odd = Frame {
        kind: 0xEE,
        flags: 7,
        stream: 0,
        payload: b"?".to_vec(),
    };
    for wire in Wire::ALL {
        let server = start(wire).await;
        let words = ["a", "b", "c"].map(|word| json!({"message": word}));
        server.mount(Stub::method("Split").reply(Reply::stream(words)).times(0..));
        let mut probe = Probe::settled(&server).await;
        // How many bytes of DATA come before, and whether the headers do.
        let cases = [
            (Fault::raw_bytes(unknown.clone()), false, 0),
            (Fault::raw_bytes(unknown.clone()).after_messages(0), true, 0),
            (
                Fault::raw_bytes(unknown.clone()).after_messages(2),
                true,
                16,
            ),
            (Fault::raw_bytes(unknown.clone()).after_bytes(9), true, 9),
            (Fault::raw_bytes(unknown.clone()).after_bytes(24), true, 24),
        ];
        for (number, (fault, headers, sent)) in (0..).zip(cases) {
            let stream = 1 + 2 * number;
            let fault = server.inject(fault.method("Split"));
            probe.call(stream, "/echo.v1.Echo/Split", &said("x")).await;
            let frames = probe
                .until(|one| one.stream == stream && one.ends_stream())
                .await;
            let place = frames
                .iter()
                .position(|one| *one == odd)
                .expect("it went out");
            assert_eq!(
                data(&frames[..place], stream).len(),
                sent,
                "{wire:?} {number}"
            );
            let before = &frames[..place];
            assert_eq!(
                before.iter().any(|one| one.kind == HEADERS),
                headers,
                "{number}"
            );
            assert_eq!(data(&frames, stream).len(), 24);
            assert_eq!(fault.hits(), 1);
            fault.remove();
        }
    }
}

/// Of a connection all bytes count that the mock has sent since the fault was injected.
#[tokio::test]
async fn bytes_of_a_connection_are_counted_from_the_injection_on() {
    for wire in Wire::ALL {
        let server = start(wire).await;
        let mut probe = Probe::settled(&server).await;
        probe.settle(1).await;
        // A PING's answer has 17.
        let fault = server.inject(Fault::pings(1).after_bytes(51));
        let removed = server.inject(Fault::pings(7).after_bytes(34));
        assert!(numbered(&probe.settle(2).await).is_empty());
        removed.remove();
        assert!(numbered(&probe.settle(3).await).is_empty());
        assert_eq!(fault.hits(), 0);
        probe.settle(4).await;
        let frames = probe.until(|one| (one.kind, one.flags) == (PING, 0)).await;
        assert_eq!(numbered(&frames), [1]);
        assert_eq!((fault.hits(), removed.hits()), (1, 0));
    }
}

#[tokio::test]
async fn an_invalid_frame_is_exactly_that_and_breaks_clients() {
    for wire in Wire::ALL {
        let server = start(wire).await;
        let mut probe = Probe::settled(&server).await;
        let fault = server.inject(Fault::invalid_frame().method("Squawk"));
        probe.call(1, SQUAWK, &said("x")).await;
        let frames = probe.until(|one| one.kind == DATA && one.stream == 0).await;
        let invalid = &frames[frames.len() - 1];
        assert_eq!((invalid.flags, &invalid.payload[..]), (0, &[0][..]));
        let client = within(server.client().into_future()).await;
        let error = within(client.call("Squawk", json!({})).into_future())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
        fault.remove();
        let nonsense = server.inject(Fault::raw_bytes(vec![0xFF; 64]).method("Squawk"));
        let call = client.call("Squawk", json!({})).wait_for_ready();
        let error = within(call.into_future()).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
        nonsense.remove();
        let call = client.call("Squawk", json!({})).wait_for_ready();
        within(call.into_future()).await.unwrap();
    }
}

/// What is over with a frame has its hand on nothing afterwards, whatever the connection goes through.
#[tokio::test]
async fn what_happens_at_once_leaves_nothing_behind() {
    let server = MockServer::start().await;
    server.mount(Stub::any().reply(json!({})));
    let pings = server.inject(Fault::pings(1).method("Get"));
    let flips = server.inject(Fault::flip_bytes(0).method("Get"));
    let client = within(server.client().into_future()).await;
    for _ in 0..100 {
        let call = client.call("Get", json!({}));
        within(call.into_future()).await.unwrap();
    }
    assert_eq!((pings.hits(), pings.active()), (100, 0));
    assert_eq!((flips.hits(), flips.active()), (100, 0));
}
