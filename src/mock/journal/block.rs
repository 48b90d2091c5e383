//! Where records are kept: several in one piece of memory.
//!
//! A journal only grows, call by call. Records in pieces of memory of their own would stand between everything that comes and
//! goes with the calls, and scatter it: a call took a seventh longer.

use crate::mock::journal::record::Record;
use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many records the first block of a journal has. Each has twice as many as the one before it: few servers are called
/// often.
const FIRST: usize = 2;

/// How many a block has at most.
const MOST: usize = 128;

type Block = Box<[Slot]>;

#[derive(Default)]
struct Slot {
    record: OnceLock<Record>,
    holders: AtomicUsize,
}

/// Where the next records are kept.
#[derive(Default)]
pub(super) struct Blocks(Mutex<Filling>);

/// The last block, and how many records it has.
#[derive(Default)]
struct Filling {
    block: Arc<Block>,
    filled: usize,
}

impl Filling {
    /// The next place.
    fn place(&mut self) -> (Arc<Block>, usize) {
        if self.filled == self.block.len() {
            let many = (2 * self.filled).clamp(FIRST, MOST);
            let slots = (0..many).map(|_| Slot::default());
            self.block = Arc::new(slots.collect());
            self.filled = 0;
        }
        self.filled += 1;
        (Arc::clone(&self.block), self.filled - 1)
    }
}

impl Blocks {
    pub(super) fn keep(&self, record: Record) -> Kept {
        let mut filling = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (block, at) = filling.place();
        drop(filling);
        let slot = &block[at];
        slot.holders.store(1, Ordering::Relaxed);
        slot.record.get_or_init(|| record);
        Kept { block, at }
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blocks")
    }
}

/// A record. When the last that holds it is gone, so is what was recorded, though its place in the block is not.
pub(super) struct Kept {
    block: Arc<Block>,
    at: usize,
}

impl Kept {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.block, &other.block) && self.at == other.at
    }
}

impl Deref for Kept {
    type Target = Record;

    fn deref(&self) -> &Record {
        let record = self.block[self.at].record.get();
        record.expect("it was there before it was handed out")
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        self.block[self.at].holders.fetch_add(1, Ordering::Relaxed);
        Self {
            block: Arc::clone(&self.block),
            at: self.at,
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.block[self.at].holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::mock::journal::block::{FIRST, Filling, MOST};
    use crate::mock::journal::record::Record;

    /// A test records thousands of them, and a load test millions.
    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Record>() <= 320, "{}", size_of::<Record>());
    }

    #[test]
    fn every_record_has_a_place_of_its_own_in_blocks_that_grow() {
        let mut filling = Filling::default();
        let mut sizes = Vec::new();
        let mut expected = 0;
        for _ in 0..1000 {
            let (block, at) = filling.place();
            if at == 0 {
                sizes.push(block.len());
                expected = 0;
            }
            assert_eq!(at, expected, "a block is filled in order");
            expected += 1;
        }
        assert_eq!(sizes[..7], [FIRST, 4, 8, 16, 32, 64, MOST]);
        assert!(sizes[7..].iter().all(|size| *size == MOST));
    }
}
