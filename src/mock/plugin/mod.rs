//! A server as a plugin that a host manages.
//!
//! - `managed`: what a test says of a mock in its own process: what it writes, what it does when it is told to end.
//! - `serve`: [`serve`], a program that is a plugin. `asked`: what its host wants of it; `place`: where it listens; `life`: when
//!   it ends.
//! - `multiplexed`: one whose connections all go through one, by a feature.
//! - `fault`: [`PluginFault`], what it does wrong.

mod asked;
mod fault;
mod life;
mod managed;
#[cfg(feature = "multiplex")]
mod multiplexed;
mod place;
mod serve;

pub use fault::PluginFault;
#[cfg(feature = "multiplex")]
pub use multiplexed::BrokeredStream;
pub use serve::{Serve, serve};
