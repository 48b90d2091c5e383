//! Listening for connections.

use crate::address::{Address, check_memory_name, check_unix_path};
use crate::error::{Error, Kind};
use crate::net::memory::{HeldName, MemoryListener};
#[cfg(unix)]
use crate::net::socket::SocketDir;
use crate::net::stream::Stream;
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    task::{Context, Poll, ready},
};
use tokio::net::{TcpListener, TcpSocket, lookup_host};

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

    /// One more listener of the same transport, at an address that was free.
    pub(crate) fn bind_like(other: &Address) -> Result<Self, Error> {
        match other {
            Address::Tcp { .. } => {
                let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let (address, listener) =
                    listen_tcp(wanted).map_err(|error| cannot_bind(&wanted.into(), error))?;
                Ok(Self {
                    address: address.into(),
                    kind: Inner::Tcp(listener),
                })
            }
            Address::Memory(_) => bind_memory(None),
            Address::Unix(_) => bind_unix(None),
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
    let found = lookup_host((host, port)).await;
    let found = found.map_err(|error| cannot_bind(&wanted, error))?;
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in found {
        match listen_tcp(address) {
            Ok((address, listener)) => {
                return Ok(Listener {
                    address: address.into(),
                    kind: Inner::Tcp(listener),
                });
            }
            Err(error) => failure = error,
        }
    }
    Err(cannot_bind(&wanted, failure))
}

/// Listens so that the port can be [held](Listener::hold). Where somebody listens already, that fails all the same.
fn listen_tcp(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    if address.port() != 0 && CAN_HOLD {
        drop(std::net::TcpListener::bind(address)?);
    }
    let listener = tcp_socket(address, true)?.listen(BACKLOG)?;
    Ok((listener.local_addr()?, listener))
}

/// How many connections the kernel keeps for us.
const BACKLOG: u32 = 1024;

/// A socket that is bound, and shares its port with others of ours. One that does not `listen` keeps others away only if
/// it does not let them reuse the address.
fn tcp_socket(address: SocketAddr, listens: bool) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    #[cfg(any(target_os = "android", target_os = "linux", target_os = "macos"))]
    socket.set_reuseport(true)?;
    // Elsewhere it would let others take the port.
    let reuses = listens && cfg!(unix);
    // A free port is looked for faster without it (3 instead of 12 µs where some thousand connections ended of late). It is
    // for those that come later, of which the last must have had it too.
    let is_ephemeral = address.port() == 0;
    if reuses && !is_ephemeral {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    if reuses && is_ephemeral {
        socket.set_reuseaddr(true)?;
    }
    Ok(socket)
}

const CAN_HOLD: bool = cfg!(any(
    target_os = "android",
    target_os = "linux",
    target_os = "macos"
));

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

/// The address of a listener that listens no more: whoever dials it is refused, and nobody else can listen there. (A TCP port
/// can be held on Linux, Android and macOS only.) It is free again when this drops.
#[derive(Debug)]
pub(crate) struct Held {
    address: Address,
    kind: HeldKind,
}

#[derive(Debug)]
enum HeldKind {
    Memory(HeldName),
    /// A socket that is bound to the port and does not listen.
    Tcp {
        at: Option<SocketAddr>,
        _socket: Option<TcpSocket>,
    },
    /// The socket's file, which nobody listens on.
    #[cfg(unix)]
    Unix(SocketFile),
}

impl Listener {
    /// Listens no more, and keeps the address for [`Held::listen`].
    pub(crate) fn hold(self) -> Held {
        let kind = match self.kind {
            Inner::Memory(listener) => HeldKind::Memory(listener.hold()),
            Inner::Tcp(listener) => {
                let at = listener.local_addr().ok();
                let socket = at.filter(|_| CAN_HOLD).map(|at| tcp_socket(at, false));
                HeldKind::Tcp {
                    at,
                    // Without it the port may be lost, which the next `listen` tells.
                    _socket: socket.and_then(Result::ok),
                }
            }
            #[cfg(unix)]
            Inner::Unix(UnixSocket { listener, _file }) => {
                drop(listener);
                HeldKind::Unix(_file)
            }
        };
        Held {
            address: self.address,
            kind,
        }
    }
}

impl Held {
    /// Listens there again.
    pub(crate) fn listen(self) -> Result<Listener, Error> {
        let Self { address, kind } = self;
        let listening = match kind {
            HeldKind::Memory(name) => Ok(Inner::Memory(name.listen())),
            HeldKind::Tcp { at, _socket } => {
                let at = at.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into());
                at.and_then(|at| tcp_socket(at, true)?.listen(BACKLOG))
                    .map(Inner::Tcp)
            }
            #[cfg(unix)]
            HeldKind::Unix(file) => listen_again(&address, file),
        };
        match listening {
            Ok(kind) => Ok(Listener { address, kind }),
            Err(error) => Err(cannot_bind(&address, error)),
        }
    }
}

/// The file has to go before another socket can have its path.
#[cfg(unix)]
fn listen_again(address: &Address, file: SocketFile) -> io::Result<Inner> {
    let Address::Unix(path) = address else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    Ok(Inner::Unix(UnixSocket {
        listener,
        _file: file,
    }))
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
