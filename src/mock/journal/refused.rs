//! Connections that were refused before a call could come.

use crate::address::Address;
use crate::tls::Certificate;
use std::fmt;
use tokio::time::Instant;

/// A connection whose TLS handshake failed, on whichever side: no call came on it.
///
/// It prints as one line that says which side ended it, and why.
///
/// ```
/// use rpcplugin_testkit::{Client, ClientTls, MockServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::builder().mtls().start().await;
///
/// let stranger = ClientTls::new().roots(server.authority().unwrap().root());
/// let error = Client::builder().address(server.address()).tls(stranger).connect().await.unwrap_err();
/// assert!(error.is_tls());
///
/// server.wait_until(|journal| journal.refused().len() == 1).await;
/// let refused = &server.journal().refused()[0];
/// assert_eq!(refused.reason(), "this server requires a client certificate, and the client sent none");
/// assert!(server.calls().is_empty());
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RefusedConnection {
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) at: Instant,
    pub(crate) reason: String,
    pub(crate) certificate: Option<Certificate>,
}

impl RefusedConnection {
    /// Its number: connections are numbered from 1 in the order of acceptance.
    #[must_use]
    pub fn connection_id(&self) -> u64 {
        self.id
    }

    /// Who made it.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// When it was refused. On tokio's clock.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Which side ended it, and why, in one line.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The client's certificate, when it was the mock that refused it.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }
}

impl fmt::Display for RefusedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id, peer, reason, ..
        } = self;
        write!(f, "connection {id} from {peer}: {reason}")
    }
}
