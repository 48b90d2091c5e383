//! A connected byte stream.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};

/// One end of a connection, whatever carries it.
#[derive(Debug)]
pub(crate) enum Stream {
    Memory(DuplexStream),
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Stream {
    /// Closes it so that the other side sees its end, or, over TCP, a reset.
    pub(crate) fn close(mut self, reset: bool) {
        if let (Self::Tcp(stream), true) = (&self, reset) {
            // It fails for one that is closed already.
            let _ = stream.set_zero_linger();
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self).poll_shutdown(&mut cx);
        // A socket that is closed with bytes that nobody read resets.
        let mut scratch = [0; 4096];
        let mut left = CLOSING;
        while left > 0 {
            let mut read = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self).poll_read(&mut cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    left = left.saturating_sub(read.filled().len());
                }
                _ => return,
            }
        }
    }
}

/// How much is read of what came before a stream is closed: as much as sockets hold.
const CLOSING: usize = 8 << 20;

/// Calls the same method on whatever carries the stream.
macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Memory(stream) => {
                let $inner = Pin::new(stream);
                $call
            }
            Self::Tcp(stream) => {
                let $inner = Pin::new(stream);
                $call
            }
            #[cfg(unix)]
            Self::Unix(stream) => {
                let $inner = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Memory(stream) => stream.is_write_vectored(),
            Self::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
