//! What is allocated: how often, and how much of it is alive. Nothing is counted until somebody asks.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// The system's allocator, which counts.
struct Counting;

#[global_allocator]
static GLOBAL: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Allocations of some span of time.
pub struct Counter {
    count: u64,
    live: i64,
}

impl Counter {
    /// Counts from now on.
    pub fn start() -> Self {
        ON.store(true, Relaxed);
        Self {
            count: COUNT.load(Relaxed),
            live: LIVE.load(Relaxed),
        }
    }

    /// How many there were since.
    pub fn count(&self) -> u64 {
        COUNT.load(Relaxed) - self.count
    }

    /// By how many bytes what is alive has grown since.
    pub fn grown(&self) -> i64 {
        LIVE.load(Relaxed) - self.live
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        ON.store(false, Relaxed);
    }
}

fn count(grown: usize, shrunk: usize) {
    if ON.load(Relaxed) {
        COUNT.fetch_add(u64::from(grown > 0), Relaxed);
        LIVE.fetch_add(grown as i64 - shrunk as i64, Relaxed);
    }
}

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(block, layout, size) }
    }
}
