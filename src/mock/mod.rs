//! The mock plugin server.
//!
//! - `journal`: what it saw: [`Call`], its messages and outcome, in order; [`Journal`], a view of them.
//! - `matcher`: which calls a stub is for.
//! - `reply`: what a stub answers: messages, a status, closures, or a stream that the test holds.
//! - `times`, `sequence`: how often, and in which order.
//! - `stub`: all of it together, as a specification.
//! - `mounted`: a stub in its place, with its count; `registry`: all of them, and which of them serves a call.
//! - `auth`: [`Auth`], which callers it accepts; `login`: a stub that issues tokens.
//! - `dice`: what is random, and the seed that repeats it.
//! - `explain`: why none does; `verify`: whether all came that was expected.
//! - `fault`: [`Fault`], what goes wrong and when; `line`: a connection in its hands; `breaking`: an answer in its hands;
//!   `outlet`: where an answer goes, to its stream or through those.
//! - `handle`: a mounted stub in the test's hands.
//! - `reading`: request messages that come while a call is answered.
//! - `foreign`: requests that are no gRPC calls.
//! - `respond`: one reply on its way to the client.
//! - `backend`: a real service behind the stubs; `builtin`: health and reflection, which are such services.
//! - `intake`: reading as much as choosing needs; `serve`: one call, from its headers to its outcome.
//! - `tls`: [`ServerTls`], what it is told about TLS.
//! - `admission`: what happens to a connection before it is served; `connection`: one HTTP/2 connection.
//! - `stopping`: how a server ends, also by its host.
//! - `open`: whether it listens at an address, and the connections that are open; `doors`: all addresses of a server.
//! - `recording`: calls saved to a file, and stubs made of it.
//! - `server`, `mounting`, `asserting`, `rotating`, `lifecycle`, `builder`: [`MockServer`] itself.
//! - `registration`: that servers are registered with Consul, kept up; `register`: [`Register`], making it so.
//! - `consul`: [`MockConsul`], an agent of Consul.
//! - `brokering`: [`Broker`], connections beside the plugin's own.
//! - `plugin`: a server as a plugin that a host manages, and a program that is one.
//! - `chaos`: [`Chaos`], failures by a schedule that is drawn from a seed.
//! - `cluster`: [`MockCluster`], several of them as one.

mod admission;
mod asserting;
mod auth;
mod backend;
mod breaking;
mod brokering;
mod builder;
mod builtin;
mod chaos;
mod cluster;
mod connection;
mod consul;
mod dice;
mod doors;
mod explain;
mod fault;
mod foreign;
mod handle;
mod injecting;
mod intake;
mod journal;
mod lifecycle;
mod line;
mod login;
mod matcher;
mod mounted;
mod mounting;
mod open;
mod outlet;
mod plugin;
mod reading;
mod recording;
mod register;
mod registration;
mod registry;
mod reply;
mod respond;
mod rotating;
mod sequence;
mod serve;
mod server;
mod stopping;
mod stub;
mod times;
mod tls;
mod verify;

pub use auth::{Auth, Grant};
pub(crate) use backend::Backend;
pub use brokering::Broker;
pub use builder::MockServerBuilder;
pub use builtin::OnShutdown;
pub use chaos::{Chaos, ChaosAction, ChaosEvent, ChaosReport};
pub use cluster::{ClientGroup, MockCluster, Partition};
pub use consul::{
    CheckStatus, ConsulFault, ConsulRequest, InjectedConsulFault, MockConsul, ScopedConsulFault,
    ServiceInstance,
};
pub use fault::{Fault, GoAway, InjectedFault, ScopedFault};
pub use handle::{MountedStub, ScopedStub};
pub use journal::{Call, Journal, Outcome, RecordedMessage, RefusedConnection};
pub use lifecycle::Kill;
pub use matcher::{Matcher, Mismatch};
#[cfg(feature = "multiplex")]
pub use plugin::BrokeredStream;
pub use plugin::{PluginFault, Serve, serve};
pub use register::Register;
pub use reply::{CallStream, CallStreams, Delay, Gate, IntoReply, Reply, ReplyFn, how};
pub use sequence::Sequence;
pub use server::MockServer;
pub use stub::Stub;
pub use times::Times;
pub use tls::ServerTls;
pub use verify::Report;

/// Conditions of stubs: which calls they are for.
///
/// Give one to [`Stub::when`](crate::Stub::when). They work on decoded messages with proto3's defaults filled in, compare
/// numbers by value, and take field names as the `.proto` file writes them or in JSON's camelCase.
///
/// ```
/// use rpcplugin_testkit::{Stub, json, matchers::{field, json_subset, metadata, not}};
///
/// Stub::method("Put")
///     .when(json_subset(json!({"entry": {"key": "a"}})))
///     .when(not(field("entry.size", 0)))
///     .when(metadata("x-tenant", "blue"))
///     .reply(json!({"stored": true}));
/// ```
pub mod matchers {
    pub use crate::mock::matcher::{
        CertificateExpectation, Expectation, IntoCertificateExpectation, IntoExpectation,
        IntoTextExpectation, MatcherList, TextExpectation, all, any, client_certificate,
        connection, deadline, every_message, field, how, json, json_subset, message, message_count,
        metadata, metadata_bin, no_deadline, no_metadata, not, peer, request, some_message, typed,
    };
}
