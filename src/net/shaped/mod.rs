//! A stream whose bytes are distorted on the way to and from its socket.
//!
//! One task reads and writes a connection, and each of its polls moves both ways on, with one timer for both. So what was
//! written passes when it is due while the task waits to read.

mod hand;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

pub(crate) use hand::Shape;

use crate::net::shape::{Hold, Lane, Way};
use crate::net::shaped::hand::wake;
use crate::net::{Stream, Switched, Wishes};
use bytes::BytesMut;
use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// A stream with a [`Shape`].
pub(crate) struct Shaped {
    stream: Switched,
    shape: Shape,
    /// The wakers that the shape knows.
    known: [Option<Waker>; 2],
    /// What is awaited before distortions take effect, by their serial numbers.
    holds: Vec<(u64, Hold)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Why bytes that were taken already could not be written.
    failed: Option<io::Error>,
    /// Whether the reader, and what the writer, was told to wait for: one way's poll may bring about what the other waits for.
    reader_waits: bool,
    writer_waits: Option<Awaited>,
}

/// What a writer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// All that was written has passed.
    Empty,
    Room,
}

impl Shaped {
    pub(crate) fn new(stream: Switched) -> (Self, Shape) {
        let shape = Shape::new(stream.quiet());
        let shaped = Self {
            stream,
            shape: shape.clone(),
            known: [None, None],
            holds: Vec::new(),
            timer: None,
            failed: None,
            reader_waits: false,
            writer_waits: None,
        };
        (shaped, shape)
    }

    pub(crate) fn wishes(&self) -> Wishes {
        self.stream.wishes()
    }

    /// Closes it now, by FIN or by RST.
    pub(crate) fn close(&self, reset: bool) {
        self.stream.close(reset);
    }

    /// Polls the socket itself, if nothing is distorted; `None` otherwise.
    fn straight<R>(
        &mut self,
        way: Way,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<Option<R>>> {
        self.know(way, cx);
        let shape = &self.shape;
        self.stream.poll(cx, |stream, cx| {
            if shape.distorts() {
                return Poll::Ready(Ok(None));
            }
            poll(stream, cx).map_ok(Some)
        })
    }

    /// Notes whom to wake when the shape changes. It is the same task almost always.
    fn know(&mut self, way: Way, cx: &Context<'_>) {
        let known = &mut self.known[way as usize];
        if !known
            .as_ref()
            .is_some_and(|known| known.will_wake(cx.waker()))
        {
            *known = Some(cx.waker().clone());
            self.shape.lock().wakers[way as usize].clone_from(known);
        }
    }

    /// Moves both ways on as far as they go now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        loop {
            let shape = &self.shape;
            let mut ways = shape.lock();
            let now = Instant::now();
            ways.advance(now);
            if let Err(error) = write_out(&mut self.stream, &mut ways.out, cx) {
                // What failed once fails for the rest.
                ways.out.lose();
                self.failed.get_or_insert(error);
            }
            if let Some(reset) = ways.cut() {
                let (lost, waiting) = (ways.end(), ways.waiting());
                drop(ways);
                self.stream.close(reset);
                drop(lost);
                wake(waiting);
                continue;
            }
            let hit = ways.take_hit();
            let due = ways.next_due();
            shape.rest(&ways);
            drop(ways);
            if let Some((serial, on_hit)) = hit {
                match on_hit() {
                    Some(hold) => self.holds.push((serial, hold)),
                    None => shape.effect(serial),
                }
                continue;
            }
            if !self.poll_holds(cx) && !self.poll_timer(due, cx) {
                return self.wake_the_other();
            }
        }
    }

    /// Wakes whoever was told to wait and need not any more: the timer that would have done it has been heard already.
    fn wake_the_other(&mut self) {
        let ways = self.shape.lock();
        let readable = self.reader_waits && ways.into.has_next();
        let writable = match self.writer_waits {
            None => false,
            Some(Awaited::Empty) => ways.out.is_empty(),
            Some(Awaited::Room) => ways.out.room() > 0,
        };
        drop(ways);
        for (way, wakes) in [(Way::In, readable), (Way::Out, writable)] {
            if let (true, Some(waker)) = (wakes, &self.known[way as usize]) {
                waker.wake_by_ref();
            }
        }
        self.reader_waits &= !readable;
        self.writer_waits = self.writer_waits.filter(|_| !writable);
    }

    /// Whether anything takes effect now.
    fn poll_holds(&mut self, cx: &mut Context<'_>) -> bool {
        let shape = &self.shape;
        let mut effects = false;
        self.holds.retain_mut(|(serial, hold)| {
            let held = shape.lock().is_held(*serial);
            if !held || hold.as_mut().poll(cx).is_pending() {
                return held;
            }
            shape.effect(*serial);
            effects = true;
            false
        });
        effects
    }

    /// Whether it is past this instant. Otherwise the task is woken then.
    fn poll_timer(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(due) = due else {
            self.timer = None;
            return false;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reader_waits = false;
        loop {
            self.drive(cx);
            let mut ways = self.shape.lock();
            if ways.into.is_idle() {
                return Pin::new(&mut self.stream).poll_read(cx, buf);
            }
            fill(&mut self.stream, &mut ways.into, cx);
            drop(ways);
            self.drive(cx);
            let mut ways = self.shape.lock();
            let read = deliver(&mut ways.into, buf);
            let idle = ways.into.is_idle();
            drop(ways);
            if let Some(read) = read {
                // What comes right after these bytes does not wait for the next poll.
                self.drive(cx);
                return Poll::Ready(read);
            }
            if !idle {
                self.reader_waits = true;
                return Poll::Pending;
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.writer_waits = None;
        self.drive(cx);
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let mut ways = self.shape.lock();
        if ways.out.is_idle() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        let room = ways.out.room();
        if room == 0 {
            self.writer_waits = Some(Awaited::Room);
            return Poll::Pending;
        }
        let mut piece = BytesMut::new();
        for buf in bufs {
            piece.extend_from_slice(&buf[..buf.len().min(room - piece.len())]);
        }
        let taken = piece.len();
        ways.out.offer(piece, Instant::now());
        drop(ways);
        self.drive(cx);
        Poll::Ready(Ok(taken))
    }
}

/// Writes what may pass, piece by piece.
fn write_out(stream: &mut Switched, out: &mut Lane, cx: &mut Context<'_>) -> io::Result<()> {
    while let Some(piece) = out.front() {
        match Pin::new(&mut *stream).poll_write(cx, piece) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => out.pass(written),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    Ok(())
}

/// Reads what there is, as far as there is room for it.
fn fill(stream: &mut Switched, into: &mut Lane, cx: &mut Context<'_>) {
    let mut scratch = [0; 8 << 10];
    while into.room() > 0 && !into.is_ended() {
        let most = scratch.len().min(into.room());
        let mut read = ReadBuf::new(&mut scratch[..most]);
        let Poll::Ready(result) = Pin::new(&mut *stream).poll_read(cx, &mut read) else {
            return;
        };
        match result {
            Ok(()) if !read.filled().is_empty() => {
                into.offer(BytesMut::from(read.filled()), Instant::now());
            }
            ended => into.end(ended.err(), Instant::now()),
        }
    }
}

/// Gives out one piece, or as much of it as is wanted, or the end. `None` when nothing may pass.
fn deliver(into: &mut Lane, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
    if let Some(piece) = into.front() {
        let count = piece.len().min(buf.remaining());
        buf.put_slice(&piece[..count]);
        into.pass(count);
        return Some(Ok(()));
    }
    into.take_end().map(|error| error.map_or(Ok(()), Err))
}

impl AsyncRead for Shaped {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = this.straight(Way::In, cx, |stream, cx| stream.poll_read(cx, buf));
        match ready!(read)? {
            Some(()) => Poll::Ready(Ok(())),
            None => this.read(cx, buf),
        }
    }
}

impl AsyncWrite for Shaped {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.straight(Way::Out, cx, |stream, cx| stream.poll_write(cx, buf));
        match ready!(written)? {
            Some(written) => Poll::Ready(Ok(written)),
            None => this.write(cx, &[IoSlice::new(buf)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = this.straight(Way::Out, cx, |stream, cx| {
            stream.poll_write_vectored(cx, bufs)
        });
        match ready!(written)? {
            Some(written) => Poll::Ready(Ok(written)),
            None => this.write(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// What is not due yet is not waited for: latency would make the writes of HTTP/2 wait for each other.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = this.straight(Way::Out, cx, |stream, cx| stream.poll_flush(cx));
        if ready!(flushed)?.is_some() {
            return Poll::Ready(Ok(()));
        }
        this.drive(cx);
        match this.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut this.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = this.straight(Way::Out, cx, |stream, cx| stream.poll_shutdown(cx));
        if ready!(closed)?.is_some() {
            return Poll::Ready(Ok(()));
        }
        this.writer_waits = None;
        this.drive(cx);
        if let Some(error) = this.failed.take() {
            return Poll::Ready(Err(error));
        }
        let empty = this.shape.lock().out.is_empty();
        if empty {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        this.writer_waits = Some(Awaited::Empty);
        Poll::Pending
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        let mut ways = self.shape.lock();
        let lost = ways.end();
        ways.wakers = [None, None];
        drop(ways);
        drop(lost);
    }
}

impl fmt::Debug for Shaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaped").finish_non_exhaustive()
    }
}
