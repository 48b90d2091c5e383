//! The direct client.
//!
//! - `config`: [`ClientConfig`], plain data; `env` reads it from the environment.
//! - `tls`: [`ClientTls`], what a client is told about TLS; `secure`: the same, ready for a dial.
//! - `backoff`: how long to wait between two dials (pure).
//! - `dial`: from an address to a connection that is ready.
//! - `link`: a way onto a connection.
//! - `connection`: one address: the dial, the connection, its state as a watch channel.
//! - `transport`: one HTTP/2 call: the stream and the response body; `timer` its deadline, `about` how its failure is told.
//! - `auth`: [`TokenAuth`], what a client is told about authentication; `token`: when a token is renewed (pure);
//!   `credentials`: the token that is held, asked for once; `replay`: a request that can be sent again; `authorize`: calls
//!   with the token; `login`: the call that gets it.
//! - `negotiation`: which side of a call compresses with what.
//! - `upload`: the request's messages on their way.
//! - `resolver`: which method a name means on this server.
//! - `codec`: JSON and bytes as tonic codecs.
//! - `telling`: how a failed call is told.
//! - `call`, `stream`: the calls as people write them, and what comes back.
//! - `handle`, `verbs`, `builder`, `health`: [`Client`] itself.
//! - `pool`: [`Pool`], several connections to one address.

mod about;
mod auth;
mod authorize;
mod backoff;
mod builder;
mod call;
mod codec;
mod config;
mod connection;
mod credentials;
mod dial;
mod env;
mod handle;
mod health;
mod link;
mod login;
mod negotiation;
mod pool;
mod replay;
mod resolver;
mod secure;
mod stream;
mod telling;
mod timer;
mod tls;
mod token;
mod transport;
mod upload;
mod verbs;

pub use auth::{Token, TokenAuth};
pub use backoff::Backoff;
pub use builder::ClientBuilder;
pub use call::{StreamCall, UnaryCall};
pub use config::ClientConfig;
pub use connection::ConnectionState;
pub use handle::Client;
pub use pool::{ClosedConnections, Lease, Pool, PoolBuilder, PoolStats};
pub use stream::{Response, ResponseStream};
pub use tls::ClientTls;
pub use transport::ResponseBody;
