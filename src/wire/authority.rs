//! Mending the `:authority` that gRPC's C core (Python, C++, Ruby) sends on Unix sockets.
//!
//! It sends the path of the socket in percent-encoding, `tmp%2Fplugin.sock`, and `h2` resets such a call before anybody
//! sees it, because an `http::uri::Authority` has no `%`. So each `%` is made a `-` in the bytes on their way to `h2`.
//! The length stays, and with it the frames and the sizes in the HPACK dynamic tables of both sides; a later field that
//! refers to the entry means the mended one.
//!
//! The C core writes name and value as they are, and refers to the whole field later. Left alone is a value in Huffman
//! coding, in which `-` is shorter than `%`, and one whose name is a reference to the dynamic table: no encoder makes
//! one, as the static table has `:authority`. What is malformed is left alone too: `h2` judges it.

use crate::wire::header_block::Block;
use crate::wire::opening::PREFACE;

/// Reads what a client sends on a connection as it passes by, in whatever pieces, and mends it in place.
#[derive(Debug)]
pub(crate) struct Mender {
    /// How many bytes of no interest come next: the preface, another frame, a priority.
    skip: usize,
    /// Whether the length of a frame's padding comes next.
    padded: bool,
    /// How many bytes of a header block come then.
    fragment: usize,
    /// How many of padding come last.
    padding: usize,
    /// The next frame's head, and how much of it is here.
    head: [u8; 9],
    have: usize,
    block: Block,
}

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

impl Mender {
    pub(crate) fn new() -> Self {
        Self {
            skip: PREFACE.len(),
            padded: false,
            fragment: 0,
            padding: 0,
            head: [0; 9],
            have: 0,
            block: Block::Field,
        }
    }

    /// Mends the bytes that come next.
    pub(crate) fn mend(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let passed = self.pass(bytes);
            bytes = &mut bytes[passed..];
        }
    }

    /// Passes one part of what there is, and tells how many bytes: one at least.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        if self.padded {
            self.padded = false;
            self.padding = self.fragment.min(bytes[0].into());
            self.fragment -= self.padding;
            return 1;
        }
        if self.skip > 0 {
            return take(&mut self.skip, bytes.len());
        }
        if self.fragment > 0 {
            let passed = take(&mut self.fragment, bytes.len());
            for byte in &mut bytes[..passed] {
                self.block = self.block.pass(byte);
            }
            return passed;
        }
        if self.padding > 0 {
            return take(&mut self.padding, bytes.len());
        }
        self.head[self.have] = bytes[0];
        self.have += 1;
        if self.have == self.head.len() {
            self.have = 0;
            self.begin();
        }
        1
    }

    /// Begins a frame whose head is here. Nothing of it is taken to be longer than the frame is.
    fn begin(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            HEADERS => {
                self.padded = flags & PADDED != 0 && length > 0;
                let left = length - usize::from(self.padded);
                let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
                self.skip = left.min(priority);
                self.fragment = left - self.skip;
                self.block = Block::Field;
            }
            // Where it continues nothing, the connection ends.
            CONTINUATION => self.fragment = length,
            _ => self.skip = length,
        }
    }
}

/// Takes as much as there is.
fn take(left: &mut usize, most: usize) -> usize {
    let taken = most.min(*left);
    *left -= taken;
    taken
}

#[cfg(test)]
mod tests {
    use crate::wire::authority::{CONTINUATION, HEADERS, Mender, PADDED, PRIORITY};
    use crate::wire::opening::PREFACE;

    const END_HEADERS: u8 = 0x4;
    const DATA: u8 = 0;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn headers(block: &[u8]) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, block)
    }

    /// A field that begins with these bytes, and its raw value.
    fn field(name: &[u8], value: &str) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        [name, &[length], value.as_bytes()].concat()
    }

    /// What becomes of frames after a preface, in pieces of any size.
    #[track_caller]
    fn mended(frames: &[Vec<u8>]) -> Vec<u8> {
        let sent = [&[PREFACE.to_vec()], frames].concat().concat();
        let mut whole = sent.clone();
        Mender::new().mend(&mut whole);
        for cut in 1..sent.len() {
            let mut split = sent.clone();
            let mut mender = Mender::new();
            let (before, after) = split.split_at_mut(cut);
            mender.mend(before);
            mender.mend(after);
            assert_eq!(split, whole, "cut at {cut}");
        }
        let (mut bytes, mut mender) = (sent, Mender::new());
        bytes.chunks_mut(1).for_each(|byte| mender.mend(byte));
        assert_eq!(bytes, whole);
        whole.split_off(PREFACE.len())
    }

    #[track_caller]
    fn is_left_alone(block: &[u8]) {
        assert_eq!(mended(&[headers(block)]), headers(block));
    }

    /// Fields of every representation, as they stand before and after the one that is mended.
    fn others() -> Vec<u8> {
        let indexed = [0x83, 0xff, 0x00, 0x20, 0x3f, 0xe1, 0x1f];
        let literal = field(b"\x00\x05x-pct", "1%2");
        // `:path` by its index, `never indexed`, and a value of more than 127 bytes.
        let long = [b"\x14\x7f\x01".as_slice(), &[b'%'; 128]].concat();
        [&indexed, literal.as_slice(), &long].concat()
    }

    #[test]
    fn a_raw_authority_is_mended_in_every_representation_and_nothing_else_is() {
        for name in [
            b"\x40\x0a:authority".as_slice(),
            b"\x00\x0a:authority",
            b"\x10\x0a:authority",
            b"\x41",
            b"\x01",
            b"\x11",
        ] {
            let block = |value| [others(), field(name, value), field(name, ""), others()].concat();
            // Longer than a frame of these tests is, so it goes on in others.
            let (sent, wanted) = (block("a%2Fb%%"), block("a-2Fb--"));
            let frames = |block: &[u8]| {
                let (first, rest) = block.split_at(150);
                let (second, third) = rest.split_at(20);
                [
                    frame(DATA, PADDED, b"\x41\x01%"),
                    frame(HEADERS, 0, first),
                    frame(CONTINUATION, 0, second),
                    frame(CONTINUATION, 0, b""),
                    frame(CONTINUATION, END_HEADERS, third),
                    frame(DATA, 0, b"\x41\x01%"),
                    headers(&field(name, "")),
                ]
            };
            assert_eq!(mended(&frames(&sent)), frames(&wanted).concat());
        }
    }

    #[test]
    fn padding_and_a_priority_are_not_of_the_block() {
        let prefixes: [(u8, &[u8]); 3] = [
            (PADDED, b"\x03"),
            (PRIORITY, b"\x41\x01%\x41\x01"),
            (PADDED | PRIORITY, b"\x03\x41\x01%\x41\x01"),
        ];
        for (flags, prefix) in prefixes {
            let padding: &[u8] = if flags & PADDED == 0 {
                b""
            } else {
                b"\x41\x01%"
            };
            let padded = |value| {
                let payload = [prefix, &field(b"\x41", value), padding].concat();
                [
                    frame(HEADERS, flags | END_HEADERS, &payload),
                    headers(&field(b"\x41", value)),
                ]
            };
            assert_eq!(mended(&padded("%41")), padded("-41").concat(), "{flags}");
        }
    }

    #[test]
    fn other_names_and_huffman_coding_are_left_alone() {
        is_left_alone(&field(b"\x40\x0b:authority2", "%"));
        is_left_alone(&field(b"\x40\x09:authorit", "%"));
        is_left_alone(&field(b"\x40\x0a:authoritx", "%"));
        is_left_alone(&field(b"\x40\x00", "%"));
        is_left_alone(&field(b"\x7e", "%"));
        // A length of Huffman coding before the name, and before the value.
        is_left_alone(&field(b"\x40\x8a:authority", "%"));
        is_left_alone(b"\x41\x82%%");
    }

    #[test]
    fn a_frame_that_is_confused_harms_none_after_it() {
        let good = |value| headers(&field(b"\x41", value));
        for confused in [
            // An integer that does not end, for each use of one.
            headers(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x41\x01%"),
            headers(b"\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x41\x01%"),
            headers(b"\x40\x7f\xff\xff\xff\xff\xff\xff\xff\xff\x41\x01%"),
            // A value that is longer than its block, of the largest length and of a small one.
            headers(b"\x42\x7f\xff\xff\xff\x7f%"),
            headers(b"\x42\x09%"),
            // A name that has no end, and an integer that has none.
            headers(b"\x40\x0a:auth"),
            headers(b"\x41\x7f\x80"),
            // No room for what the flags tell of, and more padding than there is room.
            frame(HEADERS, PADDED, b""),
            frame(HEADERS, PADDED | PRIORITY, b"\x03%%"),
            frame(HEADERS, PADDED, b"\xff\x41\x01%"),
            frame(CONTINUATION, 0, b"\x42\x09"),
        ] {
            let wanted = [confused.clone(), good("-")].concat();
            assert_eq!(mended(&[confused, good("%")]), wanted);
        }
    }

    #[test]
    fn no_bytes_at_all_make_it_fail() {
        let mut dice = fastrand::Rng::with_seed(7);
        for round in 0..2_000 {
            // Frames that are short, so that many heads are read, and of the kinds that are looked into.
            let mut bytes = PREFACE.to_vec();
            while bytes.len() < 600 {
                bytes.extend([
                    0,
                    0,
                    dice.u8(..40),
                    dice.choice([1, 9]).unwrap(),
                    dice.u8(..),
                ]);
                bytes.extend(
                    (0..dice.usize(..40))
                        .map(|_| dice.u8(..))
                        .collect::<Vec<_>>(),
                );
            }
            let before = bytes.clone();
            let mut mender = Mender::new();
            bytes
                .chunks_mut(1 + round % 30)
                .for_each(|piece| mender.mend(piece));
            let changed = before.iter().zip(&bytes).filter(|(old, new)| old != new);
            assert!(changed.into_iter().all(|pair| pair == (&b'%', &b'-')));
        }
    }
}
