//! A stream, in TLS or not.

use crate::net::tap::{Notes, Tapped};
use crate::wire::opening::Opening;
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, ServerName},
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// What HTTP/2 is spoken over.
#[derive(Debug)]
pub(crate) enum Secure<S> {
    Plain(S),
    Tls(Box<TlsStream<Tapped<S>>>),
}

/// A handshake that failed.
#[derive(Debug)]
pub(crate) struct Broken<S> {
    pub(crate) error: io::Error,
    /// How the other side began.
    pub(crate) opening: Opening,
    /// What is left of the connection.
    stream: Tapped<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secure<S> {
    /// Asks the other side for TLS.
    pub(crate) async fn connect(
        stream: S,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, Broken<S>> {
        let notes = Notes::default();
        let tapped = Tapped::new(stream, notes.clone(), None);
        let connecting = TlsConnector::from(config).connect(name, tapped);
        match connecting.into_fallible().await {
            Ok(stream) => Ok(Self::Tls(Box::new(stream.into()))),
            Err((error, stream)) => Err(Broken::new(error, stream, &notes)),
        }
    }

    /// Answers the first words of the other side with the alert `handshake_failure`, and closes the connection.
    pub(crate) async fn refuse(mut stream: S) {
        // What it says does not matter, nor whether it is still there.
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(&HANDSHAKE_FAILURE).await;
        let notes = Notes::default();
        let tapped = Tapped::new(stream, notes.clone(), None);
        let error = io::ErrorKind::ConnectionRefused.into();
        Broken::new(error, tapped, &notes).close().await;
    }

    /// Answers the other side, which has to begin with TLS.
    pub(crate) async fn accept(
        stream: S,
        config: Arc<ServerConfig>,
    ) -> Result<Self, Box<Broken<S>>> {
        let notes = Notes::default();
        let tapped = Tapped::new(stream, notes.clone(), None);
        let accepting = TlsAcceptor::from(config).accept(tapped);
        match accepting.into_fallible().await {
            Ok(stream) => Ok(Self::Tls(Box::new(stream.into()))),
            Err((error, stream)) => Err(Box::new(Broken::new(error, stream, &notes))),
        }
    }

    /// The certificate of the other side, which was found good.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.peer_certificates()?.first(),
        }
    }

    /// Whether the two have agreed to speak HTTP/2.
    pub(crate) fn agreed_to_http2(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(ALPN),
        }
    }
}

/// HTTP/2 in [ALPN](https://www.rfc-editor.org/rfc/rfc9113#section-3.2).
pub(crate) const ALPN: &[u8] = b"h2";

/// A fatal alert in a record of TLS 1.2, which every version takes before it has agreed on another
/// ([RFC 8446, section 6.2](https://www.rfc-editor.org/rfc/rfc8446#section-6.2)).
const HANDSHAKE_FAILURE: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// What one who is refused may go on sending. More is a connection that is cut.
const LAST_WORDS: usize = 64 << 10;
/// How long one who is refused may take to go.
const LINGERING: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Broken<S> {
    fn new(error: io::Error, stream: Tapped<S>, notes: &Notes) -> Self {
        let opening = std::mem::take(&mut notes.lock().opening);
        Self {
            error,
            opening,
            stream,
        }
    }

    /// Closes the connection so that the other side gets the alert: a socket that is closed with unread bytes resets, and
    /// that may overtake it.
    pub(crate) async fn close(self) {
        // One that does not go has had its time.
        let _ = timeout(LINGERING, self.linger()).await;
    }

    async fn linger(mut self) {
        let _ = self.stream.shutdown().await;
        let mut buffer = [0; 1024];
        let mut left = LAST_WORDS;
        while let Ok(read @ 1..) = self.stream.read(&mut buffer).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    }
}

/// Calls the same method on whatever carries the stream.
macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain(stream) => {
                let $inner = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $inner = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secure<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(each!(self, stream => stream.poll_read(cx, buf))) {
            // A peer that is gone without a word. HTTP/2 sees by itself what is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secure<S> {
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
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
