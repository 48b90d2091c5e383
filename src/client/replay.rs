//! A request that is kept while it is sent, so that it can be sent again.

use crate::panics::caught;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tonic::Status;

/// A request body whose bytes are kept as they pass, up to a limit. Cloning it gives another hand on the same.
///
/// Its [readers](Self::reader) are what is sent. Until the request is [whole](Self::is_whole) only the last of them goes on. The
/// others fail: one that ended instead would be taken for all of the request.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Mutex<State>>);

struct State {
    /// What has not passed yet. `None` once that is nothing, and while a reader polls it: it is user code, and runs unlocked.
    source: Option<tonic::body::Body>,
    /// How much the source says is to come.
    rest: SizeHint,
    /// How the source ended.
    ended: Option<Result<(), Status>>,
    /// What has passed; once that is forgotten, what the current reader has not read yet.
    pieces: VecDeque<Bytes>,
    /// How many pieces passed before these.
    gone: usize,
    /// How many bytes have passed, and may be kept.
    length: usize,
    limit: usize,
    /// There is no way back to the beginning.
    forgotten: bool,
    /// The number of the current reader, and how many pieces it has read.
    current: u64,
    read: usize,
    /// The task of the current reader, while it waits.
    waker: Option<Waker>,
}

impl Kept {
    /// Keeps this body, if it has no more bytes than that.
    pub(crate) fn new(body: tonic::body::Body, limit: usize) -> Self {
        let ended = body.is_end_stream();
        Self(Arc::new(Mutex::new(State {
            rest: body.size_hint(),
            source: (!ended).then_some(body),
            ended: ended.then_some(Ok(())),
            pieces: VecDeque::new(),
            gone: 0,
            length: 0,
            limit,
            forgotten: false,
            current: 0,
            read: 0,
            waker: None,
        })))
    }

    /// The body from its beginning: what has passed, and what is still to come. It fails if it is not
    /// [repeatable](Self::is_repeatable), which harms no other reader.
    pub(crate) fn reader(&self) -> tonic::body::Body {
        let mut state = self.lock();
        if state.is_whole() {
            let pieces = state.pieces.clone();
            drop(state);
            return tonic::body::Body::new(Whole { pieces });
        }
        let mut place = Place::default();
        let mut superseded = None;
        if !state.forgotten || state.current == 0 {
            state.current += 1;
            state.read = 0;
            place.number = state.current;
            superseded = state.waker.take();
        }
        drop(state);
        if let Some(waker) = superseded {
            waker.wake();
        }
        let kept = self.clone();
        tonic::body::Body::new(Reader { kept, place })
    }

    /// Whether a reader can begin at the beginning: the limit is not passed, and the body did not fail.
    pub(crate) fn is_repeatable(&self) -> bool {
        !self.lock().forgotten
    }

    /// Whether all of it is kept. Its readers go on side by side then.
    pub(crate) fn is_whole(&self) -> bool {
        self.lock().is_whole()
    }

    /// It need not be sent again: nothing more is kept, and what was is freed. The current reader goes on.
    pub(crate) fn commit(&self) {
        self.lock().forget();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a request are nobody's business.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "Kept({} bytes, at most {})", state.length, state.limit)
    }
}

type Frames = Option<Result<Frame<Bytes>, Status>>;

/// Where a reader is.
#[derive(Default)]
struct Place {
    /// From 1; 0 was never the current one.
    number: u64,
    /// How many pieces it has read.
    read: usize,
    ended: bool,
}

/// What a reader is to do.
enum Step {
    Give(Frames),
    /// Poll this, and tell.
    Look(tonic::body::Body),
    Wait,
}

impl State {
    fn is_whole(&self) -> bool {
        matches!(self.ended, Some(Ok(()))) && !self.forgotten
    }

    fn has_read_all(&self, place: &Place) -> bool {
        place.read == self.gone + self.pieces.len()
    }

    fn step(&mut self, place: &mut Place, waker: &Waker) -> Step {
        let all = self.has_read_all(place);
        if all && matches!(self.ended, Some(Ok(()))) {
            return Step::Give(None);
        }
        if place.number != self.current {
            let status = Status::cancelled("another attempt sends this request");
            return Step::Give(Some(Err(status)));
        }
        if !all {
            return Step::Give(self.piece(place).map(|piece| Ok(Frame::data(piece))));
        }
        if let Some(Err(status)) = &self.ended {
            return Step::Give(Some(Err(status.clone())));
        }
        match self.source.take() {
            Some(source) => Step::Look(source),
            // A reader that is not current any more is still at it.
            None => self.wait(waker),
        }
    }

    /// The next one of the current reader.
    fn piece(&mut self, place: &mut Place) -> Option<Bytes> {
        let piece = if self.forgotten {
            self.gone += 1;
            self.pieces.pop_front()
        } else {
            self.pieces.get(place.read).cloned()
        };
        place.read += 1;
        self.read = place.read;
        piece
    }

    fn wait(&mut self, waker: &Waker) -> Step {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
        Step::Wait
    }

    /// A reader has looked at the source. Tells how it goes on, and who waits for the source to be back.
    fn looked(&mut self, look: Look, place: &mut Place, waker: &Waker) -> (Step, Option<Waker>) {
        self.source = look.source;
        self.rest = look.rest;
        self.ended = look.ended;
        if let Some(piece) = look.piece {
            self.length = self.length.saturating_add(piece.len());
            if self.length > self.limit {
                self.forget();
            }
            self.pieces.push_back(piece);
        }
        if matches!(self.ended, Some(Err(_))) {
            self.forget();
        }
        if place.number != self.current {
            return (self.step(place, waker), self.waker.take());
        }
        let pending = self.ended.is_none() && self.has_read_all(place);
        let step = if pending {
            self.wait(waker)
        } else {
            self.step(place, waker)
        };
        (step, None)
    }

    /// What the current reader has read is freed, and so will be what it reads.
    fn forget(&mut self) {
        if !self.forgotten {
            self.forgotten = true;
            if self.read == self.pieces.len() {
                self.pieces = VecDeque::new();
            } else {
                self.pieces.drain(..self.read);
                self.pieces.shrink_to_fit();
            }
            self.gone = self.read;
        }
    }
}

/// A look at the source, without a lock.
struct Look {
    piece: Option<Bytes>,
    /// `None` when it has ended.
    source: Option<tonic::body::Body>,
    rest: SizeHint,
    ended: Option<Result<(), Status>>,
}

impl Look {
    fn at(mut source: tonic::body::Body, cx: &mut Context<'_>) -> Self {
        let looked = caught(|| {
            let polled = Pin::new(&mut source).poll_frame(cx);
            (polled, source.is_end_stream(), source.size_hint())
        });
        let (polled, is_last, rest) = looked.unwrap_or_else(|panic| {
            let status = Status::internal(format!("the stream of requests panicked: {panic}"));
            (Poll::Ready(Some(Err(status))), true, SizeHint::default())
        });
        let (piece, ended) = match polled {
            Poll::Pending => (None, None),
            Poll::Ready(None) => (None, Some(Ok(()))),
            Poll::Ready(Some(Err(status))) => (None, Some(Err(status))),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => (Some(piece), is_last.then_some(Ok(()))),
                // A gRPC request has no trailers; they would end it.
                Err(_) => (None, Some(Ok(()))),
            },
        };
        Self {
            piece,
            source: ended.is_none().then_some(source),
            rest,
            ended,
        }
    }
}

/// A request on its way, while it may be sent for the first time.
struct Reader {
    kept: Kept,
    place: Place,
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Frames> {
        let Self { kept, place } = &mut *self;
        if place.ended {
            return Poll::Ready(None);
        }
        let mut step = kept.lock().step(place, cx.waker());
        if let Step::Look(source) = step {
            let look = Look::at(source, cx);
            let (next, waiting) = kept.lock().looked(look, place, cx.waker());
            if let Some(waker) = waiting {
                waker.wake();
            }
            step = next;
        }
        match step {
            Step::Give(frame) => {
                place.ended = !matches!(frame, Some(Ok(_)));
                Poll::Ready(frame)
            }
            Step::Look(_) | Step::Wait => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.kept.lock();
        let is_last = matches!(state.ended, Some(Ok(()))) && state.has_read_all(&self.place);
        self.place.ended || is_last
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.kept.lock();
        match self.place.read.checked_sub(state.gone) {
            Some(read) if !self.place.ended && self.place.number == state.current => {
                let rest = state.ended.is_none().then_some(&state.rest);
                hint(state.pieces.range(read..), rest)
            }
            _ => SizeHint::default(),
        }
    }
}

/// A request that is there.
struct Whole {
    pieces: VecDeque<Bytes>,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Frames> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        hint(self.pieces.iter(), None)
    }
}

/// The bytes of these pieces and of the rest, if there is one.
fn hint<'a>(pieces: impl Iterator<Item = &'a Bytes>, rest: Option<&SizeHint>) -> SizeHint {
    let known: u64 = pieces.map(|piece| piece.len() as u64).sum();
    let Some(rest) = rest else {
        return SizeHint::with_exact(known);
    };
    let mut hint = SizeHint::new();
    hint.set_lower(known.saturating_add(rest.lower()));
    if let Some(upper) = rest.upper() {
        hint.set_upper(known.saturating_add(upper));
    }
    hint
}

#[cfg(test)]
mod tests;
