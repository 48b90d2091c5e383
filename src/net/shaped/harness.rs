//! What the tests share: both ends of a connection, and a task that serves one.

use crate::net::{
    Bind, Cut, Distortion, Freezer, Listener, Shape, Shaped, Stream, Switched, Way, dial,
};
use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};

/// Both ends of a connection: a client's, and a server's that is shaped.
pub(crate) async fn pair(bind: &Bind) -> (Stream, Shaped, Shape, Cut<Stream>) {
    let mut listener = Listener::bind(bind).await.expect("it listens");
    let client = dial(listener.address()).await.expect("it is dialled");
    let accepted = poll_fn(|cx| listener.poll_accept(cx)).await;
    let (stream, _) = accepted.expect("it is accepted");
    let (stream, cut) = Switched::new(stream, &Arc::new(Freezer::default()));
    let (shaped, shape) = Shaped::new(stream);
    (client, shaped, shape, cut)
}

/// A server's task: like that of HTTP/2 it writes what it is told, and reads all the time.
pub(crate) struct Server {
    pub(crate) shape: Shape,
    /// What it is to write. It shuts its way down when this is dropped.
    pub(crate) writes: mpsc::UnboundedSender<Vec<u8>>,
    /// What it read, and when.
    pub(crate) reads: mpsc::UnboundedReceiver<(Instant, Vec<u8>)>,
    pub(crate) ended: JoinHandle<io::Result<()>>,
}

struct Serving {
    stream: Shaped,
    told: mpsc::UnboundedReceiver<Vec<u8>>,
    pending: Vec<u8>,
    read: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
    read_all: bool,
}

impl Serving {
    /// Ready when it has written all that it ever will.
    fn poll_writes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let stream = Pin::new(&mut self.stream);
            if self.pending.is_empty() {
                match self.told.poll_recv(cx) {
                    Poll::Ready(Some(pending)) => self.pending = pending,
                    Poll::Ready(None) => return stream.poll_shutdown(cx),
                    Poll::Pending => {
                        ready!(stream.poll_flush(cx))?;
                        return Poll::Pending;
                    }
                }
            }
            let written = ready!(stream.poll_write(cx, &self.pending))?;
            self.pending.drain(..written);
        }
    }

    fn poll_reads(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.read_all {
            let mut scratch = [0; 8 << 10];
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            self.read_all = read.filled().is_empty();
            // A test may not be interested.
            let _ = self.read.send((Instant::now(), read.filled().to_vec()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = self.poll_writes(cx)?;
        let read = self.poll_reads(cx)?;
        match (written, read) {
            (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

pub(crate) fn serve(stream: Shaped, shape: Shape) -> Server {
    let (writes, told) = mpsc::unbounded_channel();
    let (read, reads) = mpsc::unbounded_channel();
    let mut serving = Serving {
        stream,
        told,
        pending: Vec::new(),
        read,
        read_all: false,
    };
    let ended = tokio::spawn(async move { poll_fn(|cx| serving.poll(cx)).await });
    Server {
        shape,
        writes,
        reads,
        ended,
    }
}

impl Server {
    pub(crate) fn write(&self, bytes: &[u8]) {
        self.writes.send(bytes.to_vec()).expect("it is running");
    }

    pub(crate) fn add(&self, id: u64, way: Way, after: u64, distortion: Distortion) {
        self.shape
            .add(id, way, after, distortion, Box::new(|| None));
    }

    /// The next piece, and how long after that instant it came.
    pub(crate) async fn read(&mut self, start: Instant) -> (u128, Vec<u8>) {
        let (at, bytes) = self.reads.recv().await.expect("it is running");
        ((at - start).as_millis(), bytes)
    }

    pub(crate) async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < count {
            all.append(&mut self.read(Instant::now()).await.1);
        }
        all
    }

    pub(crate) async fn error(self) -> ErrorKind {
        let ended = self.ended.await.expect("it did not panic");
        ended.expect_err("it was cut").kind()
    }
}

pub(crate) async fn served(bind: &Bind) -> (Stream, Server) {
    let (client, shaped, shape, _) = pair(bind).await;
    (client, serve(shaped, shape))
}

pub(crate) fn random_bytes(dice: &mut fastrand::Rng, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    dice.fill(&mut bytes);
    bytes
}
