//! Where a client finds its endpoints, and how it goes on finding them.
//!
//! - `discover`: [`Discover`], what every source is; `refresh`: how a client asks a source to look again.
//! - `source`: any of them, as a client holds it.
//! - `list`: [`StaticList`], a source that never changes; `poll`: [`Poll`], one that is asked now and then.
//! - `steps`: a stream as an async step.
//! - `dns`: [`Dns`], the addresses of a host.
//! - `file`: [`EndpointFile`], endpoints in a file.
//! - `consul`: [`ConsulService`], the instances of a service in Consul.
//! - `keep`: which set is used: the last one that was good (pure).

mod consul;
mod discover;
mod dns;
mod file;
mod keep;
mod list;
mod poll;
mod refresh;
mod source;
mod steps;

pub use consul::ConsulService;
pub use discover::{Discover, EndpointSet};
pub use dns::Dns;
#[cfg(feature = "dns-srv")]
pub use dns::DnsSrv;
pub use file::EndpointFile;
pub(crate) use keep::{Keep, Step};
pub use list::StaticList;
pub use poll::Poll;
pub use refresh::Refresh;
pub use source::Discovery;
pub(crate) use source::Sets;
