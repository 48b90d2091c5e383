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

/// `None` for a name that is held, and that nobody listens under.
static LISTENERS: LazyLock<Mutex<HashMap<String, Option<Sender>>>> = LazyLock::new(Mutex::default);
type Sender = mpsc::UnboundedSender<DuplexStream>;

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
        listeners.insert(name.clone(), Some(sender));
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
        free(&self.name);
    }
}

fn free(name: &str) {
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.remove(name);
}

/// A name that nobody else can listen under, and that cannot be dialled. It is free again when this drops.
#[derive(Debug)]
pub(crate) struct HeldName(String);

impl MemoryListener {
    /// Listens no more, and keeps the name.
    pub(crate) fn hold(mut self) -> HeldName {
        let name = std::mem::take(&mut self.name);
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(name.clone(), None);
        drop(listeners);
        HeldName(name)
    }
}

impl HeldName {
    pub(crate) fn listen(mut self) -> MemoryListener {
        let name = std::mem::take(&mut self.0);
        let (sender, dialled) = mpsc::unbounded_channel();
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(name.clone(), Some(sender));
        drop(listeners);
        MemoryListener { name, dialled }
    }
}

impl Drop for HeldName {
    fn drop(&mut self) {
        free(&self.0);
    }
}

/// Connects to the listener of that name.
pub(crate) fn dial(name: &str) -> io::Result<DuplexStream> {
    let (ours, theirs) = duplex(PIPE);
    let listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = listeners.get(name);
    listener
        .and_then(Option::as_ref)
        .and_then(|listener| listener.send(theirs).ok())
        .map(|()| ours)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "no server of this process has that name",
            )
        })
}
