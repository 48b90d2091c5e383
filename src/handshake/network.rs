//! Addresses as go-plugin writes them: a network, and what Go's `net.Addr` prints.

use crate::address::Address;
use crate::error::{Error, Kind};

/// The network and the address of a plugin. `None` for a pipe, which no other process can reach.
pub(crate) fn network_of(address: &Address) -> Option<(&'static str, String)> {
    match address {
        Address::Unix(path) => Some(("unix", path.display().to_string())),
        Address::Tcp { host, port, .. } => {
            Some(("tcp", Address::tcp(host.as_str(), *port).to_string()))
        }
        Address::Memory(_) => None,
    }
}

/// The address that is meant.
pub(crate) fn address_of(network: &str, address: &str) -> Result<Address, Error> {
    match network {
        "tcp" => tcp(address).ok_or_else(|| {
            let text = format!("`{address}` is no tcp address of a plugin, expected `host:port`");
            Error::new(Kind::Handshake, text)
        }),
        "unix" => Address::unix(address).map_err(|error| {
            let text = format!("`{address}` is no unix address of a plugin");
            Error::new(Kind::Handshake, text).caused_by(error)
        }),
        _ => {
            let text = format!("unknown address type `{network}`, expected `tcp` or `unix`");
            Err(Error::new(Kind::Handshake, text))
        }
    }
}

fn tcp(address: &str) -> Option<Address> {
    // As in Go, no host is this one.
    let parsed = match address.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => address.parse::<Address>(),
    };
    let parsed = parsed.ok().filter(|_| !address.contains("//"));
    parsed.filter(|parsed| matches!(parsed, Address::Tcp { .. }))
}

/// The error for an address that other processes cannot use.
pub(super) fn no_network(address: &Address) -> Error {
    let text =
        format!("{address} is a pipe within this process: a plugin listens on TCP or a socket");
    Error::new(Kind::Handshake, text)
}
