//! gRPC on HTTP/2 streams: what both wings say to `h2`.
//!
//! - `authority`: the `:authority` of gRPC's C core on Unix sockets, mended for `h2`.
//! - `header_block`: HPACK, followed byte by byte.
//! - `frame`: HTTP/2 frames as bytes; `cursor`: where in a frame a stream of bytes is; `rewrite`: the frames that one side sends, followed and rewritten.
//! - `compression`: compressing and decompressing a message.
//! - `message`: the five-byte prefix, splitting and making length-prefixed messages.
//! - `metadata`: metadata that people write, checked.
//! - `opened`: which streams a client has opened, by the bytes that it has written.
//! - `opening`: the first bytes of a connection, and what they are when they are no HTTP/2.
//! - `read`: the messages of a stream, one by one.
//! - `receive`: an `h2` stream as an `http_body::Body`, releasing flow control as it is read.
//! - `recode`: a body whose messages are compressed, or decompressed, as they pass.
//! - `send`: bytes and bodies into an `h2` stream, as fast as flow control lets them.
//! - `status`: what an `h2` error means in gRPC.
//! - `timeout`: the `grpc-timeout` header.

pub(crate) mod authority;
pub(crate) mod compression;
mod cursor;
pub(crate) mod frame;
mod header_block;
pub(crate) mod message;
pub(crate) mod metadata;
pub(crate) mod opened;
pub(crate) mod opening;
mod read;
mod receive;
pub(crate) mod recode;
pub(crate) mod rewrite;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod timeout;

pub use compression::Compression;
pub(crate) use read::{Kept, ReadError, Reader};
pub(crate) use receive::Receive;

/// How much one stream may send ahead of its reader. Wide enough that a test's messages never wait for a window, small
/// enough that a reader that stops is felt.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
/// How much the other side may put into one frame. A sender has work with each frame, and `h2` writes each to the socket by
/// itself: with the 16 KiB that HTTP/2 begins with, large messages are slow.
pub(crate) const FRAME: u32 = 1 << 18;
/// How much all streams of a connection may: all there is, so that streams that are not read starve no other.
pub(crate) const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// `h2` hangs up on peers that reset many streams or send many small frames, as a public server must. A test does both,
/// and its other calls share the connection.
pub(crate) const UNLIMITED_FRAMES: usize = usize::MAX;
pub(crate) const MANY_RESETS: usize = 1 << 20;

/// The largest message that is received, as tonic and gRPC's own implementations have it.
pub(crate) const MESSAGE_LIMIT: usize = 4 << 20;
