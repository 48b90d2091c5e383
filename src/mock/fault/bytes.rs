//! Faults of the byte stream, below TLS.

use crate::mock::fault::effect::ByteEffect;
use crate::mock::fault::spec::Fault;
use crate::mock::reply::Delay;
use std::time::Duration;

/// The byte stream, below TLS: it is slow, stands still, ends, or lies.
impl Fault {
    /// Everything passes so much later, both ways: a `Duration`, or a [`Delay`] drawn for each piece that is read or written. Order is
    /// kept, so what was delayed longer holds up what comes behind it.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let client = server.client().await;
    /// server.inject(Fault::latency(Duration::from_secs(3600)).outgoing());
    ///
    /// let late = client.call("Get", json!({})).timeout(Duration::from_millis(50)).await;
    /// assert!(late.unwrap_err().is_timeout());
    /// # server.verify().await.unwrap();
    /// # }
    /// ```
    pub fn latency(delay: impl Into<Delay>) -> Self {
        Self::bytes("Fault::latency", ByteEffect::Latency(delay.into()))
    }

    /// So many bytes pass in a second, each way.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::bandwidth(1 << 20));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    pub fn bandwidth(bytes_per_second: u64) -> Self {
        Self::bytes("Fault::bandwidth", ByteEffect::Bandwidth(bytes_per_second))
    }

    /// Everything passes in pieces of so many bytes at most, with so much time between two of them, both ways.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::slices(1, Duration::ZERO));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    pub fn slices(bytes: usize, between: Duration) -> Self {
        let slices = ByteEffect::Slices {
            size: bytes.max(1),
            between,
        };
        Self::bytes("Fault::slices", slices)
    }

    /// Nothing passes any more, both ways, and nothing is closed, until the fault is taken away: a network that drops everything.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let client = server.client().await;
    /// let stall = server.inject(Fault::stall());
    /// let call = tokio::spawn(async move { client.call("Get", json!({})).await });
    ///
    /// stall.hit().await;
    /// stall.remove();
    /// call.await.unwrap().unwrap();
    /// # }
    /// ```
    pub fn stall() -> Self {
        Self::bytes("Fault::stall", ByteEffect::Stall)
    }

    /// Closes the connection (by `FIN`). With [`after_bytes`](Self::after_bytes), when exactly so many bytes have gone out, or have come
    /// [in](Self::incoming).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::cut().method("Get").once());
    ///
    /// let client = server.client().await;
    /// let error = client.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unavailable));
    /// client.call("Get", json!({})).wait_for_ready().await.unwrap();
    /// # }
    /// ```
    pub fn cut() -> Self {
        Self::bytes("Fault::cut", ByteEffect::Cut { reset: false })
    }

    /// [`cut`](Self::cut) by `RST`: the peer has lost its memory. Unix sockets and in-process pipes have no such thing, and are closed.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::cut_by_reset().method("Get").once());
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unavailable));
    /// # }
    /// ```
    pub fn cut_by_reset() -> Self {
        Self::bytes("Fault::cut_by_reset", ByteEffect::Cut { reset: true })
    }

    /// Inverts the next so many bytes that go out, or come [in](Self::incoming). TLS finds that; what HTTP/2 makes of it depends on where it
    /// happens.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::builder().mtls().start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let flip = server.inject(Fault::flip_bytes(1).method("Get"));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(flip.hits(), 1);
    /// # }
    /// ```
    pub fn flip_bytes(count: u64) -> Self {
        Self::bytes("Fault::flip_bytes", ByteEffect::Flip(count))
    }
}
