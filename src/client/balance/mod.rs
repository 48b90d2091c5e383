//! Which endpoint takes a call.
//!
//! - `strategy`: [`Strategy`], the choice by its name.
//! - `pick`: the candidates, and one of them for one call; without a lock.
//! - `shares`: the order of turns that gives each its weight (pure).
//! - `load`: what one endpoint carries just now.

mod load;
mod pick;
mod shares;
mod strategy;

pub(crate) use load::Load;
pub(crate) use pick::{Balance, Candidate, Candidates};
pub use strategy::Strategy;

#[cfg(test)]
mod tests;
