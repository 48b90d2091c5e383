//! Faults of HTTP/2 streams, to the frame and the byte: resets, padding, and the size of frames.

use crate::faults_target::Target;
use crate::judges::request;
use crate::probe::{DATA, Frame, HEADERS, Probe, RST_STREAM, Wire, data, framed, said};
use crate::support::{echo, within};
use echo::parrot_client::ParrotClient;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Client, Code, Fault, MockServer, Outcome, Reason, client::RetryPolicy};
use tonic::transport::Channel;

/// Where the answer to the streaming target is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Headers,
    MidMessage,
    /// After so many messages.
    Messages(u64),
    /// In the middle of the message after so many.
    MidMessageAfter(u64),
    /// After so many bytes.
    Bytes(u64),
    Trailers,
}

impl At {
    fn fault(self, reason: Reason) -> Fault {
        match self {
            Self::Start => Fault::reset(reason),
            Self::Headers => Fault::reset_after_headers(reason),
            Self::MidMessage => Fault::reset_mid_message(reason),
            Self::Messages(n) => Fault::reset(reason).after_messages(n),
            Self::MidMessageAfter(n) => Fault::reset_mid_message(reason).after_messages(n),
            Self::Bytes(n) => Fault::reset(reason).after_bytes(n),
            Self::Trailers => Fault::reset_before_trailers(reason),
        }
    }

    /// How many bytes of an answer come before, where each message takes `one`. `None`, when it never comes so far.
    fn sent(self, one: u64, messages: u64) -> Option<u64> {
        let sent = match self {
            Self::Start | Self::Headers => 0,
            Self::MidMessage => one / 2,
            Self::Messages(n) => n * one,
            Self::MidMessageAfter(n) => n * one + one / 2,
            Self::Bytes(n) => n,
            Self::Trailers => messages * one,
        };
        let comes = match self {
            Self::MidMessage => messages > 0,
            Self::Messages(n) => n <= messages,
            Self::MidMessageAfter(n) => n < messages,
            Self::Bytes(n) => n <= messages * one,
            Self::Start | Self::Headers | Self::Trailers => true,
        };
        comes.then_some(sent)
    }
}

/// All places, for answers of so many bytes.
fn places(bytes: u64) -> Vec<At> {
    let mut all = vec![At::Start, At::Headers, At::MidMessage, At::Trailers];
    all.extend((0..=3).map(At::Messages));
    all.extend((0..=3).map(At::MidMessageAfter));
    all.extend((0..=bytes + 1).map(At::Bytes));
    all
}

/// Every code that there is, and one that there is not.
pub(crate) fn reasons() -> impl Iterator<Item = Reason> + Clone {
    (0..=13).chain([0xDEAD]).map(Reason::from)
}

#[track_caller]
fn assert_reset(frames: &[Frame], stream: u32, at: At, reason: Reason, sent: &[u8]) {
    let kinds: Vec<_> = frames.iter().map(|one| one.kind).collect();
    let headers = usize::from(at != At::Start);
    let (before, rest) = kinds.split_at(headers);
    assert!(
        before.iter().all(|kind| *kind == HEADERS),
        "{at:?} {kinds:?}"
    );
    let (reset, all_data) = rest.split_last().expect("a frame");
    assert!(
        all_data.iter().all(|kind| *kind == DATA),
        "{at:?} {kinds:?}"
    );
    assert_eq!(*reset, RST_STREAM, "{at:?} {kinds:?}");
    assert_eq!(data(frames, stream), sent, "{at:?}");
    let last = &frames[frames.len() - 1];
    assert_eq!(last.number(0), u32::from(reason), "{at:?}");
}

#[tokio::test]
async fn a_reset_comes_exactly_where_it_was_placed_and_hurts_no_other_call() {
    for wire in Wire::ALL {
        let server = Target::start(wire).await;
        let mut probe = Probe::open(&server).await;
        let mut stream = 1;
        for target in [
            Target::Streaming,
            Target::Unary,
            Target::Service,
            Target::Check,
        ] {
            let whole: Vec<_> = target.replies().iter().map(|one| framed(one)).collect();
            let (one, messages) = (whole[0].len() as u64, whole.len() as u64);
            let whole = whole.concat();
            for (number, at) in places(whole.len() as u64).into_iter().enumerate() {
                let reason = reasons().cycle().nth(number).unwrap();
                let before = server.calls().len();
                let fault = server.inject(at.fault(reason).method(target.path()));
                probe.call(stream, target.path(), &target.request()).await;
                let frames = probe.stream(stream).await;
                let outcome = match at.sent(one, messages) {
                    Some(sent) => {
                        let sent = &whole[..usize::try_from(sent).unwrap()];
                        assert_reset(&frames, stream, at, reason, sent);
                        Outcome::Faulted
                    }
                    None => {
                        assert_eq!(data(&frames, stream), whole, "{at:?}");
                        assert_eq!(frames[frames.len() - 1].kind, HEADERS);
                        Outcome::Ok
                    }
                };
                let hits = u64::from(outcome == Outcome::Faulted);
                assert_eq!(fault.hits(), hits, "{wire:?} {target:?} {at:?}");
                fault.remove();
                if let Some(call) = server.calls().get(before) {
                    assert_eq!(within(call.ended()).await, outcome, "{target:?} {at:?}");
                }
                // The connection goes on.
                probe
                    .call(stream + 2, target.path(), &target.request())
                    .await;
                let frames = probe.stream(stream + 2).await;
                assert_eq!(data(&frames, stream + 2), whole);
                stream += 4;
            }
        }
    }
}

#[tokio::test]
async fn every_code_goes_out_at_every_kind_of_place() {
    let server = Target::start(Wire::Tcp).await;
    let mut probe = Probe::open(&server).await;
    let whole = ["a", "b", "c"].map(|word| framed(&said(word))).concat();
    let mut stream = 1;
    for reason in reasons() {
        for at in [
            At::Start,
            At::Headers,
            At::MidMessage,
            At::Messages(1),
            At::Bytes(9),
            At::Trailers,
        ] {
            let fault = server.inject_scoped(at.fault(reason).times(1));
            probe
                .call(stream, Target::Streaming.path(), &said("x"))
                .await;
            let frames = probe.stream(stream).await;
            let sent = usize::try_from(at.sent(8, 3).unwrap()).unwrap();
            assert_reset(&frames, stream, at, reason, &whole[..sent]);
            drop(fault);
            stream += 2;
        }
    }
    probe.settle(1).await;
}

/// An answer that is a status alone has headers, no message, and an end.
#[tokio::test]
async fn an_answer_without_messages_is_reset_at_its_headers_and_its_end() {
    let server = Target::start(Wire::Tcp).await;
    let mut probe = Probe::open(&server).await;
    let mut stream = 1;
    for target in [Target::StatusOnly, Target::ServiceStatus] {
        for at in places(1) {
            let fault = server.inject(at.fault(Reason::CANCEL));
            probe.call(stream, target.path(), &target.request()).await;
            let frames = probe.stream(stream).await;
            if at.sent(0, 0).is_some() {
                assert_reset(&frames, stream, at, Reason::CANCEL, b"");
            } else {
                assert_eq!(frames[frames.len() - 1].kind, HEADERS, "{at:?}");
            }
            assert_eq!(fault.hits(), u64::from(at.sent(0, 0).is_some()), "{at:?}");
            fault.remove();
            stream += 2;
        }
    }
}

pub(crate) async fn channel(server: &MockServer) -> Channel {
    let uri = server.address().uri();
    let endpoint = tonic::transport::Endpoint::from_shared(uri).expect("a URI");
    within(endpoint.connect()).await.expect("a connection")
}

/// The codes of [gRPC's table](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors). Those that it
/// does not have are `UNKNOWN`.
fn code_of(reason: Reason) -> Code {
    match u32::from(reason) {
        0..=4 | 6 | 9 | 10 => Code::Internal,
        7 => Code::Unavailable,
        8 => Code::Cancelled,
        11 => Code::ResourceExhausted,
        12 => Code::PermissionDenied,
        _ => Code::Unknown,
    }
}

#[tokio::test]
async fn clients_get_the_code_that_grpc_has_for_a_reset() {
    let server = Target::start(Wire::Tcp).await;
    let mut tonic = ParrotClient::new(channel(&server).await);
    // One that repeats nothing: a stream that is refused would be opened again.
    let own = Client::builder().address(server.address());
    let own = own.retry(RetryPolicy::none()).connect();
    let mut own = ParrotClient::new(within(own).await.unwrap());
    let mut differs = Vec::new();
    for reason in reasons() {
        for at in [
            At::Start,
            At::Headers,
            At::MidMessage,
            At::Messages(1),
            At::Trailers,
        ] {
            let _fault = server.inject_scoped(at.fault(reason).method("Squawk").times(2));
            let error = within(tonic.squawk(request("x"))).await.unwrap_err();
            if error.code() != code_of(reason) {
                differs.push((u32::from(reason), at, error.code()));
            }
            let error = within(own.squawk(request("x"))).await.unwrap_err();
            assert_eq!(error.code(), code_of(reason), "{reason:?} {at:?}");
        }
    }
    // hyper takes `NO_ERROR` for the end of the stream, and tonic misses the status there.
    let without_status = [At::Headers, At::Messages(1), At::Trailers];
    assert_eq!(differs, without_status.map(|at| (0, at, Code::Unknown)));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_thousand_broken_calls_on_one_connection_leave_nothing_behind() {
    let server = Target::start(Wire::Tcp).await;
    let faults = [
        server.inject(Fault::padding(7)),
        server.inject(Fault::frame_size(3)),
        server.inject(Fault::reset(Reason::CANCEL).after_bytes(5).nth_call(501..)),
    ];
    let mut probe = Probe::open(&server).await;
    for number in 0..1000 {
        let stream = 2 * number + 1;
        probe.call(stream, Target::Unary.path(), &said("x")).await;
        let frames = probe.stream(stream).await;
        let whole = framed(&said("hi"));
        let sent = if number < 500 {
            &whole[..]
        } else {
            &whole[..5]
        };
        assert_eq!(data(&frames, stream), sent, "{number}");
    }
    within(server.wait_until(|journal| journal.in_flight().is_empty())).await;
    let hits = faults.each_ref().map(|fault| fault.hits());
    assert_eq!(hits, [1000, 1000, 500]);
    within(async {
        while faults.iter().any(|fault| fault.active() > 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let calls = server.calls();
    let outcome = |calls: &[rpcplugin_testkit::Call], wanted| {
        calls
            .iter()
            .filter(|call| call.outcome() == Some(wanted))
            .count()
    };
    assert_eq!(outcome(&calls, Outcome::Ok), 500);
    assert_eq!(outcome(&calls, Outcome::Faulted), 500);
}
