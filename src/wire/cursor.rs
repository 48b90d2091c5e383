//! Following HTTP/2 frames without looking into them.

use crate::wire::frame::{HEAD, Head};

/// Where in a frame a stream of bytes is.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    head: [u8; HEAD],
    filled: usize,
    left: usize,
}

impl Cursor {
    pub(crate) fn is_between_frames(&self) -> bool {
        self.filled == 0 && self.left == 0
    }

    /// Goes on to the end of a frame, or of the bytes. Gives how many were gone over.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> usize {
        let mut gone = 0;
        if self.left == 0 {
            let taken = (HEAD - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            gone = taken;
            if self.filled < HEAD {
                return gone;
            }
            self.filled = 0;
            self.left = Head::parse(self.head).length;
        }
        let skipped = self.left.min(bytes.len() - gone);
        self.left -= skipped;
        gone + skipped
    }
}
