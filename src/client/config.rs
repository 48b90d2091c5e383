//! What a client is told before it connects.

use crate::address::Address;
use crate::client::auth::TokenAuth;
use crate::client::backoff::Backoff;
use crate::client::tls::ClientTls;
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
    /// Where the server is. Default: `localhost:50051`.
    pub address: Address,
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
            address: Address::tcp("localhost", 50051),
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
