//! HTTP/2 frames as bytes.
//!
//! [RFC 9113, section 4.1](https://www.rfc-editor.org/rfc/rfc9113#section-4.1).

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::Reason;

/// The length of a frame's head.
pub(crate) const HEAD: usize = 9;

/// The last stream of a GOAWAY that refuses none.
pub(crate) const LAST_STREAM: u32 = (1 << 31) - 1;

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;

/// The flag of SETTINGS and PING.
pub(crate) const ACK: u8 = 0x1;
/// The flag of DATA.
pub(crate) const PADDED: u8 = 0x8;

/// The setting of that name, [section 6.5.2](https://www.rfc-editor.org/rfc/rfc9113#section-6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 0x3;

/// What stands before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// 0 for the connection.
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) fn parse(bytes: [u8; HEAD]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7F, s1, s2, s3]),
        }
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame.
pub(crate) fn put(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_head(out, payload.len(), kind, flags, stream);
    out.put_slice(payload);
}

fn put_head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    // 24 bits: no frame that is put here is longer.
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

/// Appends a DATA frame whose payload ends with `padding` + 1 bytes that stand for its padding and the length of it. One
/// that has no room for them, such as the empty one at the end of a stream, stays as it is.
pub(crate) fn put_padded(out: &mut BytesMut, head: Head, payload: &[u8], padding: u8) {
    let filler = usize::from(padding) + 1;
    let Some(length) = payload.len().checked_sub(filler) else {
        return put(out, head.kind, head.flags, head.stream, payload);
    };
    let data = &payload[..length];
    put_head(
        out,
        data.len() + filler,
        DATA,
        head.flags | PADDED,
        head.stream,
    );
    out.put_u8(padding);
    out.put_slice(data);
    out.put_bytes(0, usize::from(padding));
}

pub(crate) fn go_away(last_stream: u32, reason: Reason, debug_data: &[u8]) -> Bytes {
    let mut payload = BytesMut::new();
    payload.put_u32(last_stream & LAST_STREAM);
    payload.put_u32(reason.into());
    payload.put_slice(debug_data);
    frame(GOAWAY, 0, 0, &payload)
}

pub(crate) fn ping(payload: u64) -> Bytes {
    frame(PING, 0, 0, &payload.to_be_bytes())
}

/// One that no peer may accept: a DATA frame of no stream, which is a connection error of type `PROTOCOL_ERROR`
/// ([section 6.1](https://www.rfc-editor.org/rfc/rfc9113#section-6.1)).
pub(crate) fn invalid() -> Bytes {
    frame(DATA, 0, 0, &[0])
}

/// The setting `MAX_CONCURRENT_STREAMS` as it stands in a SETTINGS frame.
pub(crate) fn max_concurrent_streams(most: u32) -> [u8; 6] {
    let [k0, k1] = MAX_CONCURRENT_STREAMS.to_be_bytes();
    let [v0, v1, v2, v3] = most.to_be_bytes();
    [k0, k1, v0, v1, v2, v3]
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD + payload.len());
    put(&mut out, kind, flags, stream, payload);
    out.freeze()
}
