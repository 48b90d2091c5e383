//! Connecting to an address.

use crate::address::{Address, check_unix_path};
use crate::error::{Error, Kind};
use crate::net::{memory, stream::Stream};
use std::{io, path::Path};
use tokio::net::TcpStream;

/// Connects, with `NODELAY` on TCP. The error names the address and keeps the cause.
pub(crate) async fn dial(address: &Address) -> Result<Stream, Error> {
    let connected = match address {
        Address::Tcp { port: 0, .. } => {
            let text =
                format!("cannot connect to {address}: port 0 only means \"any\" to a listener");
            return Err(Error::new(Kind::Address, text));
        }
        Address::Tcp { host, port, .. } => dial_tcp(host, *port).await,
        Address::Memory(name) => memory::dial(name).map(Stream::Memory),
        Address::Unix(path) => {
            check_unix_path(path)?;
            dial_unix(path).await
        }
    };
    connected.map_err(|error| {
        Error::new(Kind::Connect, format!("cannot connect to {address}")).caused_by(error)
    })
}

async fn dial_tcp(host: &str, port: u16) -> io::Result<Stream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

#[cfg(unix)]
async fn dial_unix(path: &Path) -> io::Result<Stream> {
    tokio::net::UnixStream::connect(path)
        .await
        .map(Stream::Unix)
}

#[cfg(not(unix))]
async fn dial_unix(_: &Path) -> io::Result<Stream> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this platform has no Unix sockets",
    ))
}

#[cfg(test)]
mod tests {
    use crate::net::{Bind, Listener, Stream, dial};
    use std::future::poll_fn;

    /// Without it a small message waits for an acknowledgement, 40 ms on Linux. No test from outside can see it.
    #[tokio::test]
    async fn both_ends_of_a_tcp_connection_have_nodelay() {
        let mut listener = Listener::bind(&Bind::Tcp).await.unwrap();
        let ours = dial(listener.address()).await.unwrap();
        let (theirs, _) = poll_fn(|cx| listener.poll_accept(cx)).await.unwrap();
        for end in [ours, theirs] {
            let Stream::Tcp(stream) = end else {
                panic!("{end:?} is not TCP");
            };
            assert!(stream.nodelay().unwrap());
        }
    }
}
