//! What a stub answers.
//!
//! - `script`: [`Reply`], messages and a status that are known beforehand.
//! - `stream`: [`CallStream`], both ends of a call in the test's hands.
//! - `responder`: what [`Stub::reply`](crate::Stub::reply) takes: values and closures.

mod responder;
mod script;
mod stream;

pub(crate) use responder::Responder;
pub use responder::{IntoReply, ReplyFn, how};
pub use script::Reply;
pub(crate) use script::{Body, Payload};
pub(crate) use stream::CallStreamEnds;
pub use stream::{CallStream, CallStreams};
