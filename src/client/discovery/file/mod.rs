//! Endpoints in a file.
//!
//! - `source`: [`EndpointFile`]; `look`: what is new in the file, by one look at it.
//! - `format`: what is written in it (pure); `stamp`: whether it may have changed (pure).

mod format;
mod look;
mod source;
mod stamp;

pub use source::EndpointFile;
