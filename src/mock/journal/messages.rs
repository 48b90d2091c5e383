//! The messages of one direction of a call.

use bytes::{Bytes, BytesMut};
use std::{
    mem, slice,
    sync::{Mutex, PoisonError},
};
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
            bytes,
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

/// Where small messages are kept, many in one block: each in a piece of memory of its own would stand in the way of all that
/// comes and goes with the calls.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<BytesMut>);

/// A message up to this size is copied.
const SMALL: usize = 256;

/// A message that is held keeps its page.
const PAGE: usize = 16 * 1024;

impl Pages {
    /// A small message, without the buffer that it was read into: it would keep whatever else is in there.
    pub(super) fn keep(&self, bytes: Bytes) -> Bytes {
        if bytes.len() > SMALL || bytes.is_empty() {
            return bytes;
        }
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if page.capacity() < bytes.len() {
            *page = BytesMut::with_capacity(PAGE);
        }
        page.extend_from_slice(&bytes);
        page.split().freeze()
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
        let (pages, read) = (Pages::default(), Bytes::from(vec![7; 8192]));
        let small = pages.keep(read.slice(100..200));
        let large = pages.keep(read.slice(100..400));
        assert_eq!(small, read[100..200]);
        assert_ne!(small.as_ptr(), read[100..].as_ptr());
        assert_eq!(large.as_ptr(), read[100..].as_ptr(), "not copied");
    }

    #[test]
    fn small_messages_stand_side_by_side_and_a_full_page_is_followed_by_another() {
        let pages = Pages::default();
        let message = |number: u8| Bytes::from(vec![number; 200]);
        let kept: Vec<_> = (0..100).map(|number| pages.keep(message(number))).collect();
        for (number, kept) in (0..).zip(&kept) {
            assert_eq!(*kept, message(number));
        }
        let follows = |pair: &&[Bytes]| pair[1].as_ptr() == pair[0].as_ptr_range().end;
        // One page is full after some eighty of them.
        assert_eq!(kept.windows(2).filter(follows).count(), 98);
    }
}
