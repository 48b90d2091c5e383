//! What the tests share.

use rpcplugin_testkit::client::{Backoff, ClientBuilder};
use rpcplugin_testkit::mock::MockServerBuilder;
use rpcplugin_testkit::{Address, CallStream, Client, Error, MockServer, Schema, Status, json};
use std::time::Duration;

/// The echo service of `proto/echo/v1/echo.proto`, as tonic generates it.
#[expect(
    unreachable_pub,
    unnameable_types,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::use_self,
    reason = "generated"
)]
pub(crate) mod echo {
    include!("../../proto/generated/echo.v1.rs");
}

pub(crate) const ECHO_DESCRIPTOR_SET: &[u8] = include_bytes!("../../proto/generated/echo.bin");

pub(crate) fn echo_schema() -> Schema {
    Schema::from_descriptor_set(ECHO_DESCRIPTOR_SET).expect("the echo schema is valid")
}

/// The three transports of a mock server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Memory,
    Tcp,
    Unix,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Tcp, Self::Unix];

    pub(crate) fn builder(self) -> MockServerBuilder {
        match self {
            Self::Memory => MockServer::builder().memory(),
            Self::Tcp => MockServer::builder().tcp(),
            Self::Unix => MockServer::builder().unix(),
        }
    }

    /// One that speaks mutual TLS, or none.
    pub(crate) fn secured(self, mutual: bool) -> MockServerBuilder {
        let builder = self.builder();
        if mutual { builder.mtls() } else { builder }
    }

    /// A schemaless mock.
    pub(crate) async fn start(self) -> MockServer {
        self.builder().start().await
    }

    /// A mock of the echo service.
    pub(crate) async fn start_echo(self) -> MockServer {
        self.builder().schema(echo_schema()).start().await
    }
}

/// How a client dials an address of a mock: with its TLS, and again at once if it has to.
pub(crate) fn redialling(server: &MockServer, address: &Address) -> ClientBuilder {
    let backoff = Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(1),
        ..Backoff::default()
    };
    let builder = Client::builder().address(address).backoff(backoff);
    match server.client_tls() {
        Some(tls) => builder.tls(tls),
        None => builder,
    }
}

/// A mock of the echo service on which unmatched calls are no failure.
pub(crate) async fn lenient_echo() -> MockServer {
    let builder = MockServer::builder().memory().schema(echo_schema());
    builder.allow_unmatched().start().await
}

/// A stub's handler that sends back each message as it comes.
pub(crate) async fn repeat_what_is_said(mut stream: CallStream) -> Result<(), Status> {
    while let Some(said) = stream.recv().await? {
        stream.send(json!({"message": said["message"]})).await?;
    }
    Ok(())
}

/// How long a test that hangs is waited for. Nothing is measured by it.
const LIMIT: Duration = Duration::from_secs(60);

/// Bounds every wait of a test that could hang.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing happened within {LIMIT:?} at {place}"),
        }
    }
}

/// The text with all its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The rows of a table.
pub(crate) fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = table.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(" => ").expect("a row has two columns"))
}
