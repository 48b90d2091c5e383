//! The one place where the wings meet: a client that is ready for its server.

use crate::client::Client;
use crate::mock::MockServer;

impl MockServer {
    /// A client that is connected to this server, and knows its schema without asking.
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
        let builder = Client::builder().address(self.address());
        let builder = match self.schema() {
            Some(schema) => builder.schema(schema.clone()),
            None => builder.schemaless(),
        };
        match builder.connect().await {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to the mock server: {error:?}"),
        }
    }
}

/// What is logged. It is tested here and not with the other tests, because a log is collected for a whole process.
#[cfg(test)]
mod tests {
    use crate::mock::MockServer;
    use serde_json::json;
    use tracing_test::traced_test;

    #[tokio::test]
    #[traced_test]
    async fn connections_and_unmatched_calls_are_logged() {
        let server = MockServer::memory().await;
        let client = server.client().await;
        assert!(logs_contain(&format!(
            "connected address={}",
            server.address()
        )));

        client.call("Get", json!({"key": "a"})).await.unwrap_err();
        assert!(logs_contain(
            "unmatched call: no stub for Get: nothing is mounted"
        ));
        assert!(logs_contain(r#"call=("Get", {"key":"a"})"#));
    }
}
