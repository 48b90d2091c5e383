//! What happens to the answer to one call, and where.

use crate::mock::fault::effect::{CallEffect, Effect, Mangle, Position};
use crate::mock::fault::placed::Strike;

/// What happens to one answer, in order.
pub(crate) struct Plan {
    steps: Vec<Strike>,
    /// How its DATA goes out.
    frames: Vec<Strike>,
}

impl Plan {
    pub(super) fn new(strikes: Vec<Strike>) -> Self {
        let of_frames = |strike: &Strike| {
            matches!(strike.fault.effect, Effect::Call(CallEffect::Frames { .. }))
        };
        let (frames, mut steps): (Vec<_>, Vec<_>) = strikes.into_iter().partition(of_frames);
        // Stable: what is at the same place stays in the order of injection.
        steps.sort_by_key(|strike| order(strike.fault.position));
        Self { steps, frames }
    }

    /// Whether it is a fault that answers the call, and nothing else does.
    pub(crate) fn answers(&self) -> bool {
        self.steps.iter().any(|strike| strike.fault.answers())
    }

    /// Whether anything is left of it that concerns an answer of nothing but a status.
    pub(crate) fn concerns_status(&self) -> bool {
        self.steps.iter().any(|strike| match mangle(strike) {
            Some(mangle) => mangle.is_of_headers() || mangle.is_of_trailers(),
            None => matches!(
                strike.fault.position,
                Position::Headers | Position::Trailers
            ),
        })
    }

    /// The next thing that happens at this place.
    pub(crate) fn next_at(&mut self, position: Position) -> Option<Strike> {
        self.next(|strike| strike.fault.position == position && mangle(strike).is_none())
    }

    /// The next thing that happens after fewer bytes than this, and after how many.
    pub(crate) fn next_within(&mut self, bytes: u64) -> Option<(u64, Strike)> {
        let place = |strike: &Strike| match strike.fault.position {
            Position::Bytes(at) => Some(at).filter(|at| *at < bytes),
            _ => None,
        };
        let strike = self.next(|strike| place(strike).is_some())?;
        Some((place(&strike).unwrap_or_default(), strike))
    }

    /// What is wrong with the headers, the trailers, or the message after so many.
    pub(crate) fn next_mangle(&mut self, is: impl Fn(&Mangle) -> bool) -> Option<Strike> {
        self.next(|strike| mangle(strike).is_some_and(&is))
    }

    pub(crate) fn next_mangle_of(&mut self, message: u64) -> Option<Strike> {
        self.next(|strike| {
            let here = strike.fault.position == Position::Messages(message);
            here && mangle(strike).is_some_and(|mangle| !mangle.is_of_headers())
        })
    }

    /// Whether the compression that the headers tell is a lie.
    pub(crate) fn lies_about_compression(&self) -> bool {
        let lies = |strike: &Strike| matches!(mangle(strike), Some(Mangle::BadCompression));
        self.steps.iter().any(lies)
    }

    /// The largest frame, and the padding of each.
    pub(crate) fn frames(&self, happens: impl Fn(&str)) -> (Option<usize>, Option<u8>) {
        let (mut largest, mut padded) = (None, None);
        for strike in &self.frames {
            if let Effect::Call(CallEffect::Frames { size, padding }) = &strike.fault.effect {
                happens(&strike.fault.label);
                strike.hit();
                largest = largest.or(*size);
                padded = padded.or(*padding);
            }
        }
        (largest, padded)
    }

    fn next(&mut self, is: impl Fn(&Strike) -> bool) -> Option<Strike> {
        let index = self.steps.iter().position(is)?;
        Some(self.steps.remove(index))
    }
}

/// What is wrong with the answer by this.
pub(crate) fn mangle(strike: &Strike) -> Option<&Mangle> {
    match &strike.fault.effect {
        Effect::Call(CallEffect::Mangle(mangle)) => Some(mangle),
        _ => None,
    }
}

/// Bytes and messages are counted apart; only what is counted alike has an order.
fn order(position: Position) -> (u8, u64) {
    match position {
        Position::Start => (0, 0),
        Position::Answer => (1, 0),
        Position::Headers => (1, 1),
        Position::Messages(n) => (2, n.saturating_mul(2)),
        Position::MidMessage(n) => (2, n.saturating_mul(2).saturating_add(1)),
        Position::Bytes(n) => (2, n),
        Position::Trailers => (3, 0),
    }
}
