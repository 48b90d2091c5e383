//! The mock plugin server.
//!
//! - `journal`: what it saw: [`Call`], its messages and outcome, in order.
//! - `matcher`: which calls a stub is for.
//! - `reply`: what a stub answers: messages, a status, closures, or a stream that the test holds.
//! - `stub`: the two together, as a specification.
//! - `registry`: the mounted stubs, and which of them serves a call.
//! - `respond`: one reply on its way to the client.
//! - `serve`: one call, from its headers to its outcome.
//! - `builtin`: health and reflection.
//! - `connection`: one HTTP/2 connection.
//! - `server`, `builder`: [`MockServer`] itself.

mod builder;
mod builtin;
mod connection;
mod journal;
mod matcher;
mod registry;
mod reply;
mod respond;
mod serve;
mod server;
mod stub;

pub use builder::MockServerBuilder;
pub use journal::{Call, Outcome, RecordedMessage};
pub use matcher::Matcher;
pub use reply::{CallStream, CallStreams, IntoReply, Reply, ReplyFn, how};
pub use server::MockServer;
pub use stub::Stub;
