//! Calls saved to a file, and stubs made of it.
//!
//! - `file`: one recorded call as JSON, both ways.
//! - `save`: [`Journal::save`](crate::Journal::save).
//! - `replay`: stubs that answer as was recorded.

mod file;
mod replay;
mod save;
