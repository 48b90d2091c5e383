//! The instances of a service in Consul.
//!
//! - `service`: [`ConsulService`], which of them; `following`: asking for them again and again.
//! - `query`: when, and from which index (pure); `bucket`: how often at most (pure).
//! - `instances`: what an answer says.

mod bucket;
mod following;
mod instances;
mod query;
mod service;

pub use service::ConsulService;
