//! A Consul agent in the test's own process.
//!
//! - `server`: [`MockConsul`] itself; `knowing`: what it knows, and `asserting`: what it was asked, in the test's hands;
//!   `serving`: its connections.
//! - `instance`: [`ServiceInstance`], as a test writes one down; `registering`: as a client does.
//! - `catalog`: what is registered, its checks, and when something changed (pure).
//! - `query`: parameters; `filter`: filter expressions; `tokens`: who may see what (pure).
//! - `routes`: what is answered, and when; `state`: what it needs for that.
//! - `fault`: [`ConsulFault`], what goes wrong; `request`: [`ConsulRequest`], what it was asked.

mod asserting;
mod catalog;
mod fault;
mod filter;
mod instance;
mod knowing;
mod query;
mod registering;
mod request;
mod routes;
mod server;
mod serving;
mod state;
mod tokens;

pub use fault::{ConsulFault, InjectedConsulFault, ScopedConsulFault};
pub use instance::{CheckStatus, ServiceInstance};
pub use request::ConsulRequest;
pub use server::MockConsul;
