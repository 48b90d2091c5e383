//! Streams and listeners that another task can cut.
//!
//! A task that owns a socket closes it when the runtime gets round to dropping the task. A test that drops its server
//! wants the port free and the connections closed when `drop` returns, so the socket stands in a slot that both can
//! reach: the task for as long as one poll takes, the owner to take it out.

use crate::address::Address;
use crate::net::{listener::Listener, stream::Stream};
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    /// Whoever was waiting on the socket is not woken by its closing, so it waits for this too.
    cut: Notify,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Cut<T> {
    /// Closes it now.
    pub(crate) fn cut(&self) {
        let taken = self.0.lock().take();
        drop(taken);
        self.0.cut.notify_one();
    }
}

/// A stream with a slot.
#[derive(Debug)]
pub(crate) struct Switched(Arc<Slot<Stream>>);

impl Switched {
    pub(crate) fn new(stream: Stream) -> (Self, Cut<Stream>) {
        let slot = slot(stream);
        (Self(Arc::clone(&slot)), Cut(slot))
    }

    /// A future that ends when the stream is cut.
    pub(crate) fn when_cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let slot = Arc::clone(&self.0);
        async move { slot.cut.notified().await }
    }

    fn poll<R>(
        &self,
        poll: impl FnOnce(Pin<&mut Stream>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        match self.0.lock().as_mut() {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }
}

/// A listener with a slot.
#[derive(Debug)]
pub(crate) struct SwitchedListener(Arc<Slot<Listener>>);

impl SwitchedListener {
    pub(crate) fn new(listener: Listener) -> (Self, Cut<Listener>) {
        let slot = slot(listener);
        (Self(Arc::clone(&slot)), Cut(slot))
    }

    /// The next connection, `None` once the listener is cut.
    pub(crate) async fn accept(&self) -> Option<io::Result<(Stream, Address)>> {
        let accepted = poll_fn(|cx| match self.0.lock().as_mut() {
            Some(listener) => listener.poll_accept(cx).map(Some),
            None => Poll::Ready(None),
        });
        tokio::select! {
            biased;
            () = self.0.cut.notified() => None,
            accepted = accepted => accepted,
        }
    }
}

fn slot<T>(inner: T) -> Arc<Slot<T>> {
    Arc::new(Slot {
        inner: Mutex::new(Some(inner)),
        cut: Notify::new(),
    })
}

impl AsyncRead for Switched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.0
            .lock()
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}
