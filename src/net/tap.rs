//! A stream whose bytes are looked at on their way.

use crate::wire::authority::Mender;
use crate::wire::opened::Opened;
use crate::wire::opening::Opening;
use std::{
    io, mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long the last words of a peer that takes nothing more are waited for. It has closed its side, so that they or the
/// end of them are there already; the time is for one that closed half of it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Notes how the other side begins and by which error it ends, and mends what it is told to mend. What goes out passes as
/// it is; of a client, the streams that it opens are noted.
///
/// A write that fails is not the end: what the other side said before it closed, a GOAWAY or a TLS alert, may be waiting
/// to be read, and `h2` reads nothing more once a write has failed. So what is written then is lost in silence, and the
/// error comes at the end of reading.
#[derive(Debug)]
pub(crate) struct Tapped<S> {
    stream: S,
    notes: Notes,
    /// Whether the opening is noted still.
    opens: bool,
    mender: Option<Mender>,
    opened: Option<Opened>,
    unwritable: Option<Unwritable>,
}

/// A stream that takes nothing more, though there may be something to read.
#[derive(Debug)]
struct Unwritable {
    error: io::Error,
    patience: Pin<Box<Sleep>>,
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
            unwritable: None,
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

    /// The write of so many bytes failed, and counts as done. Whoever wrote is to read now.
    fn write_failed(&mut self, error: io::Error, bytes: usize, cx: &Context<'_>) -> usize {
        self.unwritable = Some(Unwritable::new(error));
        cx.waker().wake_by_ref();
        bytes
    }

    fn note_error(&self, error: io::Error) -> io::Error {
        let (kind, text) = (error.kind(), error.to_string());
        self.notes.lock().error.get_or_insert(error);
        io::Error::new(kind, text)
    }
}

impl Unwritable {
    fn new(error: io::Error) -> Self {
        Self {
            error,
            patience: Box::pin(sleep_until(Instant::now() + LAST_WORDS)),
        }
    }

    /// Last words, or why there are none any more: the reason that reading gives by itself, or the error of the write.
    fn last_words(
        &mut self,
        read: Poll<io::Result<()>>,
        anything: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match read {
            Poll::Ready(Ok(())) if anything => read,
            Poll::Ready(Err(ref reason)) if reason.get_ref().is_some() => read,
            Poll::Pending if self.patience.as_mut().poll(cx).is_pending() => Poll::Pending,
            _ => {
                let again = io::ErrorKind::BrokenPipe.into();
                Poll::Ready(Err(mem::replace(&mut self.error, again)))
            }
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
        let mut read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Some(unwritable) = &mut this.unwritable {
            read = unwritable.last_words(read, buf.filled().len() > before, cx);
        }
        if let Err(error) = ready!(read) {
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
        if this.unwritable.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = match ready!(Pin::new(&mut this.stream).poll_write(cx, buf)) {
            Ok(written) => written,
            Err(error) => return Poll::Ready(Ok(this.write_failed(error, buf.len(), cx))),
        };
        this.wrote(written, std::iter::once(buf));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let whole = bufs.iter().map(|buf| buf.len()).sum();
        if this.unwritable.is_some() {
            return Poll::Ready(Ok(whole));
        }
        let written = match ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)) {
            Ok(written) => written,
            Err(error) => return Poll::Ready(Ok(this.write_failed(error, whole, cx))),
        };
        this.wrote(written, bufs.iter().map(|buf| &**buf));
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unwritable.is_some() {
            return Poll::Ready(Ok(()));
        }
        if let Err(error) = ready!(Pin::new(&mut this.stream).poll_flush(cx)) {
            this.write_failed(error, 0, cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{self, HEADERS};
    use bytes::BytesMut;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        net::UnixStream,
    };

    fn opening() -> BytesMut {
        let mut opening = BytesMut::from(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]);
        frame::put(&mut opening, HEADERS, 0, 1, b"request");
        opening
    }

    /// A peer that says goodbye and closes, before anything is written to it.
    async fn closed_with_last_words(
        near: impl AsyncRead + AsyncWrite + Unpin,
        mut far: impl AsyncWrite + Unpin,
    ) {
        far.write_all(b"goodbye").await.unwrap();
        drop(far);
        let notes = Notes::default();
        let mut near = Tapped::new(near, notes.clone(), None).noting_opened();
        near.write_all(&opening()).await.unwrap();
        near.flush().await.unwrap();
        assert!(notes.never_sent(1), "what is lost was never sent");

        let mut heard = [0; 7];
        near.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"goodbye");
        assert!(notes.lock().error.is_none());

        let error = near.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let noted = notes.lock().error.take().unwrap();
        assert_eq!(noted.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn last_words_are_heard_after_a_write_has_failed() {
        let (near, far) = duplex(64);
        closed_with_last_words(near, far).await;
        let (near, far) = UnixStream::pair().unwrap();
        closed_with_last_words(near, far).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_and_says_nothing_is_not_waited_for_long() {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        far.shutdown(std::net::Shutdown::Read).unwrap();
        near.set_nonblocking(true).unwrap();
        let near = UnixStream::from_std(near).unwrap();
        let mut near = Tapped::new(near, Notes::default(), None);
        let before = Instant::now();
        near.write_all(&opening()).await.unwrap();
        let error = near.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(before.elapsed(), LAST_WORDS);
    }
}
