//! What a client is told before it connects.

use crate::address::Address;
use crate::client::auth::TokenAuth;
use crate::client::backoff::Backoff;
use crate::client::balance::Strategy;
use crate::client::discovery::Discovery;
use crate::client::ejection::Ejection;
use crate::client::health_policy::HealthPolicy;
use crate::client::keepalive::Keepalive;
use crate::client::retry::RetryPolicy;
use crate::endpoint::Endpoint;
use crate::tls::ClientTls;
use crate::wire::compression::Compression;
use std::time::Duration;

/// Everything a [`Client`](crate::Client) can be told, as plain data.
///
/// [`Client::builder`](crate::Client::builder) mirrors it, and [`from_env`](Self::from_env) reads it from the
/// environment.
///
/// ```no_run
/// use rpcplugin_testkit::{Client, ClientConfig};
///
/// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
/// let client = Client::builder().config(ClientConfig::from_env()?).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The servers that calls may go to. Default: `localhost:50051` alone.
    pub endpoints: Vec<Endpoint>,
    /// Where they are found, and go on being found. With it, `endpoints` means nothing. Default: `None`.
    pub discovery: Option<Discovery>,
    /// How long the endpoints that there were are used when `discovery` says that there are none any more.
    /// [`Duration::MAX`] for ever. Default: 30 s.
    pub empty_grace: Duration,
    /// Which of them a call goes to. Default: [`Strategy::Weighted`].
    pub strategy: Strategy,
    /// What all random numbers of a client follow from: the choices of a strategy, and the jitter of waits. `None` for another with every client. Default: `None`.
    pub seed: Option<u64>,
    /// Whether calls wait for endpoints within their deadline, instead of failing, while there are none at all.
    /// Default: `false`.
    pub wait_for_endpoints: bool,
    /// When a failed call is made again.
    pub retry: RetryPolicy,
    /// Methods that may be called more than once with the effect of once, as `Method`, `Service.Method` or
    /// `pkg.Service/Method`. Those whose schema says so (`idempotency_level`) need not be named. Default: none.
    pub idempotent: Vec<String>,
    /// When an endpoint that fails gets no calls. `None` for never. Default: after 5 failures in a row.
    pub ejection: Option<Ejection>,
    /// Asks the health service of every endpoint, and calls none that is not serving. `None` to ask nobody. Default: `None`.
    pub health: Option<HealthPolicy>,
    /// Pings on connections. `None` for none. Default: `None`.
    pub keepalive: Option<Keepalive>,
    /// How long a call may take, from the call to the end of its reply, when it is not told otherwise. It is sent as
    /// `grpc-timeout`. `None` for no limit. Default: 30 s.
    pub timeout: Option<Duration>,
    /// How long one dial may take, up to the server's HTTP/2 settings. Default: 20 s.
    pub connect_timeout: Duration,
    /// How long [`close`](crate::Client::close) lets calls in flight finish. Default: 10 s.
    pub close_grace: Duration,
    /// The wait between failed dials.
    pub backoff: Backoff,
    /// The largest reply message that is accepted, in bytes, compressed and decompressed. Default: 4 MiB.
    pub max_message_size: usize,
    /// What requests are compressed with, when a call is not told otherwise. `None` for no compression. Replies are
    /// decompressed whatever it is. Default: `None`.
    pub compression: Option<Compression>,
    /// TLS. `None` for plaintext, unless the address is an `https://` one. Default: `None`.
    pub tls: Option<ClientTls>,
    /// The token that every call has. `None` for none. Default: `None`.
    pub auth: Option<TokenAuth>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            endpoints: vec![Address::tcp("localhost", 50051).into()],
            discovery: None,
            empty_grace: Duration::from_secs(30),
            strategy: Strategy::default(),
            seed: None,
            wait_for_endpoints: false,
            retry: RetryPolicy::default(),
            idempotent: Vec::new(),
            ejection: Some(Ejection::default()),
            health: None,
            keepalive: None,
            timeout: Some(Duration::from_secs(30)),
            connect_timeout: Duration::from_secs(20),
            close_grace: Duration::from_secs(10),
            backoff: Backoff::default(),
            max_message_size: crate::wire::MESSAGE_LIMIT,
            compression: None,
            tls: None,
            auth: None,
        }
    }
}
