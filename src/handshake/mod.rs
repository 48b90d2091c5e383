//! How a host learns where its plugin is.
//!
//! - `line`: [`Handshake`], the line that a plugin prints.
//! - `network`: addresses as go-plugin writes them.
//! - `reattach`: [`ReattachConfig`], the same for a plugin that runs already, as JSON.
//! - `versions`: which of several versions of the application's protocol a plugin and its host speak.
//! - `attachment`: what a client needs of any of them.

mod attachment;
mod line;
mod network;
mod reattach;
mod versions;

pub use attachment::{Attachment, IntoAttachment};
pub(crate) use line::CORE_VERSION;
pub use line::Handshake;
pub(crate) use network::{address_of, network_of};
pub use reattach::ReattachConfig;
pub(crate) use versions::{negotiate, versions_of};
