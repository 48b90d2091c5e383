//! What a stub answers.
//!
//! - `script`: [`Reply`], messages and a status that are known beforehand.
//! - `settings`: what can be added to one: delays, metadata, another end.
//! - `delay`: [`Delay`], how long it waits.
//! - `gate`: [`Gate`], which holds it back until the test lets it go.
//! - `stream`: [`CallStream`], both ends of a call in the test's hands.
//! - `responder`: what [`Stub::reply`](crate::Stub::reply) takes: values and closures.

mod delay;
mod gate;
mod responder;
mod script;
mod settings;
mod stream;

pub use delay::Delay;
pub(crate) use delay::wait;
pub use gate::Gate;
pub(crate) use gate::{Gated, gate};
pub(crate) use responder::Responder;
pub use responder::{IntoReply, ReplyFn, how};
pub use script::Reply;
pub(crate) use script::{Body, Payload};
pub(crate) use stream::CallStreamEnds;
pub use stream::{CallStream, CallStreams};
