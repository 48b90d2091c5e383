//! One distortion at its place in a way.

use crate::net::shape::{Distortion, Load, OnHit};
use bytes::BytesMut;
use std::{collections::VecDeque, num::NonZeroU64, time::Duration};
use tokio::time::Instant;

/// The longest that anything is delayed. Clocks end somewhere.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

fn later(at: Instant, delay: Duration) -> Instant {
    at + delay.min(LONGEST)
}

/// A distortion, and what it holds back.
pub(crate) struct Stage {
    pub(crate) id: u64,
    pub(crate) serial: u64,
    /// How many bytes are to pass before it is reached.
    left: u64,
    state: State,
    /// Until it is called.
    on_hit: Option<OnHit>,
    kind: Kind,
    /// With the instant of arrival or, if it is a latency that acts, at which it is due.
    queue: VecDeque<(Load, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has reached it.
    Armed,
    /// It was reached, and holds back everything until its `on_hit` lets it act.
    Held,
    Acting,
}

enum Kind {
    Latency {
        delay: Box<dyn FnMut() -> Duration + Send>,
        /// The piece before is due then.
        last: Option<Instant>,
    },
    Bandwidth(Pace),
    Slices {
        size: usize,
        between: Duration,
        /// The earliest instant of the next slice.
        next: Option<Instant>,
    },
    Stall,
    Cut {
        reset: bool,
    },
    Flip {
        bytes: u64,
    },
}

impl Kind {
    /// When a piece that arrives now, and is not held, may be looked at again.
    fn due(&mut self, at: Instant) -> Instant {
        match self {
            Self::Latency { delay, last } => {
                let due = later(at, delay());
                *last.insert(last.map_or(due, |last| last.max(due)))
            }
            _ => at,
        }
    }
}

impl Stage {
    pub(crate) fn new(
        (id, serial): (u64, u64),
        left: u64,
        distortion: Distortion,
        on_hit: OnHit,
    ) -> Self {
        let kind = match distortion {
            Distortion::Latency(delay) => Kind::Latency { delay, last: None },
            Distortion::Bandwidth(rate) => {
                NonZeroU64::new(rate).map_or(Kind::Stall, |rate| Kind::Bandwidth(Pace::new(rate)))
            }
            Distortion::Slices { size, between } => Kind::Slices {
                size: size.max(1),
                between,
                next: None,
            },
            Distortion::Stall => Kind::Stall,
            Distortion::Cut { reset } => Kind::Cut { reset },
            Distortion::Flip { bytes } => Kind::Flip { bytes },
        };
        Self {
            id,
            serial,
            left,
            state: State::Armed,
            on_hit: Some(on_hit),
            kind,
            queue: VecDeque::new(),
        }
    }

    /// Takes what it affects, and gives back what passes.
    pub(crate) fn admit(&mut self, load: Load, at: Instant) -> Option<Load> {
        let (passes, stays) = match load {
            // It stands at the end of the way, where bytes are counted as they leave.
            load if matches!(self.kind, Kind::Cut { .. }) => return Some(load),
            Load::Bytes(bytes) => self.split(bytes),
            end if self.holds_end() => (None, Some(end)),
            end => (Some(end), None),
        };
        if let Some(load) = stays {
            self.strike();
            let at = match self.state {
                State::Acting => self.kind.due(at),
                State::Armed | State::Held => at,
            };
            self.queue.push_back((load, at));
        }
        passes
    }

    fn split(&mut self, mut bytes: BytesMut) -> (Option<Load>, Option<Load>) {
        let free = usize::try_from(self.left).unwrap_or(usize::MAX);
        let passes = bytes.split_to(free.min(bytes.len()));
        self.left -= passes.len() as u64;
        let some = |bytes: BytesMut| Some(Load::Bytes(bytes)).filter(|load| load.len() > 0);
        (some(passes), some(bytes))
    }

    fn holds_end(&self) -> bool {
        let delays = matches!(self.kind, Kind::Latency { .. } | Kind::Stall);
        !self.queue.is_empty() || (self.left == 0 && delays)
    }

    /// It is reached.
    pub(crate) fn strike(&mut self) {
        if self.state == State::Armed {
            self.state = State::Held;
        }
    }

    /// What is to be called, once.
    pub(crate) fn take_hit(&mut self) -> Option<(u64, OnHit)> {
        if self.state != State::Held {
            return None;
        }
        Some((self.serial, self.on_hit.take()?))
    }

    pub(crate) fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// It acts from now on, on what it held too.
    pub(crate) fn effect(&mut self, now: Instant) {
        self.state = State::Acting;
        for (_, at) in &mut self.queue {
            *at = self.kind.due(now);
        }
    }

    /// When the first of what it holds may pass, if that is known.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.state != State::Acting {
            return None;
        }
        let (load, at) = self.queue.front()?;
        match &self.kind {
            Kind::Stall | Kind::Cut { .. } => None,
            Kind::Latency { .. } | Kind::Flip { .. } => Some(*at),
            Kind::Slices { next, .. } => Some(next.map_or(*at, |next| next.max(*at))),
            Kind::Bandwidth(pace) => Some(pace.due(*at, load.len())),
        }
    }

    /// What passes by now, piece by piece, and since when.
    pub(crate) fn release(&mut self, now: Instant) -> Option<(Load, Instant)> {
        let due = self.due().filter(|due| *due <= now)?;
        match &mut self.kind {
            Kind::Stall | Kind::Cut { .. } => None,
            Kind::Latency { .. } => Some((pop(&mut self.queue, usize::MAX)?.0, due)),
            Kind::Flip { bytes } => {
                let (mut load, _) = pop(&mut self.queue, usize::MAX)?;
                invert(&mut load, bytes);
                Some((load, due))
            }
            Kind::Slices {
                size,
                between,
                next,
            } => {
                // From now, not from when it was due: slices that are late do not catch up with each other.
                *next = Some(later(now, *between));
                Some((pop(&mut self.queue, *size)?.0, now))
            }
            Kind::Bandwidth(pace) => {
                let (load, at) = pop(&mut self.queue, pace.step())?;
                pace.spend(at, load.len());
                Some((load, due))
            }
        }
    }

    /// All that it holds back.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Load> + use<> {
        std::mem::take(&mut self.queue)
            .into_iter()
            .map(|(load, _)| load)
    }

    /// Whether it has done all that it ever will.
    pub(crate) fn is_spent(&self) -> bool {
        let acted = self.state == State::Acting && self.queue.is_empty();
        acted && matches!(self.kind, Kind::Flip { bytes: 0 })
    }

    /// After how many bytes it cuts the connection, if it does.
    pub(crate) fn cuts_after(&self) -> Option<u64> {
        matches!(self.kind, Kind::Cut { .. }).then_some(self.left)
    }

    /// So many bytes have left the way, where a cut counts them.
    pub(crate) fn count_passed(&mut self, count: u64) {
        if matches!(self.kind, Kind::Cut { .. }) {
            self.left = self.left.saturating_sub(count);
        }
    }

    /// How the connection is to be closed now.
    pub(crate) fn cut(&self) -> Option<bool> {
        match self.kind {
            Kind::Cut { reset } if self.state == State::Acting => Some(reset),
            _ => None,
        }
    }
}

/// At most so many bytes of the first piece.
fn pop(queue: &mut VecDeque<(Load, Instant)>, most: usize) -> Option<(Load, Instant)> {
    match queue.front_mut()? {
        (Load::Bytes(bytes), at) if bytes.len() > most => {
            Some((Load::Bytes(bytes.split_to(most)), *at))
        }
        _ => queue.pop_front(),
    }
}

/// Inverts so many bytes, and counts them.
fn invert(load: &mut Load, left: &mut u64) {
    let Load::Bytes(bytes) = load else {
        return;
    };
    let count = usize::try_from(*left).unwrap_or(usize::MAX);
    for byte in bytes.iter_mut().take(count) {
        *byte = !*byte;
        *left -= 1;
    }
}

/// When bytes pass at a rate. It is counted from when they began to flow, so that no rounding adds up.
struct Pace {
    rate: NonZeroU64,
    since: Option<Instant>,
    sent: u64,
}

impl Pace {
    fn new(rate: NonZeroU64) -> Self {
        Self {
            rate,
            since: None,
            sent: 0,
        }
    }

    /// So many bytes pass at once: a hundredth of a second's, so that they trickle.
    fn step(&self) -> usize {
        usize::try_from((self.rate.get() / 100).max(1)).unwrap_or(usize::MAX)
    }

    fn after(&self, since: Instant, sent: u64) -> Instant {
        let (whole, rest) = (sent / self.rate, sent % self.rate);
        let nanos = u128::from(rest) * 1_000_000_000 / u128::from(self.rate.get());
        let nanos = u32::try_from(nanos).unwrap_or(u32::MAX);
        later(since, Duration::new(whole, nanos))
    }

    /// Since when bytes have flowed, and how many, for one that arrives at this instant.
    fn flow(&self, at: Instant) -> (Instant, u64) {
        let flowing = |since: &Instant| self.after(*since, self.sent) >= at;
        match self.since.filter(flowing) {
            Some(since) => (since, self.sent),
            None => (at, 0),
        }
    }

    /// When the next step of a piece of so many bytes has passed.
    fn due(&self, at: Instant, len: usize) -> Instant {
        let (since, sent) = self.flow(at);
        self.after(since, sent + len.min(self.step()) as u64)
    }

    fn spend(&mut self, at: Instant, len: usize) {
        let (since, sent) = self.flow(at);
        (self.since, self.sent) = (Some(since), sent + len as u64);
    }
}
