//! The one place where the wings meet: a client that is ready for its server.

use crate::client::Client;
use crate::mock::MockServer;

impl MockServer {
    /// A client that is connected to this server, and has its schema.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    ///
    /// ```
    /// # use rpcplugin_testkit::MockServer;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.client().await.health_check().await.unwrap();
    /// # }
    /// ```
    pub async fn client(&self) -> Client {
        let mut builder = Client::builder().address(self.address());
        if let Some(schema) = self.schema() {
            builder = builder.schema(schema.clone());
        }
        match builder.connect().await {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to the mock server: {error:?}"),
        }
    }
}
