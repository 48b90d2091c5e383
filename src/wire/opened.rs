//! Which streams a client has opened, by the bytes that it has written.

use crate::wire::frame::{HEAD, HEADERS, Head};

/// What a client's connection begins with.
const PREFACE: usize = 24;

/// Follows the frames that a client writes, up to the last stream whose HEADERS are on their way.
///
/// A stream above it was never sent, whatever became of the connection: stream identifiers grow
/// ([RFC 9113, section 5.1.1](https://www.rfc-editor.org/rfc/rfc9113#section-5.1.1)).
#[derive(Debug)]
pub(crate) struct Opened {
    head: [u8; HEAD],
    filled: usize,
    /// Of the preface, or of a frame's payload.
    left: usize,
    last: u32,
}

impl Default for Opened {
    fn default() -> Self {
        Self {
            head: [0; HEAD],
            filled: 0,
            left: PREFACE,
            last: 0,
        }
    }
}

impl Opened {
    /// Follows bytes that were written. Gives the last stream opened so far.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) -> u32 {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD {
                let head = Head::parse(self.head);
                (self.filled, self.left) = (0, head.length);
                if head.kind == HEADERS {
                    self.last = self.last.max(head.stream);
                }
            }
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::frame::{self, DATA, HEADERS};
    use crate::wire::opened::Opened;
    use bytes::BytesMut;

    #[test]
    fn a_stream_counts_when_the_head_of_its_headers_is_out_however_the_bytes_are_cut() {
        let mut written = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
        let mut complete = Vec::new();
        for (kind, stream, length) in [
            (HEADERS, 1, 30),
            (DATA, 1, 0),
            (HEADERS, 3, 0),
            (DATA, 3, 700),
            (HEADERS, 9, 5),
        ] {
            complete.push((written.len() + 9, kind, stream));
            frame::put(&mut written, kind, 0, stream, &vec![7; length]);
        }
        for piece in 1..40 {
            let (mut opened, mut gone) = (Opened::default(), 0);
            for bytes in written.chunks(piece) {
                gone += bytes.len();
                let told = opened.follow(bytes);
                let out = complete
                    .iter()
                    .filter(|(at, kind, _)| *at <= gone && *kind == HEADERS);
                assert_eq!(
                    told,
                    out.map(|(_, _, stream)| *stream).max().unwrap_or(0),
                    "{piece} {gone}"
                );
            }
        }
    }
}
