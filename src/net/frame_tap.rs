//! A stream whose outgoing HTTP/2 frames can be followed and rewritten.

use crate::wire::rewrite::{Rewriter, Sent, Withheld};
use bytes::{Buf as _, Bytes, BytesMut};
use std::{
    fmt, io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// Follows the frames that `h2` writes, and rewrites them while somebody [asks](Frames) for it. What comes in passes as it
/// is.
#[derive(Debug)]
pub(crate) struct FrameTap<S> {
    stream: S,
    frames: Frames,
    /// Rewritten, and not written yet.
    out: BytesMut,
}

/// A hand on the frames of one connection. Cloning it gives another on the same. Whoever asks for something sees to it that
/// the connection's task is polled, which is when it happens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rewriter: Mutex<Rewriter>,
    /// Whether bytes may not pass as they are.
    busy: AtomicBool,
    /// Told whenever everything is flushed, and when the connection is gone.
    flushed: Notify,
    gone: AtomicBool,
    /// What is to be done once so many bytes have gone out.
    milestones: Mutex<Vec<Milestone>>,
    /// Whether there are any.
    marked: AtomicBool,
}

type Milestone = (u64, Box<dyn FnOnce() + Send>);

impl Frames {
    /// Asks for something.
    pub(crate) fn ask<R>(&self, asked: impl FnOnce(&mut Rewriter) -> R) -> R {
        let mut rewriter = self.lock();
        let result = asked(&mut rewriter);
        self.0.busy.store(!rewriter.is_idle(), Ordering::Release);
        result
    }

    pub(crate) fn withhold(&self, id: u64, kind: Withheld) {
        self.ask(|rewriter| rewriter.withhold(id, kind));
    }

    pub(crate) fn insert(&self, bytes: &Bytes) {
        self.ask(|rewriter| rewriter.insert(bytes));
    }

    /// Follows a stream from now on.
    pub(crate) fn watch(&self, stream: u32) -> Watch {
        self.ask(|rewriter| rewriter.watch(stream));
        Watch {
            frames: self.clone(),
            stream,
        }
    }

    /// Calls back when so many bytes have gone out, counted from now.
    pub(crate) fn after(&self, bytes: u64, then: Box<dyn FnOnce() + Send>) {
        let at = self.lock().passed().saturating_add(bytes);
        self.milestones().push((at, then));
        self.0.marked.store(true, Ordering::Release);
    }

    fn pass_milestones(&self) {
        if !self.0.marked.load(Ordering::Acquire) {
            return;
        }
        let passed = self.lock().passed();
        let mut milestones = self.milestones();
        let all = std::mem::take(&mut *milestones).into_iter();
        let (due, rest): (Vec<_>, _) = all.partition(|(at, _)| *at <= passed);
        *milestones = rest;
        self.0
            .marked
            .store(!milestones.is_empty(), Ordering::Release);
        drop(milestones);
        for (_, then) in due {
            then();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rewriter> {
        self.0
            .rewriter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn milestones(&self) -> MutexGuard<'_, Vec<Milestone>> {
        self.0
            .milestones
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is followed, until this drops.
#[derive(Debug)]
pub(crate) struct Watch {
    frames: Frames,
    stream: u32,
}

impl Watch {
    /// Waits until this is true of what was sent of the stream and flushed, or until the connection is gone.
    pub(crate) async fn until(&self, mut enough: impl FnMut(Sent) -> bool) {
        loop {
            let mut flushed = pin!(self.frames.0.flushed.notified());
            flushed.as_mut().enable();
            let sent = self.frames.lock().sent(self.stream).unwrap_or_default();
            if enough(sent) || self.frames.0.gone.load(Ordering::Acquire) {
                return;
            }
            flushed.await;
        }
    }

    /// Its DATA frames end with `padding` + 1 bytes from now on that are made padding.
    pub(crate) fn pad(&self, padding: u8) {
        self.frames
            .ask(|rewriter| rewriter.pad(self.stream, padding));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.frames.ask(|rewriter| rewriter.unwatch(self.stream));
    }
}

/// How much may wait to be written.
const WAITING: usize = 64 << 10;

impl<S> FrameTap<S> {
    pub(crate) fn new(stream: S, frames: Frames) -> Self {
        Self {
            stream,
            frames,
            out: BytesMut::new(),
        }
    }

    fn passes(&self) -> bool {
        self.out.is_empty() && !self.frames.0.busy.load(Ordering::Acquire)
    }
}

impl<S: AsyncWrite + Unpin> FrameTap<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// What the pieces become waits to be written.
    fn poll_rewrite<'a>(
        &mut self,
        cx: &mut Context<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Poll<io::Result<usize>> {
        if self.out.len() > WAITING {
            ready!(self.poll_drain(cx))?;
        }
        let mut taken = 0;
        let out = &mut self.out;
        self.frames.ask(|rewriter| {
            for piece in pieces {
                rewriter.push(piece, out);
                taken += piece.len();
            }
        });
        Poll::Ready(Ok(taken))
    }

    fn follow(&self, written: &[u8]) {
        self.frames.lock().follow(written);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameTap<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameTap<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.passes() {
            return this.poll_rewrite(cx, std::iter::once(buf));
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.follow(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.passes() {
            return this.poll_rewrite(cx, bufs.iter().map(|buf| &**buf));
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let passed = left.min(buf.len());
            this.follow(&buf[..passed]);
            left -= passed;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// `h2` flushes whenever it has nothing more to write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let busy = !this.passes();
        if busy {
            let out = &mut this.out;
            this.frames.ask(|rewriter| rewriter.between_frames(out));
            ready!(this.poll_drain(cx))?;
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.frames.pass_milestones();
        if busy {
            this.frames.ask(Rewriter::mark_flushed);
            this.frames.0.flushed.notify_waiters();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

impl<S> Drop for FrameTap<S> {
    fn drop(&mut self) {
        self.frames.0.gone.store(true, Ordering::Release);
        self.frames.0.flushed.notify_waiters();
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").finish_non_exhaustive()
    }
}
