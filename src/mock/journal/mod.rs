//! What the mock saw.
//!
//! - [`call`]: [`Call`], one recorded call, from its headers to its outcome.
//! - [`compare`]: comparing a call with a name and JSON, and printing it.
//! - [`message`]: one message of a call, decoded on demand.
//! - [`outcome`]: how a call ended.
//! - [`log`]: the journal: all calls in order, and waiting for them.

mod call;
mod compare;
mod log;
mod message;
mod outcome;

pub use call::Call;
pub(crate) use call::{Arrived, Connection, Target};
pub(crate) use log::Journal;
pub use message::RecordedMessage;
pub use outcome::Outcome;
