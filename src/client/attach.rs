//! Attaching to a plugin that runs.

use crate::client::builder::ClientBuilder;
use crate::client::handle::Client;
use crate::handshake::IntoAttachment;

impl Client {
    /// A client of a plugin that runs already, by the handshake line that it printed, or by go-plugin's JSON to reattach to it
    /// (`TF_REATTACH_PROVIDERS` too). It starts no process, and ends none.
    ///
    /// What comes back is a builder that has the plugin's address. If the line has a certificate, it has TLS that trusts exactly
    /// that; such a plugin wants to know its host, so say [who we are](ClientBuilder::identity): the identity whose certificate
    /// it was given in `PLUGIN_CLIENT_CERT`.
    ///
    /// What is malformed is told by [`connect`](ClientBuilder::connect), as [`Error::is_handshake`](crate::Error::is_handshake).
    ///
    /// ```
    /// use rpcplugin_testkit::{Client, MockServer, Stub, json, plugin::Handshake};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let server = MockServer::unix().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    ///
    /// let line = Handshake::new(server.address().clone())?.to_string();
    /// let client = Client::attach(line).connect().await?;
    /// client.ping().await?;
    /// assert_eq!(client.call("Get", json!({})).await?, json!({"value": 1}));
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(plugin: impl IntoAttachment) -> ClientBuilder {
        Self::builder().attach(plugin)
    }
}
