//! Registrations with Consul.
//!
//! - `entry`: a server as Consul takes it.
//! - `keeping`: its registration, kept up as long as the server is.

mod entry;
mod keeping;

pub(super) use entry::{Check, Entry};
pub(super) use keeping::Registrations;
