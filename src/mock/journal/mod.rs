//! What the mock saw.
//!
//! - `call`: [`Call`], one recorded call, from its headers to its outcome.
//! - `record`: what is known of it, and writing it down.
//! - `compare`: comparing a call with a name and JSON, and printing it.
//! - `message`: one message of a call, decoded on demand; `messages`: those of one direction as they are kept.
//! - `target`: which method was called, what came with the headers, and what serves it.
//! - `outcome`: how a call ended.
//! - `redact`: metadata that is never printed.
//! - `refused`: connections that were refused before a call could come.
//! - `store`: all calls in order, within a number of bytes; `index`: which of them are calls to which method.
//! - `shared`: what all records of a journal share.
//! - `logs`: the calls of one server, or those of several in order.
//! - `view`: [`Journal`], which tests narrow and read; `waiting`: waiting for it to be as they want.

mod block;
mod call;
mod compare;
mod index;
mod logs;
mod message;
mod messages;
mod outcome;
mod record;
mod redact;
mod refused;
mod shared;
mod store;
mod target;
mod view;
mod waiting;

pub use call::Call;
pub use message::RecordedMessage;
pub use outcome::Outcome;
pub(crate) use redact::{REDACTED, Redaction, text};
pub use refused::RefusedConnection;
pub(crate) use store::{Log, Unfinished};
pub(crate) use target::{Arrived, Connection, Door, Headers, Server, Target};
pub use view::Journal;
