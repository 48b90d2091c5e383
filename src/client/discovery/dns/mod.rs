//! Endpoints by DNS.
//!
//! - `host`: [`Dns`], the addresses of a host.
//! - `looks`: when to ask again (pure); `order`: in which order addresses are told (pure).
//! - `follow`: asking again and again; `system`: the system's resolver.

mod follow;
mod host;
mod looks;
mod order;
mod system;

pub use host::Dns;
