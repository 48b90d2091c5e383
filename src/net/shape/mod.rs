//! What happens to the bytes of one way of a connection, as a function of what is offered and of the time.
//!
//! Bytes pass the distortions in the order in which these were added. Each keeps what it holds back in a queue of its own,
//! so that it can be undone, and its delay alone with it.

mod stage;
#[cfg(test)]
mod tests;

use crate::net::shape::stage::Stage;
use bytes::{Buf as _, BytesMut};
use std::{collections::VecDeque, io, pin::Pin, time::Duration};
use tokio::time::Instant;

/// One way of a connection, as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// What is done to the bytes of one way. Closures must not call back into the shape: it is locked meanwhile.
pub(crate) enum Distortion {
    /// Each piece that is read or written passes so much later; order is kept.
    Latency(Box<dyn FnMut() -> Duration + Send>),
    /// Bytes per second. None at all is a stall.
    Bandwidth(u64),
    /// Pieces of at most so many bytes, with so much time between two of them.
    Slices { size: usize, between: Duration },
    /// Nothing passes, nor does the end of what is read.
    Stall,
    /// The connection is closed, by FIN or by RST. Before a FIN everything passes that came earlier, however late it is; a
    /// RST counts what the socket got, and what is still held back is lost.
    Cut { reset: bool },
    /// So many bytes are inverted.
    Flip { bytes: u64 },
}

/// Called when the distortion takes effect for the first time. What it gives back is awaited before it does: that way of
/// the connection stands still meanwhile. No lock is held.
pub(crate) type OnHit = Box<dyn FnOnce() -> Option<Hold> + Send>;
/// What an [`OnHit`] waits for.
pub(crate) type Hold = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How much one way holds back before whoever writes has to wait; a socket's buffer is about as large.
pub(crate) const ROOM: usize = 64 << 10;

/// What passes.
#[derive(Debug)]
pub(crate) enum Load {
    Bytes(BytesMut),
    /// No more comes, by an end or by an error.
    End(Option<io::Error>),
}

impl Load {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End(_) => 0,
        }
    }
}

/// One way of a connection.
#[derive(Default)]
pub(crate) struct Lane {
    stages: Vec<Stage>,
    /// What has passed them all.
    ready: VecDeque<Load>,
    /// How many bytes are on their way, `ready` or not.
    queued: usize,
    /// Whether an end is on its way.
    ended: bool,
}

impl Lane {
    /// The serial number tells apart what has the same id.
    pub(crate) fn add(
        &mut self,
        (id, serial): (u64, u64),
        after: u64,
        distortion: Distortion,
        on_hit: OnHit,
    ) {
        let ready: usize = self.ready.iter().map(Load::len).sum();
        // What came earlier passes as it would have, and is counted where the new one stands: behind all others.
        let earlier = match distortion {
            Distortion::Cut { reset: true } => 0,
            Distortion::Cut { reset: false } => self.queued,
            _ => self.queued - ready,
        };
        let after = after.saturating_add(earlier as u64);
        let stage = Stage::new((id, serial), after, distortion, on_hit);
        self.stages.push(stage);
    }

    /// What it held back goes on. Gives back what is to be dropped when no lock is held.
    pub(crate) fn remove(&mut self, id: u64, now: Instant) -> Vec<Stage> {
        let mut removed = Vec::new();
        while let Some(at) = self.stages.iter().position(|stage| stage.id == id) {
            let mut stage = self.stages.remove(at);
            for load in stage.drain() {
                self.arrive(at, load, now);
            }
            removed.push(stage);
        }
        removed
    }

    /// Nothing passes any more.
    pub(crate) fn clear(&mut self) -> Self {
        std::mem::take(self)
    }

    /// What was on its way is lost.
    pub(crate) fn lose(&mut self) {
        for stage in &mut self.stages {
            drop(stage.drain());
        }
        self.ready.clear();
        self.queued = 0;
        self.ended = false;
    }

    /// Whether bytes would pass as they are, and none are on their way.
    pub(crate) fn is_idle(&self) -> bool {
        self.stages.is_empty() && self.ready.is_empty()
    }

    /// How many more bytes are taken.
    pub(crate) fn room(&self) -> usize {
        ROOM.saturating_sub(self.queued)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queued == 0
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes one piece.
    pub(crate) fn offer(&mut self, piece: BytesMut, now: Instant) {
        if !piece.is_empty() {
            self.queued += piece.len();
            self.arrive(0, Load::Bytes(piece), now);
        }
    }

    /// Takes the end, which comes after everything else.
    pub(crate) fn end(&mut self, error: Option<io::Error>, now: Instant) {
        self.ended = true;
        self.arrive(0, Load::End(error), now);
    }

    fn arrive(&mut self, stage: usize, mut load: Load, at: Instant) {
        for stage in &mut self.stages[stage..] {
            match stage.admit(load, at) {
                Some(passes) => load = passes,
                None => return,
            }
        }
        self.ready.push_back(load);
    }

    /// Moves everything as far as it is by now.
    pub(crate) fn advance(&mut self, now: Instant) {
        for stage in 0..self.stages.len() {
            while let Some((load, at)) = self.stages[stage].release(now) {
                self.arrive(stage + 1, load, at);
            }
        }
        self.stages.retain(|stage| !stage.is_spent());
        self.strike_cuts();
    }

    fn strike_cuts(&mut self) {
        for stage in &mut self.stages {
            if stage.cuts_after() == Some(0) {
                stage.strike();
            }
        }
    }

    /// When the next piece can move on. All that could have by now did, in [`advance`](Self::advance).
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.stages.iter().filter_map(Stage::due).min()
    }

    /// How many bytes may pass before the connection is cut.
    fn allowed(&self) -> u64 {
        let cuts = self.stages.iter().filter_map(Stage::cuts_after);
        cuts.min().unwrap_or(u64::MAX)
    }

    /// The next bytes to pass: one piece, or what a cut leaves of it.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        let Some(Load::Bytes(bytes)) = self.ready.front() else {
            return None;
        };
        let allowed = usize::try_from(self.allowed()).unwrap_or(usize::MAX);
        Some(&bytes[..bytes.len().min(allowed)]).filter(|bytes| !bytes.is_empty())
    }

    /// So many of the [`front`](Self::front) have passed.
    pub(crate) fn pass(&mut self, count: usize) {
        if let Some(Load::Bytes(bytes)) = self.ready.front_mut() {
            bytes.advance(count);
            if bytes.is_empty() {
                self.ready.pop_front();
            }
            self.queued -= count;
            for stage in &mut self.stages {
                stage.count_passed(count as u64);
            }
            self.strike_cuts();
        }
    }

    /// The end, if it is next.
    pub(crate) fn take_end(&mut self) -> Option<Option<io::Error>> {
        if self.allowed() == 0 {
            return None;
        }
        match self.ready.pop_front()? {
            Load::End(error) => {
                self.ended = false;
                Some(error)
            }
            bytes @ Load::Bytes(_) => {
                self.ready.push_front(bytes);
                None
            }
        }
    }

    /// Whether bytes or the end may be given out.
    pub(crate) fn has_next(&self) -> bool {
        let end = matches!(self.ready.front(), Some(Load::End(_)));
        self.front().is_some() || (end && self.allowed() > 0)
    }

    /// The next distortion that was reached for the first time. It stands still until it [takes effect](Self::effect).
    pub(crate) fn take_hit(&mut self) -> Option<(u64, OnHit)> {
        self.stages.iter_mut().find_map(Stage::take_hit)
    }

    pub(crate) fn is_held(&self, serial: u64) -> bool {
        let mut stages = self.stages.iter();
        stages.any(|stage| stage.serial == serial && stage.is_held())
    }

    /// Lets it take effect, if it is there still.
    pub(crate) fn effect(&mut self, serial: u64, now: Instant) {
        let mut stages = self.stages.iter_mut();
        if let Some(stage) = stages.find(|stage| stage.serial == serial) {
            stage.effect(now);
        }
    }

    /// Whether the connection is to be closed now, and how.
    pub(crate) fn cut(&self) -> Option<bool> {
        self.stages.iter().find_map(Stage::cut)
    }
}
