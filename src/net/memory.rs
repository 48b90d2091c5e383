//! In-process pipes.
//!
//! A listener has a name in this process; dialling the name makes a fresh pipe and hands its other end to the listener,
//! so any number of clients can connect, and each gets real bytes, back-pressure and end-of-file.

use std::{
    collections::HashMap,
    io,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
};

/// How many bytes a pipe holds each way before the writer waits; a socket's buffer is about as large.
const PIPE: usize = 64 << 10;

static LISTENERS: LazyLock<Mutex<HashMap<String, mpsc::UnboundedSender<DuplexStream>>>> =
    LazyLock::new(Mutex::default);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Accepts the pipes dialled to its name, which is free again when it drops.
#[derive(Debug)]
pub(crate) struct MemoryListener {
    name: String,
    dialled: mpsc::UnboundedReceiver<DuplexStream>,
}

impl MemoryListener {
    /// Listens under this name, or under a fresh number.
    pub(crate) fn bind(name: Option<&str>) -> io::Result<Self> {
        let fresh = || NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match name {
            Some(name) => name.to_owned(),
            None => std::iter::repeat_with(fresh)
                .find(|name| !listeners.contains_key(name))
                .expect("the numbers do not end"),
        };
        if listeners.contains_key(&name) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (sender, dialled) = mpsc::unbounded_channel();
        listeners.insert(name.clone(), sender);
        drop(listeners);
        Ok(Self { name, dialled })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<DuplexStream>> {
        self.dialled
            .poll_recv(cx)
            .map(|stream| stream.ok_or_else(|| io::ErrorKind::ConnectionAborted.into()))
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        LISTENERS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.name);
    }
}

/// Connects to the listener of that name.
pub(crate) fn dial(name: &str) -> io::Result<DuplexStream> {
    let (ours, theirs) = duplex(PIPE);
    let listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = listeners.get(name);
    listener
        .and_then(|listener| listener.send(theirs).ok())
        .map(|()| ours)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "no server of this process has that name",
            )
        })
}
