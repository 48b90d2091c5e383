//! Answers that faults break on their way out.
//!
//! - `mangle`: what becomes of headers, messages and trailers, decided without IO.
//! - `out`: the stream that it goes out by.
//! - `answer`: one answer on its way, with what happens to it.

mod answer;
mod mangle;
mod out;

pub(crate) use answer::Breaking;
