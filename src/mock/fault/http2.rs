//! Faults of HTTP/2.

use crate::mock::fault::effect::{CallEffect, LineEffect, Position};
use crate::mock::fault::go_away::GoAway;
use crate::mock::fault::spec::Fault;
use crate::wire::frame;
use crate::wire::rewrite::Withheld;
use bytes::{Bytes, BytesMut};
use h2::Reason;

/// HTTP/2: a stream or a connection is ended, or does what it should not.
impl Fault {
    /// Resets the call's stream (`RST_STREAM`) with this code before anything is sent, though what serves the call has answered it: a
    /// lost reply. With [`after_messages`](Self::after_messages) or [`after_bytes`](Self::after_bytes) exactly so much is sent before.
    ///
    /// [What clients make of the code](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Reason, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::reset(Reason::ENHANCE_YOUR_CALM));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::ResourceExhausted));
    /// # }
    /// ```
    pub fn reset(reason: Reason) -> Self {
        let name = format!("Fault::reset({reason:?})");
        Self::call(name, CallEffect::Reset(reason)).at(Position::Answer)
    }

    /// Resets the call's stream when its headers are sent.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Reason, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::reset_after_headers(Reason::CANCEL));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Cancelled));
    /// # }
    /// ```
    pub fn reset_after_headers(reason: Reason) -> Self {
        let name = format!("Fault::reset_after_headers({reason:?})");
        Self::call(name, CallEffect::Reset(reason)).at(Position::Headers)
    }

    /// Resets the call's stream in the middle of the next message.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Reason, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::reset_mid_message(Reason::INTERNAL_ERROR));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Internal));
    /// # }
    /// ```
    pub fn reset_mid_message(reason: Reason) -> Self {
        let name = format!("Fault::reset_mid_message({reason:?})");
        Self::call(name, CallEffect::Reset(reason)).at(Position::MidMessage(0))
    }

    /// Resets the call's stream after all messages, before its status.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Reason, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::reset_before_trailers(Reason::NO_ERROR));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Internal));
    /// # }
    /// ```
    pub fn reset_before_trailers(reason: Reason) -> Self {
        let name = format!("Fault::reset_before_trailers({reason:?})");
        Self::call(name, CallEffect::Reset(reason)).at(Position::Trailers)
    }

    /// Pads each DATA frame of the answer by so many bytes, which [no client may care
    /// about](https://www.rfc-editor.org/rfc/rfc9113#section-6.1).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let padding = server.inject(Fault::padding(255));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(padding.hits(), 1);
    /// # }
    /// ```
    pub fn padding(bytes: u8) -> Self {
        let effect = CallEffect::Frames {
            size: None,
            padding: Some(bytes),
        };
        Self::call("Fault::padding", effect)
    }

    /// Sends the answer in DATA frames of so many bytes at most, one at least.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let small = server.inject(Fault::frame_size(5));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(small.hits(), 1);
    /// # }
    /// ```
    pub fn frame_size(bytes: usize) -> Self {
        let effect = CallEffect::Frames {
            size: Some(bytes.max(1)),
            padding: None,
        };
        Self::call("Fault::frame_size", effect)
    }

    /// Says good-bye on the connection (`GOAWAY`): a [`GoAway`] tells how, and a [`Reason`] is one.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Reason, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::go_away(Reason::NO_ERROR).nth_call(1));
    ///
    /// let client = server.client().await;
    /// client.call("Get", json!({})).await.unwrap();
    /// client.call("Get", json!({})).wait_for_ready().await.unwrap();
    /// let ids: Vec<_> = server.calls().iter().map(|call| call.connection_id()).collect();
    /// assert_eq!(ids, [1, 2]);
    /// # }
    /// ```
    pub fn go_away(go_away: impl Into<GoAway>) -> Self {
        let go_away = go_away.into();
        let name = format!("Fault::go_away({:?})", go_away.reason);
        Self::line(name, LineEffect::GoAway(go_away))
    }

    /// Tells the client that it may have so many calls in flight on a connection (`SETTINGS_MAX_CONCURRENT_STREAMS`): with the first
    /// SETTINGS of those that come, and with new ones on those that are open. Streams beyond it are not refused.
    ///
    /// What it said stays said when the fault is taken away.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::max_concurrent_streams(1));
    ///
    /// let client = server.client().await;
    /// let calls = (0..3).map(|_| tokio::spawn(client.call("Get", json!({})).into_future()));
    /// for call in calls.collect::<Vec<_>>() {
    ///     call.await.unwrap().unwrap();
    /// }
    /// # }
    /// ```
    pub fn max_concurrent_streams(most: u32) -> Self {
        let name = format!("Fault::max_concurrent_streams({most})");
        Self::line(name, LineEffect::MaxStreams(most))
    }

    /// Sends no SETTINGS, nor the acknowledgement of the client's, until the fault is taken away. A client that waits for them, as
    /// [gRPC's own do](https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md), is not connected before.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let withheld = server.inject(Fault::withhold_settings());
    /// let address = server.address().clone();
    /// let client = tokio::spawn(async move { Client::connect(address).await });
    ///
    /// withheld.hit().await;
    /// withheld.remove();
    /// client.await.unwrap().unwrap().call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    pub fn withhold_settings() -> Self {
        Self::line(
            "Fault::withhold_settings",
            LineEffect::Withhold(Withheld::Settings),
        )
    }

    /// Opens no window (`WINDOW_UPDATE`) until the fault is taken away: a client that sends much waits in the middle of it. On a
    /// connection that has it from the start, that is after 65,535 bytes; on others when the windows of the connection or the stream (1 MiB)
    /// are used up.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let withheld = server.inject(Fault::withhold_window_updates());
    /// let client = server.client().await;
    /// let call = tokio::spawn(async move { client.call("Get", json!({"key": "x".repeat(100_000)})).await });
    ///
    /// withheld.hit().await;
    /// withheld.remove();
    /// call.await.unwrap().unwrap();
    /// # }
    /// ```
    pub fn withhold_window_updates() -> Self {
        let withheld = LineEffect::Withhold(Withheld::WindowUpdates);
        Self::line("Fault::withhold_window_updates", withheld)
    }

    /// Does not answer the client's PING until the fault is taken away: what a keepalive is there to find.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let silent = server.inject(Fault::unanswered_pings());
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// silent.remove();
    /// # }
    /// ```
    pub fn unanswered_pings() -> Self {
        Self::line(
            "Fault::unanswered_pings",
            LineEffect::Withhold(Withheld::Pongs),
        )
    }

    /// Sends so many PING frames at once, numbered from 1 by their payload.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let flood = server.inject(Fault::pings(1000).nth_call(1));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(flood.hits(), 1);
    /// # }
    /// ```
    pub fn pings(count: u64) -> Self {
        let pings: BytesMut = (1..=count).flat_map(frame::ping).collect();
        Self::line("Fault::pings", LineEffect::Insert(pings.freeze()))
    }

    /// Sends a frame that no client may accept: DATA on stream 0, which ends the connection with a
    /// [`PROTOCOL_ERROR`](https://www.rfc-editor.org/rfc/rfc9113#section-6.1).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::invalid_frame().method("Get"));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unavailable));
    /// # }
    /// ```
    pub fn invalid_frame() -> Self {
        Self::line("Fault::invalid_frame", LineEffect::Insert(frame::invalid()))
    }

    /// Sends these bytes between two HTTP/2 frames: a frame of your own making, or nonsense.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let unknown_frame = [&[0, 0, 1, 0xEE, 0, 0, 0, 0, 0], &b"?"[..]].concat();
    /// let sent = server.inject(Fault::raw_bytes(unknown_frame).nth_call(1));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(sent.hits(), 1);
    /// # }
    /// ```
    pub fn raw_bytes(bytes: impl Into<Bytes>) -> Self {
        Self::line("Fault::raw_bytes", LineEffect::Insert(bytes.into()))
    }
}
