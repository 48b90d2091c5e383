//! Building a mock server.

use crate::address::IntoAddress;
use crate::error::Error;
use crate::mock::server::{MockServer, Settings};
use crate::net::Bind;
use crate::schema::Schema;
use crate::wire::MESSAGE_LIMIT;
use std::time::Duration;

/// Builds a [`MockServer`].
///
/// ```
/// use rpcplugin_testkit::{MockServer, Stub, json, proto};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::builder().unix().descriptor_set(proto::FILE_DESCRIPTOR_SET).start().await;
/// assert!(server.uri().starts_with("unix:/"));
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct MockServerBuilder {
    settings: Settings,
    /// Mistakes in building, told when it starts.
    bad_address: Option<Error>,
    bad_schema: Option<Error>,
}

impl Default for MockServerBuilder {
    fn default() -> Self {
        let settings = Settings {
            bind: Bind::Tcp,
            schema: None,
            message_limit: MESSAGE_LIMIT,
            patience: Duration::from_secs(10),
        };
        Self {
            settings,
            bad_address: None,
            bad_schema: None,
        }
    }
}

impl MockServerBuilder {
    /// Listens on 127.0.0.1 and an ephemeral port: the default.
    pub fn tcp(self) -> Self {
        self.bind(Bind::Tcp)
    }

    /// Listens on a Unix socket in a private temporary directory.
    pub fn unix(self) -> Self {
        self.bind(Bind::Unix)
    }

    /// Listens on an in-process pipe.
    pub fn memory(self) -> Self {
        self.bind(Bind::Memory)
    }

    /// Listens on this very address: an [`Address`](crate::Address), or a text or `SocketAddr` that is one.
    pub fn address(mut self, address: impl IntoAddress) -> Self {
        match address.into_address() {
            Ok(address) => self.bind(Bind::At(address)),
            Err(error) => {
                self.bad_address = Some(error);
                self
            }
        }
    }

    fn bind(mut self, bind: Bind) -> Self {
        self.settings.bind = bind;
        self.bad_address = None;
        self
    }

    /// The services that it mocks. Stubs are checked against it, messages are JSON by it, and reflection tells it.
    ///
    /// Without a schema the mock serves the schemaless plugin service, and stubs with prost messages on any path.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.settings.schema = Some(schema);
        self.bad_schema = None;
        self
    }

    /// The services that it mocks, as an encoded `FileDescriptorSet`.
    pub fn descriptor_set(mut self, bytes: impl AsRef<[u8]>) -> Self {
        match Schema::from_descriptor_set(bytes) {
            Ok(schema) => return self.schema(schema),
            Err(error) => self.bad_schema = Some(error),
        }
        self
    }

    /// The services that it mocks, compiled from one `.proto` file whose imports are beside it.
    #[cfg(feature = "proto-files")]
    pub fn proto_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        match Schema::from_proto_file(path) {
            Ok(schema) => return self.schema(schema),
            Err(error) => self.bad_schema = Some(error),
        }
        self
    }

    /// The largest request message that it accepts, in bytes. Default: 4 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.settings.message_limit = bytes;
        self
    }

    /// How long [`wait_for_calls`](MockServer::wait_for_calls) and the like wait before they fail the test. Default: 10 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// Starts it: it is listening when this returns.
    ///
    /// # Panics
    ///
    /// When something given to the builder is malformed, or it cannot listen.
    pub async fn start(self) -> MockServer {
        match self.try_start().await {
            Ok(server) => server,
            Err(error) => panic!("the mock server does not start: {error:?}"),
        }
    }

    /// [`start`](Self::start) for a test that expects it to fail.
    ///
    /// # Errors
    ///
    /// When something given to the builder is malformed, or it cannot listen.
    pub async fn try_start(self) -> Result<MockServer, Error> {
        match self.bad_address.or(self.bad_schema) {
            Some(mistake) => Err(mistake),
            None => MockServer::listen(self.settings).await,
        }
    }
}

impl MockServer {
    /// Starts on 127.0.0.1 and an ephemeral port.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Starts on a Unix socket in a private temporary directory.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    pub async fn unix() -> Self {
        Self::builder().unix().start().await
    }

    /// Starts on an in-process pipe, which any number of clients can connect to. It is the one transport for tests with
    /// paused time.
    ///
    /// # Panics
    ///
    /// Never.
    pub async fn memory() -> Self {
        Self::builder().memory().start().await
    }

    /// A server with settings of its own: an address, a schema.
    pub fn builder() -> MockServerBuilder {
        MockServerBuilder::default()
    }
}
