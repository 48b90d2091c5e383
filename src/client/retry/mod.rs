//! When a failed call is made again: [gRPC's retry design](https://github.com/grpc/proposal/blob/master/A6-client-retries.md)
//! as functions of what has happened.
//!
//! - `policy`: [`RetryPolicy`], what a client is told.
//! - `class`: what a failure says about the server's side.
//! - `pushback`: what the server says about repeating.
//! - `tokens`: how many failures all calls together may have.
//! - `course`: the attempts of one call, and what follows a failed one.

mod class;
mod course;
mod policy;
mod pushback;
mod tokens;

pub(crate) use class::{Class, classify};
pub(crate) use course::{Course, Failure, Verdict, Why};
pub use policy::{Hedge, RetryPolicy, Throttle};
pub(crate) use pushback::Pushback;
pub(crate) use tokens::Tokens;
