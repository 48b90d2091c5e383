//! Plugins as [go-plugin](https://github.com/hashicorp/go-plugin) and pyvider-rpcplugin have them: programs that a host
//! launches, and that tell it by a line on stdout where they serve.
//!
//! - [`serve`] makes a program one, that does what a test wants of it; [`PluginFault`], what it does wrong.
//! - [`Handshake`], that line; [`ReattachConfig`], the same for a plugin that runs already.
//! - [`Client::attach`](crate::Client::attach) connects to either; [`ping`](crate::Client::ping),
//!   [`mirror_stdio`](crate::Client::mirror_stdio) and [`shutdown_server`](crate::Client::shutdown_server) are what hosts do
//!   beside calling.

pub use crate::client::StdioMirror;
pub use crate::handshake::{Attachment, Handshake, IntoAttachment, ReattachConfig};
pub use crate::mock::{OnShutdown, PluginFault, Serve, serve};
