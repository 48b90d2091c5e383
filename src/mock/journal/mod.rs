//! What the mock saw.
//!
//! - `call`: [`Call`], one recorded call, from its headers to its outcome.
//! - `compare`: comparing a call with a name and JSON, and printing it.
//! - `message`: one message of a call, decoded on demand.
//! - `target`: which method was called, and what came with the headers.
//! - `outcome`: how a call ended.
//! - `log`: the journal: all calls in order, and waiting for them.

mod call;
mod compare;
mod log;
mod message;
mod outcome;
mod target;

pub use call::Call;

pub(crate) use log::Journal;
pub use message::RecordedMessage;
pub use outcome::Outcome;
pub(crate) use target::{Arrived, Connection, Target};
