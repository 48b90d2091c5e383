//! GOAWAY by a fault: its frame, what is answered after it, and when the connection ends.

use crate::ask::{ask, h2};
use crate::faults_stream::{channel, reasons};
use crate::judges::request;
use crate::probe::{ACK, DATA, Frame, GOAWAY, PING, Probe, RST_STREAM, Wire, data, framed, said};
use crate::support::{echo, within};
use echo::parrot_client::ParrotClient;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::{Gate, GoAway};
use rpcplugin_testkit::{Fault, MockServer, Outcome, Reason, Reply, Stub, json};

const SQUAWK: &str = "/echo.v1.Parrot/Squawk";
const SAY: &str = "/echo.v1.Parrot/Say";
const SPLIT: &str = "/echo.v1.Echo/Split";

/// Squawk and Say are held.
async fn start(wire: Wire) -> (MockServer, Gate, Gate) {
    let server = wire.start().await;
    let (reply, squawk) = Reply::gate(json!({"message": "hi"}));
    server.mount(Stub::method("Squawk").reply(reply).times(0..));
    let (reply, say) = Reply::gate(json!({"message": "said"}));
    server.mount(Stub::method("Parrot/Say").reply(reply).times(0..));
    let words = ["a", "b", "c"].map(|word| json!({"message": word}));
    server.mount(Stub::method("Split").reply(Reply::stream(words)).times(0..));
    (server, squawk, say)
}

fn is_farewell(frame: &Frame) -> bool {
    frame.kind == GOAWAY
}

/// The last stream, the code and the debug data of each GOAWAY.
fn farewells(frames: &[Frame]) -> Vec<(u32, u32, String)> {
    let told = |one: &Frame| {
        assert_eq!((one.flags, one.stream), (0, 0));
        let text = String::from_utf8(one.payload[8..].to_vec()).expect("text");
        (one.number(0), one.number(4), text)
    };
    frames
        .iter()
        .filter(|one| is_farewell(one))
        .map(told)
        .collect()
}

#[tokio::test]
async fn one_farewell_goes_out_calls_before_it_are_answered_and_later_ones_are_nobodys() {
    for wire in Wire::ALL {
        for reason in reasons() {
            let (server, gate, _) = start(wire).await;
            let mut probe = Probe::settled(&server).await;
            probe.call(1, SQUAWK, &said("x")).await;
            within(gate.arrived(1)).await;
            let go_away = GoAway::new(reason).debug_data("too_many_pings");
            let fault = server.inject(Fault::go_away(go_away));
            let frames = probe.until(is_farewell).await;
            let told = vec![(1, u32::from(reason), "too_many_pings".to_owned())];
            assert_eq!(farewells(&frames), told);
            for stream in [3, 5] {
                probe.call(stream, SPLIT, &said("x")).await;
            }
            // Both have come by then.
            let frames = probe.settle(1).await;
            assert!(frames.iter().all(|one| one.stream == 0), "{frames:?}");
            gate.release(1);
            let frames = probe.rest().await;
            assert_eq!(data(&frames, 1), framed(&said("hi")), "{wire:?}");
            assert!(
                frames
                    .iter()
                    .all(|one| one.stream <= 1 && one.kind != GOAWAY)
            );
            assert_eq!(server.calls().len(), 1);
            assert_eq!(within(server.calls()[0].ended()).await, Outcome::Ok);
            within(async {
                while fault.active() > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert_eq!((fault.hits(), server.connections()), (1, 0));
        }
    }
}

#[tokio::test]
async fn an_abrupt_farewell_is_the_last_that_is_heard() {
    for wire in Wire::ALL {
        for last in [None, Some(0), Some(7)] {
            let (server, gate, _) = start(wire).await;
            let mut probe = Probe::settled(&server).await;
            probe.call(1, SQUAWK, &said("x")).await;
            within(gate.arrived(1)).await;
            let go_away = GoAway::new(Reason::INTERNAL_ERROR)
                .debug_data("bye")
                .abrupt();
            let go_away = match last {
                Some(last) => go_away.last_stream_id(last),
                None => go_away,
            };
            server.inject(Fault::go_away(go_away));
            let frames = probe.rest().await;
            assert_eq!(
                farewells(&frames),
                [(last.unwrap_or(1), 2, "bye".to_owned())]
            );
            assert!(frames.iter().all(|one| one.stream == 0), "{frames:?}");
            assert_eq!(within(server.calls()[0].ended()).await, Outcome::Dropped);
        }
    }
}

#[tokio::test]
async fn a_graceful_farewell_has_two_steps_between_which_calls_are_taken() {
    for wire in Wire::ALL {
        let (server, gate, _) = start(wire).await;
        let mut probe = Probe::settled(&server).await;
        probe.call(1, SQUAWK, &said("x")).await;
        within(gate.arrived(1)).await;
        probe.acknowledges = false;
        server.inject(Fault::go_away(GoAway::graceful()));
        let frames = probe.until(|one| (one.kind, one.flags) == (PING, 0)).await;
        assert_eq!(farewells(&frames), [((1 << 31) - 1, 0, String::new())]);
        let ping = frames[frames.len() - 1].payload.clone();
        probe.call(3, SPLIT, &said("x")).await;
        let frames = probe.stream(3).await;
        assert_eq!(data(&frames, 3).len(), 24);
        probe.send(PING, ACK, 0, &ping).await;
        let frames = probe.until(is_farewell).await;
        assert_eq!(farewells(&frames), [(3, 0, String::new())]);
        probe.call(5, SPLIT, &said("x")).await;
        assert!(probe.settle(1).await.iter().all(|one| one.stream == 0));
        gate.release(1);
        let frames = probe.rest().await;
        assert_eq!(data(&frames, 1), framed(&said("hi")));
        assert!(frames.iter().all(|one| one.stream <= 1));
        assert_eq!(server.calls().len(), 2);
    }
}

/// The call that the client is told was not processed ends with it, and the other is answered as ever.
#[tokio::test]
async fn calls_above_the_last_stream_get_no_frames_any_more() {
    for wire in Wire::ALL {
        for answered in [true, false] {
            let (server, squawk, say) = start(wire).await;
            let mut probe = Probe::settled(&server).await;
            probe.call(1, SQUAWK, &said("x")).await;
            within(squawk.arrived(1)).await;
            probe.call(3, SAY, &said("x")).await;
            within(say.arrived(1)).await;
            let go_away = GoAway::new(Reason::NO_ERROR).last_stream_id(1);
            server.inject(Fault::go_away(go_away));
            let before = probe.until(is_farewell).await;
            assert_eq!(farewells(&before), [(1, 0, String::new())]);
            if answered {
                say.release(1);
            }
            let mut frames = probe.settle(1).await;
            squawk.release(1);
            frames.extend(probe.rest().await);
            assert_eq!(data(&frames, 1), framed(&said("hi")), "{wire:?}");
            assert!(frames.iter().all(|one| one.stream != 3), "{frames:?}");
            let ended = within(server.calls()[1].ended()).await;
            assert_eq!(ended, Outcome::Dropped);
        }
    }
}

/// The table of header compression is not left behind by what is not sent.
#[tokio::test]
async fn headers_after_a_farewell_are_still_understood() {
    for wire in Wire::ALL {
        let (server, squawk, say) = start(wire).await;
        let requests = h2(&server).await;
        let kept = tokio::spawn({
            let requests = requests.clone();
            async move { ask(&requests, SQUAWK, &said("x"), None).await }
        });
        within(squawk.arrived(1)).await;
        let lost = tokio::spawn(async move { ask(&requests, SAY, &said("x"), None).await });
        within(say.arrived(1)).await;
        let go_away = GoAway::new(Reason::ENHANCE_YOUR_CALM).last_stream_id(1);
        server.inject(Fault::go_away(go_away));
        // Its headers would be the first of the connection.
        say.release(1);
        let lost = within(lost).await.unwrap();
        assert_eq!(lost.reset, Some(Reason::ENHANCE_YOUR_CALM), "{lost:?}");
        squawk.release(1);
        let kept = within(kept).await.unwrap();
        assert_eq!((kept.status, kept.reset), (200, None), "{wire:?} {kept:?}");
        assert_eq!(kept.headers["content-type"], "application/grpc");
        assert_eq!(kept.data, framed(&said("hi")));
        assert_eq!(kept.trailers.expect("trailers")["grpc-status"], "0");
    }
}

#[tokio::test]
async fn a_farewell_comes_in_the_middle_of_the_answer_that_it_was_placed_in() {
    for wire in Wire::ALL {
        let at = [
            (None, 0),
            (Some((0, false)), 0),
            (Some((2, false)), 16),
            (Some((9, true)), 9),
        ];
        for (place, sent) in at {
            let (server, ..) = start(wire).await;
            let mut probe = Probe::settled(&server).await;
            probe.call(1, SPLIT, &said("x")).await;
            probe.stream(1).await;
            let fault = Fault::go_away(Reason::NO_ERROR).method("Split");
            let fault = match place {
                None => fault,
                Some((messages, false)) => fault.after_messages(messages),
                Some((bytes, true)) => fault.after_bytes(bytes),
            };
            let fault = server.inject(fault);
            probe.call(3, SPLIT, &said("x")).await;
            let frames = probe.rest().await;
            let farewell = frames.iter().position(is_farewell).expect("a farewell");
            assert_eq!(
                data(&frames[..farewell], 3).len(),
                sent,
                "{wire:?} {place:?}"
            );
            assert_eq!(data(&frames, 3).len(), 24);
            assert_eq!(farewells(&frames), [(3, 0, String::new())]);
            assert!(frames.iter().all(|one| one.kind != RST_STREAM));
            assert_eq!(fault.hits(), 1);
            let outcomes: Vec<_> = server.calls().iter().map(|call| call.outcome()).collect();
            assert_eq!(outcomes, [Some(Outcome::Ok); 2]);
        }
    }
}

#[tokio::test]
async fn a_connection_that_comes_is_told_to_go_at_once() {
    for wire in Wire::ALL {
        let (server, ..) = start(wire).await;
        let fault = server.inject(Fault::go_away(Reason::NO_ERROR).connection(2));
        let mut first = Probe::settled(&server).await;
        let mut second = Probe::open(&server).await;
        let frames = second.rest().await;
        assert_eq!(farewells(&frames), [(0, 0, String::new())], "{wire:?}");
        assert!(frames.iter().all(|one| one.kind != DATA));
        assert_eq!(fault.hits(), 1);
        first.call(1, SPLIT, &said("x")).await;
        assert_eq!(data(&first.stream(1).await, 1).len(), 24);
    }
}

#[tokio::test]
async fn clients_dial_again_after_a_farewell_and_lose_no_call() {
    for go_away in [GoAway::new(Reason::NO_ERROR), GoAway::graceful()] {
        for own in [true, false] {
            let server = Wire::Tcp.start().await;
            server.mount(
                Stub::method("Squawk")
                    .reply(json!({"message": "hi"}))
                    .times(12),
            );
            server.inject(Fault::go_away(go_away.clone()).nth_call_on_connection(3));
            let client = within(server.client().into_future()).await;
            let mut tonic = ParrotClient::new(channel(&server).await);
            for _ in 0..12 {
                if own {
                    let call = client.call("Squawk", json!({}));
                    within(call.into_future()).await.unwrap();
                } else {
                    within(tonic.squawk(request("x"))).await.unwrap();
                }
            }
            let calls = server.calls();
            let mut ids: Vec<_> = calls.iter().map(|call| call.connection_id()).collect();
            ids.dedup();
            assert_eq!(ids.len(), 4, "{go_away:?} {own}");
        }
    }
}
