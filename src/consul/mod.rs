//! A Consul agent, and how it is asked.
//!
//! It stands on the ground because both wings ask it: the client for the instances of a service, mock servers to register
//! themselves.
//!
//! - `agent`: [`Consul`], where it is, and who we are for it.
//! - `place`: its address as `CONSUL_HTTP_ADDR` has it; `env`: all of it from the environment.
//! - `ask`: one question and its answer; `http`: the same as bytes, over HTTP/1.
//! - `secret`: what is never printed.

mod agent;
mod ask;
mod env;
mod http;
mod place;
mod secret;

pub use agent::Consul;
pub(crate) use ask::{Answer, Question};

/// The key in the meta data of an instance under which it says that it speaks TLS, and under which name.
pub(crate) const TLS_META: &str = "grpc_tls_name";
