//! A stream whose bytes are looked at on their way.

use crate::wire::authority::Mender;
use crate::wire::opened::Opened;
use crate::wire::opening::Opening;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Notes how the other side begins and by which error it ends, and mends what it is told to mend. What goes out passes as
/// it is; of a client, the streams that it opens are noted.
#[derive(Debug)]
pub(crate) struct Tapped<S> {
    stream: S,
    notes: Notes,
    /// Whether the opening is noted still.
    opens: bool,
    mender: Option<Mender>,
    opened: Option<Opened>,
}

/// What was noted of a stream. Cloning it gives another hand on the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    noted: Arc<Mutex<Noted>>,
    /// The last stream whose request is on its way.
    last_opened: Arc<AtomicU32>,
}

#[derive(Debug, Default)]
pub(crate) struct Noted {
    pub(crate) opening: Opening,
    /// The error that reading ended with. `h2` keeps its text only.
    pub(crate) error: Option<io::Error>,
}

impl Notes {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the request of this stream of ours never left. Meant for a connection that has ended.
    pub(crate) fn never_sent(&self, stream: u32) -> bool {
        stream > self.last_opened.load(Ordering::Acquire)
    }
}

impl<S> Tapped<S> {
    pub(crate) fn new(stream: S, notes: Notes, mender: Option<Mender>) -> Self {
        Self {
            stream,
            notes,
            opens: true,
            mender,
            opened: None,
        }
    }

    /// Notes the streams that this side, a client, opens.
    pub(crate) fn noting_opened(mut self) -> Self {
        self.opened = Some(Opened::default());
        self
    }

    fn wrote<'a>(&mut self, written: usize, bufs: impl Iterator<Item = &'a [u8]>) {
        let Some(opened) = &mut self.opened else {
            return;
        };
        let mut left = written;
        let mut last = 0;
        for buf in bufs {
            let taken = left.min(buf.len());
            last = opened.follow(&buf[..taken]);
            left -= taken;
        }
        self.notes.last_opened.fetch_max(last, Ordering::Release);
    }

    fn look(&mut self, bytes: &mut [u8]) {
        if self.opens {
            self.opens = self.notes.lock().opening.note(bytes);
        }
        if let Some(mender) = &mut self.mender {
            mender.mend(bytes);
        }
    }

    fn note_error(&self, error: io::Error) -> io::Error {
        let (kind, text) = (error.kind(), error.to_string());
        self.notes.lock().error.get_or_insert(error);
        io::Error::new(kind, text)
    }
}

impl<S: AsyncRead + Unpin> Tapped<S> {
    /// A write that failed. Its reason may be waiting to be read: a TLS alert, sent before the socket was closed.
    fn write_failed(&mut self, error: io::Error, cx: &mut Context<'_>) -> io::Error {
        let mut scratch = [0; 1024];
        let mut last_words = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.stream).poll_read(cx, &mut last_words) {
            Poll::Ready(Err(reason)) if reason.get_ref().is_some() => self.note_error(reason),
            _ => self.note_error(error),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        if let Err(error) = read {
            return Poll::Ready(Err(this.note_error(error)));
        }
        this.look(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.stream).poll_write(cx, buf)) {
            Ok(written) => {
                this.wrote(written, std::iter::once(buf));
                Poll::Ready(Ok(written))
            }
            Err(error) => Poll::Ready(Err(this.write_failed(error, cx))),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)) {
            Ok(written) => {
                this.wrote(written, bufs.iter().map(|buf| &**buf));
                Poll::Ready(Ok(written))
            }
            Err(error) => Poll::Ready(Err(this.write_failed(error, cx))),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| this.write_failed(error, cx)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
