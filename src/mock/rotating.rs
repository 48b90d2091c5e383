//! Changing the TLS of a server that runs.

use crate::mock::server::MockServer;
use crate::mock::tls::ServerTls;
use crate::tls::{Authority, Identity};

/// TLS.
impl MockServer {
    /// Changes the certificate. Connections that are open keep theirs; those that are made from now on see the new one.
    ///
    /// ```
    /// use rpcplugin_testkit::{MockServer, tls::Authority};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let authority = Authority::new();
    /// let server = MockServer::builder().tls(&authority).start().await;
    /// server.rotate_certificate(authority.localhost());
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When the server speaks plaintext.
    #[track_caller]
    pub fn rotate_certificate(&self, identity: Identity) {
        if let Some(told) = self.tls() {
            self.change_tls(told.with_identity(identity));
        } else {
            self.change_tls(identity.into());
        }
    }

    /// Changes all of its TLS: the certificate, and which clients it accepts. Connections that are open stay.
    ///
    /// # Panics
    ///
    /// When the server speaks plaintext, or roots cannot be read.
    #[track_caller]
    pub fn set_tls(&self, tls: impl Into<ServerTls>) {
        self.change_tls(tls.into());
    }

    #[track_caller]
    fn change_tls(&self, told: ServerTls) {
        let Some(tls) = &self.service.tls else {
            let address = self.address();
            panic!("the mock server at {address} speaks plaintext: start it with `.tls(..)`");
        };
        if let Err(error) = tls.set(told) {
            panic!("the new TLS of the mock server is of no use: {error:?}");
        }
    }

    /// Who signs for it: the authority whose clients it accepts, or that signed its own certificate. `None`, when it was not
    /// given one, or speaks plaintext.
    #[must_use]
    pub fn authority(&self) -> Option<Authority> {
        self.tls()?.authority().cloned()
    }

    /// What it was told last.
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        let tls = self.service.tls.as_ref()?;
        Some(tls.terms().told.clone())
    }
}
