//! Several connections to one address.
//!
//! - `settings`: [`PoolBuilder`], what a pool is told.
//! - `pool`: [`Pool`], the handle; `lease`: [`Lease`], what it hands out; `stats`: [`PoolStats`].
//! - `slots`: which connections there are, who has them, and which is dialled next (pure); `pace`: when (pure).
//! - `queue`: who waits, in the order of arrival (pure); `turn`: how one of them does.
//! - `member`: what the pool asks of a client.
//! - `state`: what the pool knows at one moment; `shared`: the same under one lock; `keeper`: what goes on in the background.

mod keeper;
mod lease;
mod member;
mod pace;
#[expect(clippy::module_inception, reason = "the pool of the pool's rooms")]
mod pool;
mod queue;
mod settings;
mod shared;
mod slots;
mod state;
mod stats;
mod turn;

pub use lease::Lease;
pub use pool::Pool;
pub use settings::PoolBuilder;
pub use stats::{ClosedConnections, PoolStats};
