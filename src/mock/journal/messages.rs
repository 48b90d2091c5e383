//! The messages of one direction of a call.

use bytes::Bytes;
use std::{mem, slice};
use tokio::time::Instant;

/// A message, and when it came or went.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) at: Instant,
    pub(super) bytes: Bytes,
    pub(super) compressed: bool,
}

impl Stored {
    /// One that comes or goes now.
    pub(super) fn now(bytes: Bytes, compressed: bool) -> Self {
        Self {
            at: Instant::now(),
            bytes: owned(bytes),
            compressed,
        }
    }
}

/// Most calls have one message there and one back, which is kept in place: journals get long.
#[derive(Clone, Debug, Default)]
pub(super) enum Messages {
    #[default]
    None,
    One(Stored),
    Many(Vec<Stored>),
}

impl Messages {
    pub(super) fn as_slice(&self) -> &[Stored] {
        match self {
            Self::None => &[],
            Self::One(only) => slice::from_ref(only),
            Self::Many(all) => all,
        }
    }

    pub(super) fn push(&mut self, message: Stored) {
        *self = match mem::take(self) {
            Self::None => Self::One(message),
            Self::One(first) => Self::Many(vec![first, message]),
            Self::Many(mut all) => {
                all.push(message);
                Self::Many(all)
            }
        };
    }
}

/// A message up to this size is copied.
const SMALL: usize = 256;

/// A small message, without the buffer that it was read into: it would keep whatever else is in there.
fn owned(bytes: Bytes) -> Bytes {
    if bytes.len() <= SMALL && !bytes.is_empty() {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_order_however_many_there_are() {
        let mut messages = Messages::default();
        for many in 0..4_u8 {
            let told = messages.as_slice().iter().map(|stored| stored.bytes[0]);
            assert!(told.eq(0..many));
            messages.push(Stored::now(Bytes::from(vec![many]), false));
        }
    }

    #[test]
    fn a_small_message_keeps_nothing_else_of_what_was_read_with_it() {
        let read = Bytes::from(vec![7; 8192]);
        let small = Stored::now(read.slice(100..200), false);
        let large = Stored::now(read.slice(100..400), false);
        assert_eq!(small.bytes, read[100..200]);
        assert_ne!(small.bytes.as_ptr(), read[100..].as_ptr());
        assert_eq!(large.bytes.as_ptr(), read[100..].as_ptr(), "not copied");
    }
}
