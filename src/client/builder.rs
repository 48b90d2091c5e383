//! Building a client.

use crate::address::IntoAddress;
use crate::client::auth::TokenAuth;
use crate::client::backoff::Backoff;
use crate::client::balance::Strategy;
use crate::client::config::ClientConfig;
use crate::client::discovery::{Discover, Discovery};
use crate::client::ejection::Ejection;
use crate::client::handle::Client;
use crate::client::health_policy::HealthPolicy;
use crate::client::keepalive::Keepalive;
use crate::client::resolver::Resolver;
use crate::client::retry::RetryPolicy;
use crate::endpoint::IntoEndpoint;
use crate::error::Error;
use crate::handshake::{Attachment, IntoAttachment};
use crate::schema::Schema;
use crate::tls::{ClientTls, Identity};
use crate::wire::compression::Compression;
use std::time::Duration;

/// Builds a [`Client`]: a [`ClientConfig`] by chained methods, and a schema.
///
/// ```
/// # use rpcplugin_testkit::{Client, MockServer};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// # let server = MockServer::start().await;
/// let client = Client::builder()
///     .address(server.address())
///     .timeout(Duration::from_secs(5))
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `connect` or `connect_lazy`"]
pub struct ClientBuilder {
    config: ClientConfig,
    schema: Option<Schema>,
    schemaless: bool,
    /// Mistakes in building, told when it connects.
    bad_address: Option<Error>,
    bad_schema: Option<Error>,
}

impl ClientBuilder {
    /// Where the server is: an [`Address`](crate::Address), or a text or `SocketAddr` that is one. Default: `localhost:50051`.
    pub fn address(mut self, address: impl IntoAddress) -> Self {
        match address.into_address() {
            Ok(address) => {
                self.config.endpoints = vec![address.into()];
                self.config.discovery = None;
                self.bad_address = None;
            }
            Err(error) => self.bad_address = Some(error),
        }
        self
    }

    /// Where a [plugin that runs](Client::attach) is, and how it speaks TLS.
    pub fn attach(mut self, plugin: impl IntoAttachment) -> Self {
        match plugin.into_attachment() {
            Ok(Attachment { address, tls }) => {
                self.config.tls = tls;
                self.address(address)
            }
            Err(error) => {
                self.bad_address = Some(error);
                self
            }
        }
    }

    /// Who we are, for servers that want to know: [`ClientTls::identity`] of the TLS that there is, or of one that trusts nobody
    /// else.
    pub fn identity(mut self, identity: Identity) -> Self {
        let tls = self.config.tls.take().unwrap_or_default();
        self.tls(tls.identity(identity))
    }

    /// The servers that calls may go to, all of which serve the same: [`Endpoint`](crate::Endpoint)s, or whatever is an address.
    ///
    /// There may be none at first ([`Client::set_endpoints`] tells them later). With several, a client keeps a connection to each
    /// (with [`Strategy::First`] to the one that takes the calls, to the next, and to those before it), and [`connect`](Self::connect) waits for the first that is ready.
    ///
    /// ```no_run
    /// use rpcplugin_testkit::{Client, Endpoint, Strategy};
    ///
    /// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
    /// let client = Client::builder()
    ///     .endpoints([Endpoint::new("server1:50051")?.weight(3), Endpoint::new("server2:50051")?])
    ///     .strategy(Strategy::Weighted)
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item: IntoEndpoint>) -> Self {
        let endpoints = endpoints.into_iter().map(IntoEndpoint::into_endpoint);
        match endpoints.collect() {
            Ok(endpoints) => {
                self.config.endpoints = endpoints;
                self.config.discovery = None;
                self.bad_address = None;
            }
            Err(error) => self.bad_address = Some(error),
        }
        self
    }

    /// Has the endpoints that a [source](Discover) tells, and goes on having them as they change: those that stay keep their
    /// connections, those that go finish their calls. Endpoints that were given otherwise are forgotten.
    ///
    /// [`connect`](Self::connect) and the first calls wait for the first set, and fail with what the source fails with. Later
    /// failures leave the last good set in use, and are told as an [event](crate::client::ClientEvent::DiscoveryFailed).
    ///
    /// ```
    /// use rpcplugin_testkit::{Client, MockServer, client::StaticList};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// # let server = MockServer::start().await;
    /// let source = StaticList::new([server.address()])?;
    /// let client = Client::builder().discover(source).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn discover(mut self, source: impl Discover) -> Self {
        self.config.discovery = Some(Discovery::new(source));
        self.config.endpoints.clear();
        self.bad_address = None;
        self
    }

    /// How long the endpoints that there were are used when the [source](Self::discover) says that there are none any more:
    /// a registry that is restarted forgets everybody for a moment. [`Duration::MAX`] for ever. Default: 30 s.
    pub fn empty_grace(mut self, grace: Duration) -> Self {
        self.config.empty_grace = grace;
        self
    }

    /// Which endpoint a call goes to. Default: [`Strategy::Weighted`], which is in turn when all have the same weight.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// What all random numbers of the client follow from, so that they can be had again: the choices of a strategy, and the
    /// jitter of waits.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Lets calls wait within their deadline while there are no endpoints at all, instead of failing.
    pub fn wait_for_endpoints(mut self) -> Self {
        self.config.wait_for_endpoints = true;
        self
    }

    /// When a failed call is made again. Default: [`RetryPolicy::default`], four attempts for idempotent calls.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.retry = policy;
        self
    }

    /// Declares a method [idempotent](crate::client::UnaryCall::idempotent), however it is called: `Method`,
    /// `Service.Method` or `pkg.Service/Method`.
    pub fn idempotent(mut self, method: impl Into<String>) -> Self {
        self.config.idempotent.push(method.into());
        self
    }

    /// When an endpoint that fails gets no calls; `None` for never. Default: after 5 failures in a row.
    pub fn ejection(mut self, policy: impl Into<Option<Ejection>>) -> Self {
        self.config.ejection = policy.into();
        self
    }

    /// Asks the health service of every endpoint, and calls none that is not serving. Default: nobody is asked.
    pub fn health(mut self, policy: impl Into<Option<HealthPolicy>>) -> Self {
        self.config.health = policy.into();
        self
    }

    /// Pings connections. Default: no pings.
    pub fn keepalive(mut self, keepalive: impl Into<Option<Keepalive>>) -> Self {
        self.config.keepalive = keepalive.into();
        self
    }

    /// Replaces everything set so far but the schema, as with [`ClientConfig::from_env`].
    pub fn config(mut self, config: ClientConfig) -> Self {
        self.config = config;
        self.bad_address = None;
        self
    }

    /// How long a call may take when it does not say itself. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = Some(timeout);
        self
    }

    /// Lets calls that do not say themselves take as long as they take.
    pub fn no_timeout(mut self) -> Self {
        self.config.timeout = None;
        self
    }

    /// How long one dial may take. Default: 20 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long [`Client::close`] lets calls in flight finish. Default: 10 s.
    pub fn close_grace(mut self, grace: Duration) -> Self {
        self.config.close_grace = grace;
        self
    }

    /// The wait between failed dials. Default: gRPC's, from 1 s to 120 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// The largest reply message that is accepted, in bytes, compressed and decompressed. Default: 4 MiB. (Generated
    /// clients have a setting of their own, `max_decoding_message_size`, which holds beside this one for compressed
    /// replies, and alone for others.)
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.config.max_message_size = bytes;
        self
    }

    /// Compresses requests, when a call does not say itself
    /// ([gRPC compression](https://github.com/grpc/grpc/blob/master/doc/compression.md)). Default: no compression.
    ///
    /// A server that does not understand it answers with `UNIMPLEMENTED`. Generated clients that compress themselves
    /// (tonic's `send_compressed`) are left alone, and look-ups by reflection and health checks are not compressed.
    /// Replies are decompressed without being asked for.
    ///
    /// ```no_run
    /// use rpcplugin_testkit::{Client, Compression};
    ///
    /// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
    /// let client = Client::builder().compression(Compression::Gzip).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = Some(compression);
        self
    }

    /// Speaks TLS. Without this only `https://` addresses do, with this machine's roots (feature `system-roots`).
    ///
    /// ```
    /// use rpcplugin_testkit::{Client, ClientTls, MockServer, tls::Authority};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let authority = Authority::new();
    /// let server = MockServer::builder().tls(&authority).start().await;
    ///
    /// let tls = ClientTls::new().roots(&authority);
    /// let client = Client::builder().address(server.address()).tls(tls).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.config.tls = Some(tls);
        self
    }

    /// Sends a token with every call. [`connect`](Self::connect) asks for the first one.
    pub fn auth(mut self, auth: TokenAuth) -> Self {
        self.config.auth = Some(auth);
        self
    }

    /// The schema for dynamic calls. Without one the server's reflection service is asked.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self.bad_schema = None;
        self
    }

    /// Tells that the server has no schema, which need not be asked then.
    pub(crate) fn schemaless(mut self) -> Self {
        self.schemaless = true;
        self
    }

    /// The schema for dynamic calls, as an encoded `FileDescriptorSet`.
    pub fn descriptor_set(mut self, bytes: impl AsRef<[u8]>) -> Self {
        match Schema::from_descriptor_set(bytes) {
            Ok(schema) => return self.schema(schema),
            Err(error) => self.bad_schema = Some(error),
        }
        self
    }

    /// The schema for dynamic calls, compiled from one `.proto` file whose imports are beside it.
    #[cfg(feature = "proto-files")]
    pub fn proto_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        match Schema::from_proto_file(path) {
            Ok(schema) => return self.schema(schema),
            Err(error) => self.bad_schema = Some(error),
        }
        self
    }

    /// Connects: the client that comes back has a connection whose server has answered. Of several endpoints it is one, and
    /// the others follow.
    ///
    /// # Errors
    ///
    /// When something given to the builder is malformed, no connection can be made within the connect timeout, or no
    /// [token](Self::auth) can be had.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.connect_lazy()?;
        client.connected().await?;
        Ok(client)
    }

    /// A client that connects with its first call.
    ///
    /// # Errors
    ///
    /// When something given to the builder is malformed.
    ///
    /// # Panics
    ///
    /// With several endpoints, with [`health`](Self::health) or with [`discover`](Self::discover), outside a tokio runtime: those
    /// begin at once.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        if let Some(mistake) = self.bad_address.or(self.bad_schema) {
            return Err(mistake);
        }
        let resolver = match (self.schema, self.schemaless) {
            (Some(schema), _) => Resolver::Given(schema),
            (None, true) => Resolver::Schemaless,
            (None, false) => Resolver::by_reflection(),
        };
        Client::new(self.config, resolver)
    }
}

impl Client {
    /// Connects to a server: `127.0.0.1:50051`, `unix:/run/plugin.sock`, or an [`Address`](crate::Address).
    ///
    /// # Errors
    ///
    /// When the address is malformed, or no connection can be made within the connect timeout of 20 s.
    pub async fn connect(address: impl IntoAddress) -> Result<Self, Error> {
        Self::builder().address(address).connect().await
    }

    /// A client with settings of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}
