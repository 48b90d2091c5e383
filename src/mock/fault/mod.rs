//! What goes wrong, and when.
//!
//! - `effect`: what faults do; `go_away`: [`GoAway`], one of them.
//! - `spec`: [`Fault`], as it is written down; `rpc`, `http2`, `bytes`, `listener`: its constructors, by layer.
//! - `barrier`: where faults are counted, awaited and held.
//! - `placed`: a fault in its place, with its counts and dice; `plan`: what happens to one answer.
//! - `faults`: all of a server, and which of them strike.
//! - `injected`: an injected fault in the test's hands.

mod barrier;
mod bytes;
mod effect;
mod faults;
mod go_away;
mod http2;
mod injected;
mod listener;
mod placed;
mod plan;
mod rpc;
mod spec;

pub(crate) use effect::{Admission, ByteEffect, CallEffect, Effect, LineEffect, Mangle, Position};
pub(crate) use faults::Faults;
pub use go_away::GoAway;
pub use injected::{InjectedFault, ScopedFault};
pub(crate) use placed::{Placed, Strike};
pub(crate) use plan::{Plan, mangle};
pub use spec::Fault;
