//! Faults of the listener, and of connections before they are served.

use crate::mock::fault::effect::{Admission, Effect};
use crate::mock::fault::spec::Fault;
use crate::mock::reply::Delay;

/// The listener: a connection is not to be had, or not served.
impl Fault {
    /// The server does not listen: who dials is refused, nobody else gets the address, and open connections go on. It counts as hit when
    /// it takes effect, once; who is refused is known to nobody but him. It has no conditions.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockServer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    ///
    /// let refusal = server.inject(Fault::refuse());
    /// assert!(Client::connect(server.address()).await.is_err());
    ///
    /// refusal.remove();
    /// Client::connect(server.address()).await.unwrap();
    /// # }
    /// ```
    pub fn refuse() -> Self {
        Self::new("Fault::refuse", Effect::Refusal)
    }

    /// A connection is accepted and closed at once.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::close_on_accept().at_most(1));
    ///
    /// assert!(Client::connect(server.address()).await.is_err());
    /// let client = Client::connect(server.address()).await.unwrap();
    /// client.call("Get", json!({})).await.unwrap();
    /// assert_eq!(server.calls()[0].connection_id(), 2);
    /// # }
    /// ```
    pub fn close_on_accept() -> Self {
        Self::admission("Fault::close_on_accept", Admission::Close)
    }

    /// A connection is accepted, and then nothing is read or written until the fault is taken away.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let silence = server.inject(Fault::silence());
    /// let address = server.address().clone();
    /// let client = tokio::spawn(async move { Client::connect(address).await });
    ///
    /// silence.hit().await;
    /// silence.remove();
    /// client.await.unwrap().unwrap().call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    pub fn silence() -> Self {
        Self::admission("Fault::silence", Admission::Silence)
    }

    /// A connection waits this long, on tokio's clock, before it is served: a `Duration`, or a [`Delay`]. Others are not held up by it.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let slow = server.inject(Fault::slow_accept(Duration::from_millis(5)));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(slow.hits(), 1);
    /// # }
    /// ```
    pub fn slow_accept(delay: impl Into<Delay>) -> Self {
        Self::admission("Fault::slow_accept", Admission::Slow(delay.into()))
    }

    /// A TLS handshake fails: the server answers the client's hello with the alert `handshake_failure`
    /// ([RFC 8446, section 6.2](https://www.rfc-editor.org/rfc/rfc8446#section-6.2)) and closes the connection.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockServer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::builder().mtls().start().await;
    ///
    /// server.inject(Fault::tls_failure().once());
    ///
    /// let error = Client::builder().address(server.address()).tls(server.client_tls().unwrap()).connect().await.unwrap_err();
    /// assert!(error.is_tls());
    /// # }
    /// ```
    pub fn tls_failure() -> Self {
        Self::admission("Fault::tls_failure", Admission::TlsFailure)
    }

    /// A TLS handshake stops after the client's hello, until the fault is taken away.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockServer};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::builder().mtls().start().await;
    ///
    /// let stall = server.inject(Fault::tls_stall());
    /// let client = Client::builder().address(server.address()).tls(server.client_tls().unwrap());
    /// let client = tokio::spawn(client.connect());
    ///
    /// stall.hit().await;
    /// stall.remove();
    /// client.await.unwrap().unwrap();
    /// # }
    /// ```
    pub fn tls_stall() -> Self {
        Self::admission("Fault::tls_stall", Admission::TlsStall)
    }

    /// While so many connections are open, others are accepted and closed at once.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let full = server.inject(Fault::max_connections(1));
    /// let first = server.client().await;
    /// assert!(Client::connect(server.address()).await.is_err());
    ///
    /// assert_eq!(full.hits(), 1);
    /// first.call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    pub fn max_connections(most: usize) -> Self {
        Self::admission("Fault::max_connections", Admission::MaxConnections(most))
    }
}
