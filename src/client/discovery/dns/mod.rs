//! Endpoints by DNS.
//!
//! - `host`: [`Dns`], the addresses of a host; `system`: the system's resolver.
//! - `srv`: `DnsSrv`, SRV records; `records`: endpoints of them (pure); `query`: asking for them.
//! - `follow`: asking again and again; `looks`: when to (pure); `order`: in which order addresses are told (pure).

mod follow;
mod host;
mod looks;
mod order;
#[cfg(feature = "dns-srv")]
mod query;
#[cfg(feature = "dns-srv")]
mod records;
#[cfg(feature = "dns-srv")]
mod srv;
mod system;

pub use host::Dns;
#[cfg(feature = "dns-srv")]
pub use srv::DnsSrv;
