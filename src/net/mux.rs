//! Several streams over one, by [yamux](https://github.com/hashicorp/yamux/blob/master/spec.md).

use std::{
    future::{Future, poll_fn},
    io,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use yamux::{Config, Connection, ConnectionError, Mode};

/// One of the streams.
pub(crate) type MuxStream = Compat<yamux::Stream>;

type Opening = oneshot::Sender<Result<MuxStream, ConnectionError>>;

/// Opens streams of a session, as long as that is driven.
#[derive(Clone, Debug)]
pub(crate) struct Opener(mpsc::UnboundedSender<Opening>);

impl Opener {
    /// A new stream to the other side, which learns of it by the first byte.
    pub(crate) async fn open(&self) -> io::Result<MuxStream> {
        let (opening, opened) = oneshot::channel();
        let gone = || io::Error::from(io::ErrorKind::ConnectionAborted);
        self.0.send(opening).map_err(|_| gone())?;
        opened.await.map_err(|_| gone())?.map_err(io::Error::other)
    }
}

/// The server's side of a session: what opens streams, those that the client opens, and what drives it all to its end.
pub(crate) fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> (
    Opener,
    mpsc::UnboundedReceiver<MuxStream>,
    impl Future<Output = Result<(), ConnectionError>> + Send,
) {
    let (opener, openings) = mpsc::unbounded_channel();
    let (accepting, accepted) = mpsc::unbounded_channel();
    let mut driving = Driving {
        connection: Connection::new(stream.compat(), Config::default(), Mode::Server),
        openings,
        opening: None,
        accepting,
    };
    let driven = async move { poll_fn(|cx| driving.poll(cx)).await };
    (Opener(opener), accepted, driven)
}

struct Driving<T> {
    connection: Connection<Compat<T>>,
    openings: mpsc::UnboundedReceiver<Opening>,
    /// The one that is being opened.
    opening: Option<Opening>,
    accepting: mpsc::UnboundedSender<MuxStream>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driving<T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        loop {
            match self.connection.poll_next_inbound(cx) {
                // Nobody takes it who is gone.
                Poll::Ready(Some(Ok(stream))) => drop(self.accepting.send(stream.compat())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    if self.poll_opening(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.opening.is_none() {
            match self.openings.poll_recv(cx) {
                Poll::Ready(Some(opening)) => self.opening = Some(opening),
                // The session goes on without anybody who opens.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
        let Poll::Ready(opened) = self.connection.poll_new_outbound(cx) else {
            return Poll::Pending;
        };
        if let Some(opening) = self.opening.take() {
            // Who has given up needs no stream.
            let _ = opening.send(opened.map(yamux::Stream::compat));
        }
        Poll::Ready(())
    }
}
