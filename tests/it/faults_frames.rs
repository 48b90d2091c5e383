//! Padding, and the size of frames: what goes out, to the byte and within the client's windows.

use crate::faults_stream::channel;
use crate::faults_target::Target;
use crate::judges::request;
use crate::probe::{DATA, HEADERS, INITIAL_WINDOW_SIZE, Probe, Wire, data, framed, said};
use crate::support::{echo, within};
use echo::parrot_client::ParrotClient;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Client, Fault, MockServer, Reason, Reply, Stub, json};

/// An answer of so many bytes, with and without padding, in frames of these sizes, to clients with these windows.
#[tokio::test]
async fn padding_and_frame_sizes_are_exact_and_change_no_message() {
    let long = "x".repeat(300_000);
    for wire in [Wire::Tcp, Wire::Mutual] {
        let server = Target::start(wire).await;
        server.mount(
            Stub::method("Echo/Say")
                .reply(json!({"message": &long}))
                .times(0..),
        );
        for padding in [None, Some(0), Some(1), Some(255)] {
            for size in [None, Some(1), Some(5), Some(20_000)] {
                for window in [300, 65_535] {
                    for target in [Target::Streaming, Target::Unary, Target::Service] {
                        if target == Target::Service && size.is_some_and(|size| size < 20_000) {
                            continue;
                        }
                        let expected = match target {
                            Target::Service => framed(&said(&long)),
                            _ => target
                                .replies()
                                .iter()
                                .flat_map(|one| framed(one))
                                .collect(),
                        };
                        let shape = Shape {
                            padding,
                            size,
                            window,
                        };
                        shape.judge(&server, target, &expected).await;
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    padding: Option<u8>,
    size: Option<usize>,
    window: u32,
}

impl Shape {
    async fn judge(self, server: &MockServer, target: Target, expected: &[u8]) {
        let mut faults = Vec::new();
        faults.extend(
            self.padding
                .map(|padding| server.inject(Fault::padding(padding))),
        );
        faults.extend(self.size.map(|size| server.inject(Fault::frame_size(size))));
        let mut probe = Probe::with_settings(server, &[(INITIAL_WINDOW_SIZE, self.window)]).await;
        probe.call(1, target.path(), &target.request()).await;
        let frames = probe.stream(1).await;
        assert_eq!(
            data(&frames, 1).len(),
            expected.len(),
            "{self:?} {target:?}"
        );
        assert!(data(&frames, 1) == expected, "{self:?} {target:?}");
        assert_eq!(frames[0].kind, HEADERS);
        assert_eq!(frames[frames.len() - 1].kind, HEADERS);
        for frame in &frames[1..frames.len() - 1] {
            let (data, padding) = frame.unpadded();
            assert_eq!(frame.kind, DATA);
            assert_eq!(padding, self.padding.map(usize::from), "{self:?}");
            assert!(frame.payload.len() <= 16_384);
            assert!(!data.is_empty() && self.size.is_none_or(|size| data.len() <= size));
        }
        if let (Some(size @ 1..=5), 65_535) = (self.size, self.window) {
            // Of each message all frames are full but the last.
            let replies = target.replies();
            let wanted = replies.iter().map(|one| framed(one).len().div_ceil(size));
            assert_eq!(
                frames.len() - 2,
                wanted.sum::<usize>(),
                "{self:?} {target:?}"
            );
        }
        for fault in faults {
            assert_eq!(fault.hits(), 1);
            fault.remove();
        }
    }
}

/// Faults that end an answer in other ways than by trailers leave its padding where it was.
#[tokio::test]
async fn padding_goes_with_every_other_fault() {
    let server = Target::start(Wire::Tcp).await;
    let page = b"<html><body><h1>503 Service Unavailable</h1></body></html>\n";
    let whole = framed(&said("hi"));
    let twice = [&whole[..], &whole].concat();
    for padding in [0, 1, 255] {
        let cases: [(Fault, &[u8]); 6] = [
            (Fault::http_status(503), page),
            (Fault::missing_status(), &whole),
            (Fault::status_in_headers(), &whole),
            (Fault::two_messages(), &twice),
            (Fault::no_message(), b""),
            (Fault::reset(Reason::CANCEL).after_bytes(6), &whole[..6]),
        ];
        for (fault, expected) in cases {
            let name = format!("{fault:?}");
            let faults = [server.inject(fault), server.inject(Fault::padding(padding))];
            let mut probe = Probe::with_settings(&server, &[(INITIAL_WINDOW_SIZE, 300)]).await;
            probe.call(1, Target::Unary.path(), &said("x")).await;
            let frames = probe.stream(1).await;
            assert_eq!(data(&frames, 1), expected, "{padding} {name}");
            for frame in frames.iter().filter(|frame| frame.kind == DATA) {
                // The empty frame that ends a stream has none, or the window would be used up by what was not asked for.
                let padded = Some(usize::from(padding)).filter(|_| !frame.payload.is_empty());
                assert_eq!(frame.unpadded().1, padded, "{name}");
            }
            for fault in faults {
                assert_eq!(fault.hits(), 1, "{name}");
                fault.remove();
            }
        }
    }
}

#[tokio::test]
async fn clients_do_not_care_about_padding_and_frame_sizes() {
    let long = "x".repeat(300_000);
    for wire in [Wire::Tcp, Wire::Mutual] {
        let server = wire.start().await;
        server.mount(
            Stub::method("Squawk")
                .reply(json!({"message": &long}))
                .times(0..),
        );
        let words = (0..50).map(|_| json!({"message": "word"}));
        server.mount(Stub::method("Split").reply(Reply::stream(words)).times(0..));
        for padding in [0, 1, 255] {
            for size in [100, 20_000] {
                let _padding = server.inject_scoped(Fault::padding(padding).times(1..));
                let _size = server.inject_scoped(Fault::frame_size(size).times(1..));
                let client: Client = within(server.client().into_future()).await;
                let call = client.call("Squawk", json!({}));
                let reply = within(call.into_future()).await.unwrap();
                assert_eq!(reply["message"].as_str().unwrap().len(), 300_000);
                let stream = client.call_server_stream("Split", json!({}));
                let mut stream = within(stream.into_future()).await.unwrap();
                let mut count = 0;
                while let Some(word) = within(stream.message()).await.unwrap() {
                    assert_eq!(word["message"], "word");
                    count += 1;
                }
                assert_eq!(count, 50);
                if wire == Wire::Tcp {
                    let mut tonic = ParrotClient::new(channel(&server).await);
                    let reply = within(tonic.squawk(request("x"))).await.unwrap();
                    assert_eq!(reply.into_inner().message, long);
                }
            }
        }
    }
}
