//! The client.

use crate::client::authorize::Authorized;
use crate::client::call::{Open, Settings, Started};
use crate::client::channel::Channel;
use crate::client::config::ClientConfig;
use crate::client::connection::ConnectionState;
use crate::client::credentials::Credentials;
use crate::client::options::{CallOptions, Idempotent, Served};
use crate::client::resolver::{Resolver, Target, parse_path};
use crate::client::response_body::ResponseBody;
use crate::client::telling::Telling;
use crate::error::{Error, Kind};
use crate::schema::{Shape, reflect};
use http::{HeaderName, uri::PathAndQuery};
use prost::Message;
use serde_json::Value;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{timeout, timeout_at},
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Status, body::Body, client::Grpc, codec::Codec, codegen::Service, metadata::MetadataMap,
};
use tonic_prost::ProstCodec;

/// A client of running plugin servers: of one, or of several that serve the same.
///
/// It is a cheap handle: clone it, and share it between tasks. It calls methods by name with JSON ([`call`](Self::call)),
/// by path with prost messages ([`unary`](Self::unary)), and it is a [`tower::Service`], so that every tonic-generated
/// client works over it: `EchoClient::new(client.clone())`.
///
/// With several [endpoints](crate::client::ClientBuilder::endpoints) each call goes to one that can take it, by a
/// [`Strategy`](crate::Strategy). A call that was certainly not processed (it never left, or its server refused it) is made again
/// elsewhere; one that may have been only if it is [idempotent](crate::client::UnaryCall::idempotent), by a
/// [`RetryPolicy`](crate::client::RetryPolicy). An endpoint that fails too often in a row gets no calls for a while
/// ([`Ejection`](crate::client::Ejection)), and one that is not serving none if its health is watched
/// ([`HealthPolicy`](crate::client::HealthPolicy)).
///
/// A lost connection is made anew, by the next call or, with several endpoints, at once, with
/// [gRPC's backoff](https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md) between failed dials. Every call
/// has a deadline, 30 s when nothing else is said.
///
/// ```
/// use rpcplugin_testkit::{Client, MockServer, Stub, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let server = MockServer::start().await;
/// server.mount(Stub::method("Echo").reply(json!({"message": "Hello"})));
///
/// let client = Client::connect(server.address()).await?;
/// let reply = client.call("Echo", json!({"message": "Hello"})).await?;
/// assert_eq!(reply["message"], "Hello");
/// client.close().await;
/// # Ok(())
/// # }
/// ```
///
/// [`tower::Service`]: https://docs.rs/tower-service/latest/tower_service/trait.Service.html
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
    /// Whether every call of this handle is.
    is_idempotent: bool,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    authorized: Authorized,
    resolver: Arc<Resolver>,
}

impl Client {
    /// What calls go by has been made already.
    pub(super) fn of(
        config: ClientConfig,
        resolver: Arc<Resolver>,
        authorized: Authorized,
    ) -> Self {
        let inner = Inner {
            config,
            authorized,
            resolver,
        };
        Self {
            inner: Arc::new(inner),
            is_idempotent: false,
        }
    }

    pub(super) fn channel(&self) -> &Arc<Channel> {
        &self.inner.authorized.channel
    }

    pub(super) fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    pub(super) fn resolver(&self) -> &Arc<Resolver> {
        &self.inner.resolver
    }

    pub(super) fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.inner.authorized.credentials.as_ref()
    }

    /// How many streams the peer of a connection takes at a time, if there is one endpoint, and it says so.
    pub(super) fn stream_limit(&self) -> Option<usize> {
        self.channel().stream_limit()
    }

    /// A handle on the same client all of whose calls are [idempotent](crate::client::UnaryCall::idempotent), for generated
    /// clients.
    ///
    /// ```no_run
    /// # use rpcplugin_testkit::Client;
    /// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
    /// let client = Client::builder().endpoints(["127.0.0.1:50051", "127.0.0.1:50052"]).connect().await?;
    /// let stub = tonic_health::pb::health_client::HealthClient::new(client.idempotent());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn idempotent(&self) -> Self {
        Self {
            is_idempotent: true,
            ..self.clone()
        }
    }

    /// Waits until there is a connection, and a token if there has to be one.
    pub(super) async fn connected(&self) -> Result<(), Error> {
        self.channel().connected(false).await?;
        match &self.inner.authorized.credentials {
            Some(credentials) => {
                let limit = self.inner.config.timeout.unwrap_or(Duration::MAX);
                let token = timeout(limit, credentials.token()).await;
                token.map(|token| token.map(drop)).unwrap_or_else(|_| {
                    let target = self.target();
                    let text = format!("no token for {target} within the timeout of {limit:?}");
                    Err(Error::new(Kind::Timeout, text))
                })
            }
            None => Ok(()),
        }
    }

    /// The metadata key that its token stands under.
    pub(crate) fn token_key(&self) -> Option<&HeaderName> {
        let credentials = self.inner.authorized.credentials.as_ref();
        credentials.map(|credentials| credentials.key())
    }

    /// The servers in short, for texts.
    pub(crate) fn target(&self) -> Arc<str> {
        self.channel().target()
    }

    /// The state of the connection, now and whenever it changes; with several endpoints that of all together.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.channel().state()
    }

    /// Reads the files that its [`ClientTls`](crate::ClientTls) names again, to tell what is wrong with them. The next dial uses
    /// them; connections that there are stay as they are.
    ///
    /// Every dial reads them anyway, and uses what was read last if they are of no use.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or what it holds is of no use. What was read before is kept then.
    pub fn reload_tls(&self) -> Result<(), Error> {
        self.channel().reload_tls()
    }

    /// Closes the client and all its clones: later calls fail at once ([`Error::is_closed`]), calls in flight may finish
    /// within the grace of the configuration (10 s), and what is left is cut.
    ///
    /// It says good-bye on the connection only, and never asks the server to shut down. Closing twice is fine: both wait.
    /// Dropping the future cuts what is in flight at once.
    pub async fn close(&self) {
        self.drain(self.inner.config.close_grace).await;
    }

    /// [`close`](Self::close) with a grace of its own.
    pub async fn drain(&self, grace: Duration) {
        self.channel().close(grace).await;
    }

    pub(super) fn typed<Req, Res>(
        &self,
        requests: impl Stream<Item = Req> + Send + 'static,
    ) -> Open<Res>
    where
        Req: Message + 'static,
        Res: Message + Default + 'static,
    {
        let client = self.clone();
        Box::new(move |name, settings| {
            Box::pin(async move {
                let started = client.start(settings)?;
                let path = parse_path(&name)?;
                let telling = client.telling(name, &started);
                let opened = client.open(started, path, requests, ProstCodec::default());
                told(opened.await, telling)
            })
        })
    }

    pub(super) fn dynamic(&self, shape: Shape, args: Args) -> Open<Value> {
        let client = self.clone();
        Box::new(move |method, settings| {
            Box::pin(async move {
                let mut started = client.start(settings)?;
                started.options.idempotent |= client.channel().names_idempotent(&method);
                let mut target = client.resolve(&method, shape, &started).await?;
                let mut telling = Telling {
                    hint: target.guessed.then_some(NO_SCHEMA),
                    ..client.telling(method, &started)
                };
                let opened = match args {
                    Args::One(args) => {
                        target.codec.prepare(&args)?;
                        client
                            .open(started, target.path, tokio_stream::once(args), target.codec)
                            .await
                    }
                    Args::Many(args) => {
                        let openings = vec![Value::Null; target.codec.openings()];
                        let args = tokio_stream::iter(openings).chain(args);
                        telling.failure = Some(target.codec.failure());
                        client.open(started, target.path, args, target.codec).await
                    }
                };
                told(opened, telling)
            })
        })
    }

    fn start(&self, settings: Settings) -> Result<Started, Error> {
        let mut started = settings.start(&self.inner.config)?;
        started.options.idempotent |= self.is_idempotent;
        if !self.channel().is_lone() {
            started.served = Some(Served::default());
        }
        Ok(started)
    }

    fn telling(&self, name: String, started: &Started) -> Telling {
        Telling {
            name,
            target: self.target(),
            served: started.served.clone(),
            hint: None,
            compression: started.options.compression,
            failure: None,
        }
    }

    /// Finds the method, within the call's deadline.
    async fn resolve(
        &self,
        method: &str,
        shape: Shape,
        started: &Started,
    ) -> Result<Target, Error> {
        let unasked = match self.inner.resolver.resolve(method, shape) {
            Ok(known) => return known,
            Err(unasked) => unasked,
        };
        let resolve = unasked.resolve(method, shape, || {
            reflect(Asking {
                client: self.clone(),
                // A server that refuses a compressed look-up would seem to have no reflection.
                options: CallOptions {
                    compression: None,
                    idempotent: true,
                    unary: false,
                    ..started.options
                },
                metadata: started.metadata.clone(),
            })
        });
        // Few calls ask, and all calls would carry the room for it along.
        let resolve = Box::pin(resolve);
        let deadline = started.options.deadline;
        let Some(at) = deadline.and_then(|deadline| deadline.at) else {
            return resolve.await;
        };
        timeout_at(at, resolve).await.unwrap_or_else(|_| {
            let limit = deadline.and_then(|deadline| deadline.timeout);
            let limit = limit.unwrap_or_default();
            let text = format!(
                "{method} at {} exceeded its deadline of {limit:?} while asking the server's reflection",
                self.target()
            );
            Err(Error::new(Kind::Timeout, text))
        })
    }

    async fn open<C, S>(
        &self,
        started: Started,
        path: PathAndQuery,
        messages: S,
        codec: C,
    ) -> Result<tonic::Response<tonic::Streaming<C::Decode>>, Status>
    where
        C: Codec,
        S: Stream<Item = C::Encode> + Send + 'static,
        C::Encode: Send + Sync + 'static,
        C::Decode: Send + Sync + 'static,
    {
        Grpc::new(self.clone())
            .max_decoding_message_size(self.inner.config.max_message_size)
            .streaming(started.request(messages), path, codec)
            .await
    }
}

const NO_SCHEMA: &str = "the server has no reflection service and does not serve rpcplugin.v1.Plugin; \
     give `Client::builder()` its `.descriptor_set(..)`";

/// What was opened, with how its failures are told.
fn told<T>(opened: Result<T, Status>, telling: Telling) -> Result<(T, Telling), Error> {
    match opened {
        Ok(opened) => Ok((opened, telling)),
        Err(status) => Err(telling.explain(status)),
    }
}

/// The arguments of a dynamic call.
pub(super) enum Args {
    Many(Pin<Box<dyn Stream<Item = Value> + Send>>),
    One(Value),
}

/// What tonic-generated clients call. The error is a [`Status`] whose source is an [`Error`].
impl Service<http::Request<Body>> for Client {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if self.is_idempotent {
            request.extensions_mut().insert(Idempotent);
        }
        self.inner.authorized.clone().send(request)
    }
}

/// A client whose requests have the options and the metadata of the call that they are made for.
#[derive(Clone)]
struct Asking {
    client: Client,
    options: CallOptions,
    metadata: MetadataMap,
}

impl Service<http::Request<Body>> for Asking {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = <Client as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.extensions_mut().insert(self.options);
        // A server that wants to know who calls wants to know it here too.
        request
            .headers_mut()
            .extend(self.metadata.clone().into_headers());
        Service::call(&mut self.client, request)
    }
}
