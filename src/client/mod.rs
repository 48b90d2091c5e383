//! The direct client.
//!
//! - `config`: [`ClientConfig`], plain data; `env` reads it from the environment.
//! - `backoff`: how long to wait between two dials, or two attempts (pure).
//! - `retry`: [`RetryPolicy`], and when a failed call is made again (pure).
//! - `balance`: [`Strategy`], and which endpoint takes a call (pure); `ejection`: [`Ejection`], and when one gets none (pure).
//! - `health_policy`: [`HealthPolicy`]; `monitor`: the health of one endpoint, asked for as long as it is connected.
//! - `discovery`: [`Discover`], where endpoints are found, and go on being found.
//! - `keepalive`: [`Keepalive`]; `dice`: the random numbers of a client.
//! - `dial`: from an address to a connection that is ready; `link`: a way onto a connection.
//! - `connection`: one address: the dial, the connection, its state as a watch channel.
//! - `options`: what one call asks for; `timer` its deadline, `about` how its failure is told.
//! - `transport`: one HTTP/2 call; `response_body`: what comes back.
//! - `channel`: all endpoints of a client, and the calls that go to one of them; `events`, `stats`, `telemetry`: what is seen of it.
//! - `auth`: [`TokenAuth`], what a client is told about authentication; `token`: when a token is renewed (pure);
//!   `credentials`: the token that is held, asked for once; `replay`: a request that can be sent again; `authorize`: calls
//!   with the token; `login`: the call that gets it.
//! - `negotiation`: which side of a call compresses with what.
//! - `upload`: the request's messages on their way.
//! - `resolver`: which method a name means on this server.
//! - `codec`: JSON and bytes as tonic codecs.
//! - `telling`: how a failed call is told.
//! - `call`, `stream`: the calls as people write them, and what comes back.
//! - `handle`, `verbs`, `builder`, `health`, `endpoints`: [`Client`] itself.
//! - `attach`: from a plugin's handshake to a client; `plugin`: what hosts do with plugins; `stdio`: what those write.
//! - `consul`: from a service in Consul to a client.
//! - `pool`: [`Pool`], several connections to one address.

mod about;
mod attach;
mod auth;
mod authorize;
mod backoff;
mod balance;
mod builder;
mod call;
mod channel;
mod codec;
mod config;
mod connection;
mod consul;
mod credentials;
mod dial;
mod dice;
mod discovery;
mod ejection;
mod endpoints;
mod env;
mod events;
mod handle;
mod health;
mod health_policy;
mod keepalive;
mod link;
mod login;
mod monitor;
mod negotiation;
mod options;
mod plugin;
mod pool;
mod replay;
mod resolver;
mod response_body;
mod retry;
mod stats;
mod stdio;
mod stream;
mod telemetry;
mod telling;
mod timer;
mod token;
mod transport;
mod upload;
mod verbs;

pub use crate::tls::ClientTls;
pub use auth::{Token, TokenAuth};
pub use backoff::Backoff;
pub use balance::Strategy;
pub use builder::ClientBuilder;
pub use call::{StreamCall, UnaryCall};
pub use config::ClientConfig;
pub use connection::ConnectionState;
#[cfg(feature = "dns-srv")]
pub use discovery::DnsSrv;
pub use discovery::{
    ConsulService, Discover, Discovery, Dns, EndpointFile, EndpointSet, Poll, Refresh, StaticList,
};
pub use ejection::Ejection;
pub use events::{ClientEvent, Events};
pub use handle::Client;
pub use health_policy::{Health, HealthPolicy};
pub use keepalive::Keepalive;
pub use options::Idempotent;
pub use pool::{ClosedConnections, Lease, Pool, PoolBuilder, PoolStats};
pub use response_body::ResponseBody;
pub use retry::{Hedge, RetryPolicy, Throttle};
pub use stats::{ClientStats, DiscoveryStats, EndpointCounts, EndpointStats};
pub use stdio::StdioMirror;
pub use stream::{Response, ResponseStream};
