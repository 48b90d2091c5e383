//! A server's stream whose incoming bytes are looked at on their way.

use crate::wire::authority::Mender;
use crate::wire::opening::Opening;
use std::{
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Notes how the connection opens, and mends what it is told to mend. What goes out passes as it is.
#[derive(Debug)]
pub(crate) struct Tapped<'a, S> {
    stream: S,
    /// Where the opening is noted. `None` once it is complete.
    opening: Option<&'a Mutex<Opening>>,
    mender: Option<Mender>,
}

impl<'a, S> Tapped<'a, S> {
    pub(crate) fn new(stream: S, opening: &'a Mutex<Opening>, mender: Option<Mender>) -> Self {
        Self {
            stream,
            opening: Some(opening),
            mender,
        }
    }

    fn look(&mut self, bytes: &mut [u8]) {
        if let Some(opening) = self.opening {
            let mut noted = opening.lock().unwrap_or_else(PoisonError::into_inner);
            if !noted.note(bytes) {
                self.opening = None;
            }
        }
        if let Some(mender) = &mut self.mender {
            mender.mend(bytes);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<'_, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.look(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<'_, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
