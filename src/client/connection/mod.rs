//! One connection to one address, that is made when it is needed and made again when it is lost.
//!
//! - `state`: [`ConnectionState`], and what is reported of a connection.
//! - `pings`: when a ping is due.
//! - `shared`: the states and what leads from one to the other.
//! - `carry`: one dial, and the connection that it makes, to its end.
//! - `subchannel`: the hand on it.

mod carry;
mod pings;
mod shared;
mod state;
mod subchannel;

pub use state::ConnectionState;
pub(crate) use state::{Report, Reporter};
pub(crate) use subchannel::{DialSettings, Patience, Subchannel, closed};
