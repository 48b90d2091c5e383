//! Streams and listeners that another task can cut, freeze, or ask to say good-bye.
//!
//! A task that owns a socket closes it when the runtime gets round to dropping the task. A test that drops its server
//! wants the port free and the connections closed when `drop` returns, so the socket stands in a slot that both can
//! reach: the task for as long as one poll takes, the owner to take it out.

use crate::address::Address;
use crate::net::{freezer::Freezer, listener::Listener, stream::Stream};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// The owner's hand on a stream or listener.
#[derive(Debug)]
pub(crate) struct Cut<T>(Arc<Slot<T>>);

#[derive(Debug)]
struct Slot<T> {
    inner: Mutex<Option<T>>,
    freezer: Arc<Freezer>,
    /// Whether the other side is to be told that this is the end.
    leaving: AtomicBool,
    /// Whoever was waiting on the socket is not woken by its closing, so it waits for this too.
    news: Notify,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Cut<T> {
    /// Takes it out now. Whoever used it finds it closed.
    pub(crate) fn take(&self) -> Option<T> {
        let taken = self.0.lock().take();
        self.0.news.notify_one();
        taken
    }
}

impl Cut<Stream> {
    /// Closes it now: so that the other side sees its end, or that it was reset.
    pub(crate) fn close(&self, reset: bool) {
        if let Some(stream) = self.take() {
            stream.close(reset);
        }
    }

    /// Asks its task to say good-bye on it.
    pub(crate) fn leave(&self) {
        self.0.leaving.store(true, Ordering::Release);
        self.0.news.notify_one();
    }
}

/// What the owner wants of a stream's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is cut.
    Cut,
    /// Its calls may end, and no others begin.
    Leave,
}

/// A stream with a slot.
#[derive(Debug)]
pub(crate) struct Switched(Arc<Slot<Stream>>);

/// Where a stream's task hears of its owner's wishes.
#[derive(Debug)]
pub(crate) struct Wishes(Arc<Slot<Stream>>);

impl Wishes {
    /// The next wish. Each is told once, and nothing comes after a cut.
    pub(crate) async fn next(&self) -> Wish {
        loop {
            if self.0.leaving.swap(false, Ordering::AcqRel) {
                return Wish::Leave;
            }
            self.0.news.notified().await;
            if self.0.lock().is_none() {
                return Wish::Cut;
            }
        }
    }
}

impl Switched {
    pub(crate) fn new(stream: Stream, freezer: &Arc<Freezer>) -> (Self, Cut<Stream>) {
        let slot = slot(stream, freezer);
        (Self(Arc::clone(&slot)), Cut(slot))
    }

    pub(crate) fn wishes(&self) -> Wishes {
        Wishes(Arc::clone(&self.0))
    }

    /// Closes it now, as its owner can by [`Cut::close`]. Its task hears of a cut.
    pub(crate) fn close(&self, reset: bool) {
        Cut(Arc::clone(&self.0)).close(reset);
    }

    pub(crate) fn quiet(&self) -> Quiet {
        Quiet(Arc::downgrade(&self.0))
    }

    /// Polls it, unless it is frozen or cut, while nobody else can.
    pub(crate) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if self.0.freezer.is_frozen(cx) {
            return Poll::Pending;
        }
        match self.0.lock().as_mut() {
            Some(stream) => poll(Pin::new(stream), cx),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

/// Where others wait until nobody is reading or writing a stream. It keeps no socket open.
#[derive(Debug)]
pub(crate) struct Quiet(Weak<Slot<Stream>>);

impl Quiet {
    /// Acts between two polls: those that come later see what was done.
    pub(crate) fn act(&self, act: impl FnOnce()) {
        let slot = self.0.upgrade();
        let _held = slot.as_ref().map(|slot| slot.lock());
        act();
    }
}

/// A listener with a slot.
#[derive(Debug)]
pub(crate) struct SwitchedListener(Arc<Slot<Listener>>);

impl SwitchedListener {
    pub(crate) fn new(listener: Listener, freezer: &Arc<Freezer>) -> (Self, Cut<Listener>) {
        let slot = slot(listener, freezer);
        (Self(Arc::clone(&slot)), Cut(slot))
    }

    /// The next connection, `None` once the listener is cut.
    pub(crate) async fn accept(&self) -> Option<io::Result<(Stream, Address)>> {
        let accepted = poll_fn(|cx| {
            if self.0.freezer.is_frozen(cx) {
                return Poll::Pending;
            }
            match self.0.lock().as_mut() {
                Some(listener) => listener.poll_accept(cx).map(Some),
                None => Poll::Ready(None),
            }
        });
        tokio::select! {
            biased;
            () = self.0.news.notified() => None,
            accepted = accepted => accepted,
        }
    }
}

fn slot<T>(inner: T, freezer: &Arc<Freezer>) -> Arc<Slot<T>> {
    Arc::new(Slot {
        inner: Mutex::new(Some(inner)),
        freezer: Arc::clone(freezer),
        leaving: AtomicBool::new(false),
        news: Notify::new(),
    })
}

impl AsyncRead for Switched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.0
            .lock()
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
