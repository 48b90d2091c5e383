//! What others hold of a connection that is distorted, and what they share with its task.

use crate::net::shape::Lane;
use crate::net::{Distortion, OnHit, Quiet, Way};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};
use tokio::time::Instant;

/// A hand on the shape of one connection. Cloning gives another hand on the same.
#[derive(Clone)]
pub(crate) struct Shape(Arc<Shared>);

struct Shared {
    /// Whether anything is distorted or on its way. It is set only while nobody polls the stream, so that a relaxed load
    /// inside of a poll tells for sure.
    distorts: AtomicBool,
    ways: Mutex<Ways>,
    quiet: Quiet,
}

#[derive(Default)]
pub(crate) struct Ways {
    pub(crate) into: Lane,
    pub(crate) out: Lane,
    /// How many distortions there have been.
    added: u64,
    /// Who reads, and who writes: one task, but for tests that split the stream.
    pub(crate) wakers: [Option<Waker>; 2],
    /// The stream is closed or gone.
    over: bool,
}

impl Ways {
    fn lanes(&mut self) -> [&mut Lane; 2] {
        [&mut self.into, &mut self.out]
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        for lane in self.lanes() {
            lane.advance(now);
        }
    }

    pub(crate) fn take_hit(&mut self) -> Option<(u64, OnHit)> {
        self.lanes().into_iter().find_map(Lane::take_hit)
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        let dues = [&self.into, &self.out].map(Lane::next_due);
        dues.into_iter().flatten().min()
    }

    pub(crate) fn cut(&self) -> Option<bool> {
        self.into.cut().or_else(|| self.out.cut())
    }

    pub(crate) fn is_held(&self, serial: u64) -> bool {
        self.into.is_held(serial) || self.out.is_held(serial)
    }

    /// Ends it. What it gives back is to be dropped when no lock is held.
    pub(crate) fn end(&mut self) -> [Lane; 2] {
        self.over = true;
        self.lanes().map(Lane::clear)
    }

    /// Who is to be woken when no lock is held.
    pub(crate) fn waiting(&self) -> [Option<Waker>; 2] {
        self.wakers.clone()
    }
}

pub(crate) fn wake(waiting: [Option<Waker>; 2]) {
    for waker in waiting.into_iter().flatten() {
        waker.wake();
    }
}

impl Shape {
    pub(crate) fn new(quiet: Quiet) -> Self {
        Self(Arc::new(Shared {
            distorts: AtomicBool::new(false),
            ways: Mutex::default(),
            quiet,
        }))
    }

    /// Whether anything is distorted or on its way, as seen from inside of a poll of the stream.
    pub(crate) fn distorts(&self) -> bool {
        self.0.distorts.load(Ordering::Relaxed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ways> {
        self.0.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes straight again, when nothing is distorted any more.
    pub(crate) fn rest(&self, ways: &Ways) {
        if ways.into.is_idle() && ways.out.is_idle() {
            self.0.distorts.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn effect(&self, serial: u64) {
        let now = Instant::now();
        for lane in self.lock().lanes() {
            lane.effect(serial, now);
        }
    }

    /// Distorts what passes from now on, once `after` more bytes have passed that way. Nothing happens if the connection
    /// is closed.
    pub(crate) fn add(&self, id: u64, way: Way, after: u64, distortion: Distortion, on_hit: OnHit) {
        let mut ways = self.lock();
        if ways.over {
            return;
        }
        ways.added += 1;
        let serial = ways.added;
        let lane = match way {
            Way::In => &mut ways.into,
            Way::Out => &mut ways.out,
        };
        lane.add((id, serial), after, distortion, on_hit);
        let distorts = &self.0.distorts;
        self.0.quiet.act(|| distorts.store(true, Ordering::Relaxed));
        let waiting = ways.waiting();
        drop(ways);
        wake(waiting);
    }

    /// Undoes the one with this id in both ways: what it held back goes on at once, in order. Nothing happens if there is none.
    pub(crate) fn remove(&self, id: u64) {
        let mut ways = self.lock();
        let now = Instant::now();
        let removed = ways.lanes().map(|lane| lane.remove(id, now));
        let waiting = ways.waiting();
        drop(ways);
        drop(removed);
        wake(waiting);
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shape").finish_non_exhaustive()
    }
}
