//! Listening for connections.

use crate::address::{Address, check_memory_name, check_unix_path};
use crate::error::{Error, Kind};
use crate::net::memory::MemoryListener;
#[cfg(unix)]
use crate::net::socket::SocketDir;
use crate::net::stream::Stream;
use std::{
    io,
    task::{Context, Poll, ready},
};
use tokio::net::TcpListener;

/// What to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// This very address.
    At(Address),
    /// An in-process pipe under a fresh name.
    Memory,
    /// 127.0.0.1 and an ephemeral port.
    Tcp,
    /// A socket in a private temporary directory.
    Unix,
}

/// A bound listener: connections made from now on are kept until they are accepted.
#[derive(Debug)]
pub(crate) struct Listener {
    address: Address,
    kind: Inner,
}

#[derive(Debug)]
enum Inner {
    Memory(MemoryListener),
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

/// Dropped in this order: the listener is closed, then its file is removed.
#[cfg(unix)]
#[derive(Debug)]
struct UnixSocket {
    listener: tokio::net::UnixListener,
    _file: SocketFile,
}

#[cfg(unix)]
#[derive(Debug)]
enum SocketFile {
    Named(std::path::PathBuf),
    /// Held for its drop, which removes the directory and the socket in it.
    Temporary {
        _dir: SocketDir,
    },
}

impl Listener {
    pub(crate) async fn bind(bind: &Bind) -> Result<Self, Error> {
        match bind {
            Bind::Tcp => bind_tcp("127.0.0.1", 0).await,
            Bind::At(Address::Tcp { host, port, .. }) => bind_tcp(host, *port).await,
            Bind::Memory => bind_memory(None),
            Bind::At(Address::Memory(name)) => {
                check_memory_name(name)?;
                bind_memory(Some(name))
            }
            Bind::Unix => bind_unix(None),
            Bind::At(Address::Unix(path)) => bind_unix(Some(path)),
        }
    }

    /// Where it listens, with the port or the path that was chosen.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The next connection and who made it.
    pub(crate) fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, Address)>> {
        match &mut self.kind {
            Inner::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                // Without it a small reply waits for an acknowledgement: 40 ms a call.
                // It fails for a client that has gone again already.
                let _ = stream.set_nodelay(true);
                Poll::Ready(Ok((Stream::Tcp(stream), peer.into())))
            }
            Inner::Memory(listener) => {
                let stream = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok((Stream::Memory(stream), self.address.clone())))
            }
            #[cfg(unix)]
            Inner::Unix(socket) => {
                let (stream, _) = ready!(socket.listener.poll_accept(cx))?;
                Poll::Ready(Ok((Stream::Unix(stream), self.address.clone())))
            }
        }
    }
}

async fn bind_tcp(host: &str, port: u16) -> Result<Listener, Error> {
    let wanted = Address::tcp(host, port);
    let listener = TcpListener::bind((host, port))
        .await
        .map_err(|error| cannot_bind(&wanted, error))?;
    let bound = listener
        .local_addr()
        .map_err(|error| cannot_bind(&wanted, error))?;
    Ok(Listener {
        address: bound.into(),
        kind: Inner::Tcp(listener),
    })
}

fn bind_memory(name: Option<&str>) -> Result<Listener, Error> {
    let listener = MemoryListener::bind(name).map_err(|error| {
        cannot_bind(&Address::Memory(name.unwrap_or_default().to_owned()), error)
    })?;
    Ok(Listener {
        address: Address::Memory(listener.name().to_owned()),
        kind: Inner::Memory(listener),
    })
}

#[cfg(unix)]
fn bind_unix(path: Option<&std::path::PathBuf>) -> Result<Listener, Error> {
    let (path, file) = match path {
        Some(path) => (path.clone(), SocketFile::Named(path.clone())),
        None => {
            let dir = SocketDir::new().map_err(|error| {
                Error::new(
                    Kind::Bind,
                    "cannot make a temporary directory for a Unix socket",
                )
                .caused_by(error)
            })?;
            (dir.path(), SocketFile::Temporary { _dir: dir })
        }
    };
    check_unix_path(&path)?;
    let address = Address::Unix(path.clone());
    match tokio::net::UnixListener::bind(&path) {
        Ok(listener) => Ok(Listener {
            address,
            kind: Inner::Unix(UnixSocket {
                listener,
                _file: file,
            }),
        }),
        Err(error) => {
            // The file at that path is somebody else's.
            file.keep();
            Err(cannot_bind(&address, error))
        }
    }
}

#[cfg(not(unix))]
fn bind_unix(_: Option<&std::path::PathBuf>) -> Result<Listener, Error> {
    Err(Error::new(Kind::Bind, "this platform has no Unix sockets"))
}

fn cannot_bind(address: &Address, error: io::Error) -> Error {
    Error::new(Kind::Bind, format!("cannot listen on {address}")).caused_by(error)
}

#[cfg(unix)]
impl SocketFile {
    fn keep(mut self) {
        if let Self::Named(path) = &mut self {
            path.clear();
        }
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Self::Named(path) = self {
            // It may be gone already, and a destructor has nobody to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}
