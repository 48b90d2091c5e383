//! Building a mock server.

use crate::address::IntoAddress;
use crate::error::{Error, Kind};
use crate::mock::auth::Auth;
use crate::mock::backend::Backend;
use crate::mock::journal::{Redaction, Server};
use crate::mock::server::{MockServer, Settings};
use crate::mock::tls::ServerTls;
use crate::mock::verify::SEED;
use crate::net::Bind;
use crate::schema::Schema;
use crate::tls::Authority;
use crate::wire::{Compression, MESSAGE_LIMIT};
use http::HeaderName;
use std::{
    env, fmt,
    panic::Location,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tonic::Code;

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
#[derive(Clone)]
#[must_use = "a builder does nothing until `start`"]
pub struct MockServerBuilder {
    pub(super) settings: Settings,
    pub(super) seed: Option<u64>,
    /// Asked for a schema when none was given.
    pub(super) schema_source: Option<SchemaSource>,
    recordings: Vec<PathBuf>,
    /// Mistakes in building, told when it starts.
    bad_address: Option<Error>,
    bad_schema: Option<Error>,
    mistake: Option<Error>,
}

type SchemaSource =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Option<Schema>> + Send>> + Send + Sync>;

/// How much the journal keeps.
const JOURNAL_LIMIT: usize = 256 << 20;

impl Default for MockServerBuilder {
    fn default() -> Self {
        let settings = Settings {
            bind: Bind::Tcp,
            schema: None,
            tls: None,
            auth: None,
            message_limit: MESSAGE_LIMIT,
            journal_limit: JOURNAL_LIMIT,
            redaction: Redaction::default(),
            patience: Duration::from_secs(10),
            compression: None,
            unmatched: Code::FailedPrecondition,
            allow_unmatched: false,
            verify_on_drop: true,
            seed: 0,
            #[cfg(feature = "multiplex")]
            multiplexed: false,
            proxied: None,
            common: None,
        };
        Self {
            settings,
            seed: None,
            schema_source: None,
            recordings: Vec::new(),
            bad_address: None,
            bad_schema: None,
            mistake: None,
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

    /// Speaks TLS: a [`ServerTls`], an [`Identity`](crate::tls::Identity), or an [`Authority`] that mints one with the names
    /// `localhost`, `127.0.0.1` and `::1`. Its address is an `https://` one then.
    #[track_caller]
    pub fn tls(mut self, tls: impl Into<ServerTls>) -> Self {
        self.settings.tls = Some(tls.into());
        self
    }

    /// Speaks mutual TLS by a new [authority](MockServer::authority): it has signed the mock's certificate, and has to have
    /// signed that of every client. [`MockServer::client`] has one.
    ///
    /// ```
    /// use rpcplugin_testkit::{MockServer, Stub, json};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::builder().mtls().start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(server.calls()[0].client_certificate().unwrap().subject(), "CN=test client");
    /// # }
    /// ```
    #[track_caller]
    pub fn mtls(self) -> Self {
        self.tls(ServerTls::mutual(&Authority::new()))
    }

    /// Accepts the calls of those that have a token. The key that it stands under is [redacted](Self::redact).
    pub fn auth(mut self, auth: Auth) -> Self {
        self.settings.redaction.add(auth.key().clone());
        self.settings.auth = Some(auth);
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
    pub fn proto_file(mut self, path: impl AsRef<Path>) -> Self {
        match Schema::from_proto_file(path) {
            Ok(schema) => return self.schema(schema),
            Err(error) => self.bad_schema = Some(error),
        }
        self
    }

    /// The largest request message that it accepts, in bytes, decompressed. Default: 4 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.settings.message_limit = bytes;
        self
    }

    /// How long [`wait_for_calls`](MockServer::wait_for_calls) and the like wait before they fail the test. Default: 10 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = patience;
        self
    }

    /// Compresses the messages of all replies, for clients that say that they understand it (`grpc-accept-encoding`).
    /// Requests in gzip are understood in any case, in zstd with the feature. Default: replies are not compressed.
    pub fn compression(mut self, compression: impl Into<Option<Compression>>) -> Self {
        self.settings.compression = compression.into();
        self
    }

    /// What a call gets that no stub accepts although its method is known, because the schema has it or a stub is for it.
    /// Default: `FAILED_PRECONDITION`. (A call of a method that nothing knows gets `UNIMPLEMENTED`.)
    ///
    /// `OK` is no such status, and fails the start.
    pub fn unmatched_status(mut self, code: Code) -> Self {
        if code == Code::Ok {
            let text = "the status of an unmatched call cannot be OK";
            self.mistake = Some(Error::new(Kind::Config, text));
        }
        self.settings.unmatched = code;
        self
    }

    /// Calls that no stub accepts are no failure: [`verify`](MockServer::verify) and dropping the server let them be.
    pub fn allow_unmatched(mut self) -> Self {
        self.settings.allow_unmatched = true;
        self
    }

    /// Whether dropping the server [verifies](MockServer::verify). Default: yes.
    pub fn verify_on_drop(mut self, verify: bool) -> Self {
        self.settings.verify_on_drop = verify;
        self
    }

    /// How much the journal keeps, in bytes of messages and what is around them. When it is used up, the oldest calls
    /// go, and [`Journal::dropped`](crate::Journal::dropped) counts them. Default: 256 MiB.
    pub fn journal_limit(mut self, bytes: usize) -> Self {
        self.settings.journal_limit = bytes;
        self
    }

    /// Adds a metadata key whose values are secrets: they are not printed and not saved. From the start those are
    /// `authorization`, `proxy-authorization`, `cookie`, `x-api-key`, `x-access-token` and `x-auth-token`.
    ///
    /// [`Call::metadata`](crate::Call::metadata) has them all the same.
    pub fn redact(mut self, key: &str) -> Self {
        match HeaderName::try_from(key) {
            Ok(name) => self.settings.redaction.add(name),
            Err(error) => {
                let text = format!("`{key}` cannot be a metadata key");
                self.mistake = Some(Error::new(Kind::Config, text).caused_by(error));
            }
        }
        self
    }

    /// What everything random is drawn from, such as [delays](crate::Delay), and [servers](crate::MockCluster::kill_any) of a
    /// cluster. Default: the environment variable `RPCPLUGIN_TESTKIT_SEED`, or else a random one, which a failing test prints.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Answers as was [recorded](crate::Journal::save): a call that has the method and the messages of a recorded one gets
    /// its reply. Of several recorded calls with the same request the replies are given one after another, and the last one
    /// sticks. Metadata is not compared.
    ///
    /// The stubs of a recording come after all others, so that a test can put its own in front. A call that is not in the
    /// recording is unmatched. A recording with typed messages needs their schema.
    ///
    /// In a call that streams both ways each reply waits for a request, as in a conversation; those that are left over come
    /// at its end. One that ended without a status is never ended.
    ///
    /// A file that cannot be read or does not fit the schema fails the start.
    pub fn replay(mut self, path: impl AsRef<Path>) -> Self {
        self.recordings.push(path.as_ref().to_owned());
        self
    }

    /// Where calls go that nothing else serves, and what is asked for a schema if none is given.
    pub(crate) fn proxied<F>(mut self, backend: Backend, name: String, schema: F) -> Self
    where
        F: Fn() -> Pin<Box<dyn Future<Output = Option<Schema>> + Send>> + Send + Sync + 'static,
    {
        let server = Server {
            id: u64::MAX,
            label: name.clone(),
            name: Some(name),
            secret: false,
        };
        self.settings.proxied = Some(Arc::new(backend.recorded_as(server)));
        self.schema_source = Some(Arc::new(schema));
        self
    }

    pub(crate) fn mistaken(mut self, mistake: Error) -> Self {
        self.mistake = Some(mistake);
        self
    }

    /// Starts it: it is listening when this returns.
    ///
    /// # Panics
    ///
    /// When something given to the builder is malformed, or it cannot listen.
    #[track_caller]
    pub fn start(self) -> impl Future<Output = MockServer> + Send {
        let place = Location::caller();
        async move {
            match self.try_start().await {
                Ok(server) => server,
                Err(error) => panic!("the mock server does not start at {place}: {error:?}"),
            }
        }
    }

    /// [`start`](Self::start) for a test that expects it to fail.
    ///
    /// # Errors
    ///
    /// When something given to the builder is malformed, or it cannot listen.
    pub async fn try_start(mut self) -> Result<MockServer, Error> {
        let mistakes = [self.bad_address, self.bad_schema, self.mistake];
        if let Some(mistake) = mistakes.into_iter().flatten().next() {
            return Err(mistake);
        }
        if let (Bind::At(address), None) = (&self.settings.bind, &self.settings.tls)
            && address.wants_tls()
        {
            let text =
                format!("{address} asks for TLS, and the mock was given none: use `.tls(..)`");
            return Err(Error::new(Kind::Config, text));
        }
        self.settings.seed = match self.seed {
            Some(seed) => seed,
            None => seed_from_env()?,
        };
        if let (None, Some(source)) = (&self.settings.schema, self.schema_source) {
            self.settings.schema = source().await;
        }
        let server = MockServer::listen(self.settings).await?;
        for recording in self.recordings {
            server.mount_recording(&recording)?;
        }
        Ok(server)
    }
}

pub(super) fn seed_from_env() -> Result<u64, Error> {
    let Some(value) = env::var_os(SEED) else {
        return Ok(fastrand::u64(..));
    };
    let parsed = value.to_str().and_then(|value| value.trim().parse().ok());
    parsed.ok_or_else(|| {
        let text = format!(
            "{SEED} is {value:?}, expected a number from 0 to {}",
            u64::MAX
        );
        Error::new(Kind::Config, text)
    })
}

impl fmt::Debug for MockServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockServerBuilder")
            .field("bind", &self.settings.bind)
            .finish_non_exhaustive()
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
