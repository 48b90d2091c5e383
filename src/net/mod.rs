//! Byte streams: TCP, Unix sockets and in-process pipes behind one dial and one listener.
//!
//! - `dial`: connect to an [`Address`](crate::Address).
//! - `listener`: bind one and accept.
//! - `stream`: what both give.
//! - `memory`: the in-process pipes and the names they listen under.
//! - `socket`: a Unix socket in a private temporary directory.
//! - `switch`: a stream or listener that another task can cut; `freezer` holds up all that goes through one address.
//! - `shaped`: a stream that is distorted on the way to its socket, by the rules of `shape`.
//! - `tap`: a stream whose incoming bytes are looked at, and mended, on their way.
//! - `frame_tap`: a stream whose outgoing HTTP/2 frames can be rewritten.
//! - `mux`: several streams over one, by a feature.
//! - `secure`: a stream, in TLS or not; `connector`: TLS with a server, ready for a dial;
//!   `client_tls`: the same, read again for each.

mod client_tls;
mod connector;
mod dial;
mod frame_tap;
mod freezer;
mod listener;
mod memory;
#[cfg(feature = "multiplex")]
mod mux;
mod secure;
mod shape;
mod shaped;
#[cfg(unix)]
mod socket;
mod stream;
mod switch;
mod tap;

pub(crate) use client_tls::{Spoken, Tls};
pub(crate) use connector::{Connector, tls_error};
pub(crate) use dial::dial;
pub(crate) use frame_tap::{FrameTap, Frames, Watch};
pub(crate) use freezer::Freezer;
pub(crate) use listener::{Bind, Held, Listener};
#[cfg(feature = "multiplex")]
pub(crate) use mux::{MuxStream, Opener, serve as serve_mux};
pub(crate) use secure::{ALPN, Secure};
pub(crate) use shape::{Distortion, OnHit, Way};
pub(crate) use shaped::{Shape, Shaped};
pub(crate) use stream::Stream;
pub(crate) use switch::{Cut, Quiet, Switched, SwitchedListener, Wish, Wishes};
pub(crate) use tap::{Notes, Tapped};
