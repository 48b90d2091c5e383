//! The bytes of an HPACK header block, followed as far as finding the value of one field needs: nothing is decoded.

const NAME: &[u8] = b":authority";
/// Where it is in the static table.
const INDEX: usize = 1;
/// Stands before the length of a string in Huffman coding.
const HUFFMAN: u8 = 0x80;
/// The last shift of an integer: `h2` takes no longer ones either.
const LONGEST: u32 = 21;

/// What the next byte of a header block is ([RFC 7541](https://www.rfc-editor.org/rfc/rfc7541), sections 5 and 6).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Block {
    /// The first of a field.
    Field,
    /// A further one of an integer.
    Integer {
        of: Integer,
        value: usize,
        shift: u32,
    },
    NameLength,
    Name {
        left: usize,
        /// How many bytes are those of `:authority` so far, if all are.
        alike: Option<usize>,
    },
    ValueLength {
        authority: bool,
    },
    Value {
        left: usize,
        mend: bool,
    },
    /// Nothing that is understood, up to the next block.
    Lost,
}

/// What an integer tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Integer {
    /// A whole field, or a size of the dynamic table.
    Whole,
    NameIndex,
    NameLength {
        raw: bool,
    },
    ValueLength {
        mend: bool,
    },
}

impl Block {
    /// Passes one byte, and tells what the next one is.
    pub(crate) fn pass(self, byte: &mut u8) -> Self {
        match self {
            Self::Field => match *byte {
                first @ 0x80.. => Self::integer(Integer::Whole, first, 0x7f),
                first @ 0x40.. => Self::integer(Integer::NameIndex, first, 0x3f),
                first @ 0x20.. => Self::integer(Integer::Whole, first, 0x1f),
                first => Self::integer(Integer::NameIndex, first, 0x0f),
            },
            Self::Integer { of, value, shift } => {
                let value = value + (usize::from(*byte & 0x7f) << shift);
                match *byte {
                    ..0x80 => of.tells(value),
                    _ if shift == LONGEST => Self::Lost,
                    _ => Self::Integer {
                        of,
                        value,
                        shift: shift + 7,
                    },
                }
            }
            Self::NameLength => {
                let raw = *byte & HUFFMAN == 0;
                Self::integer(Integer::NameLength { raw }, *byte, 0x7f)
            }
            Self::Name { left, alike } => {
                let alike = alike.filter(|at| NAME.get(*at) == Some(byte));
                Self::name(left - 1, alike.map(|at| at + 1))
            }
            Self::ValueLength { authority } => {
                let mend = authority && *byte & HUFFMAN == 0;
                Self::integer(Integer::ValueLength { mend }, *byte, 0x7f)
            }
            Self::Value { left, mend } => {
                if mend && *byte == b'%' {
                    *byte = b'-';
                }
                Self::value(left - 1, mend)
            }
            Self::Lost => Self::Lost,
        }
    }

    /// After the first byte of an integer, of which these bits count.
    fn integer(of: Integer, first: u8, bits: u8) -> Self {
        let value = usize::from(first & bits);
        if first & bits == bits {
            Self::Integer {
                of,
                value,
                shift: 0,
            }
        } else {
            of.tells(value)
        }
    }

    fn name(left: usize, alike: Option<usize>) -> Self {
        if left > 0 {
            return Self::Name { left, alike };
        }
        Self::ValueLength {
            authority: alike == Some(NAME.len()),
        }
    }

    fn value(left: usize, mend: bool) -> Self {
        if left > 0 {
            Self::Value { left, mend }
        } else {
            Self::Field
        }
    }
}

impl Integer {
    /// What the next byte is, after all of an integer.
    fn tells(self, value: usize) -> Block {
        match self {
            Self::Whole => Block::Field,
            Self::NameIndex if value == 0 => Block::NameLength,
            Self::NameIndex => Block::ValueLength {
                authority: value == INDEX,
            },
            Self::NameLength { raw } => Block::name(value, raw.then_some(0)),
            Self::ValueLength { mend } => Block::value(value, mend),
        }
    }
}
