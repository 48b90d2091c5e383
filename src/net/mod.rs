//! Byte streams: TCP, Unix sockets and in-process pipes behind one dial and one listener.
//!
//! - `dial`: connect to an [`Address`](crate::Address).
//! - `listener`: bind one and accept.
//! - `stream`: what both give.
//! - `memory`: the in-process pipes and the names they listen under.
//! - `socket`: a Unix socket in a private temporary directory.
//! - `switch`: a stream or listener that another task can cut.
//! - `tap`: a stream whose incoming bytes are looked at, and mended, on their way.
//! - `secure`: a stream, in TLS or not.

mod dial;
mod listener;
mod memory;
mod secure;
#[cfg(unix)]
mod socket;
mod stream;
mod switch;
mod tap;

pub(crate) use dial::dial;
pub(crate) use listener::{Bind, Listener};
pub(crate) use secure::{ALPN, Secure};
pub(crate) use stream::Stream;
pub(crate) use switch::{Cut, Switched, SwitchedListener};
pub(crate) use tap::{Notes, Tapped};
