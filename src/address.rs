//! Where a plugin server is.

use crate::error::{Error, Kind};
use std::{
    fmt,
    net::{Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where a plugin server is: a TCP port, a Unix socket, or an in-process pipe.
///
/// | written | means |
/// |---|---|
/// | `127.0.0.1:50051`, `localhost:50051`, `[::1]:50051`, `http://localhost:50051` | TCP, plaintext |
/// | `https://localhost:50051` | TCP, TLS |
/// | `unix:/run/plugin.sock`, `unix:///run/plugin.sock` | Unix socket ([gRPC naming]) |
/// | `memory:7` | the in-process server of that name |
///
/// Printing gives the shortest of these forms, and parsing what was printed gives the same address back.
///
/// ```
/// use rpcplugin_testkit::Address;
///
/// let address: Address = "unix:///run/plugin.sock".parse()?;
/// assert_eq!(address, Address::Unix("/run/plugin.sock".into()));
/// assert_eq!(address.to_string(), "unix:/run/plugin.sock");
/// # Ok::<(), rpcplugin_testkit::Error>(())
/// ```
///
/// [gRPC naming]: https://github.com/grpc/grpc/blob/master/doc/naming.md
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// The path of a Unix domain socket.
    Unix(PathBuf),
    /// The name of a server in this process, as [`MockServer::memory`](crate::MockServer::memory) gives.
    Memory(String),
    /// A TCP host and port.
    #[non_exhaustive]
    Tcp {
        /// A name or an IP address; an IPv6 address without its brackets.
        host: String,
        /// The port. 0 asks for an ephemeral one when listening, and cannot be dialled.
        port: u16,
        /// Whether the address was written with `https://`.
        tls: bool,
    },
}

/// How many bytes a Unix socket's path may have: `sun_path` less its NUL (`unix(7)`).
const UNIX_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

const EXPECTED: &str =
    "expected `host:port`, `http://host:port`, `https://host:port`, `unix:/path` or `memory:name`";

impl Address {
    /// A plaintext TCP address.
    ///
    /// ```
    /// use rpcplugin_testkit::Address;
    ///
    /// assert_eq!(Address::tcp("::1", 50051).to_string(), "[::1]:50051");
    /// ```
    #[must_use]
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        let unbracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        Self::Tcp {
            host: unbracketed.map(str::to_owned).unwrap_or(host),
            port,
            tls: false,
        }
    }

    /// A Unix socket.
    ///
    /// # Errors
    ///
    /// When the path is empty, or longer than the platform's limit (`sun_path` has 108 bytes on Linux).
    pub fn unix(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        check_unix_path(&path)?;
        Ok(Self::Unix(path))
    }

    /// The address as a URI: `http://…` or `https://…` for TCP, and the printed form for the others.
    ///
    /// ```
    /// use rpcplugin_testkit::Address;
    ///
    /// assert_eq!(Address::tcp("localhost", 50051).uri(), "http://localhost:50051");
    /// ```
    #[must_use]
    pub fn uri(&self) -> String {
        match self {
            Self::Tcp {
                host,
                port,
                tls: false,
            } => format!("http://{}", host_and_port(host, *port)),
            _ => self.to_string(),
        }
    }

    /// Whether the address itself asks for TLS (`https://`).
    #[must_use]
    pub fn wants_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }

    /// Whether what goes there stays on this machine: a Unix socket, a pipe, `localhost`, a loopback address.
    pub(crate) fn is_local(&self) -> bool {
        let Self::Tcp { host, .. } = self else {
            return true;
        };
        let ip = host.parse::<std::net::IpAddr>();
        host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// The same address, as one that asks for TLS or not.
    pub(crate) fn with_tls(mut self, wanted: bool) -> Self {
        if let Self::Tcp { tls, .. } = &mut self {
            *tls = wanted;
        }
        self
    }

    /// The HTTP/2 `:authority` of calls to this address: the host and port, or `localhost` where there is none.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Tcp { host, port, .. } => host_and_port(host, *port),
            Self::Unix(_) | Self::Memory(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, tls } => {
                // A host that is called like a scheme would be taken for one.
                let ambiguous = ["unix", "memory"].contains(&host.as_str());
                let scheme = match (tls, ambiguous) {
                    (true, _) => "https://",
                    (false, true) => "http://",
                    (false, false) => "",
                };
                write!(f, "{scheme}{}", host_and_port(host, *port))
            }
            Self::Unix(path) if path.to_string_lossy().starts_with("//") => {
                write!(f, "unix://{}", path.display())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Memory(name) => write!(f, "memory:{name}"),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address.ip().to_string(), address.port())
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|problem| {
            Error::new(
                Kind::Address,
                format!("invalid address `{text}`: {problem}; {EXPECTED}"),
            )
        })
    }
}

/// What [`Client::connect`](crate::Client::connect) and others take: an [`Address`], a text, a `SocketAddr`.
///
/// It is `TryInto<Address>` with one error type, so that a text and an address can be passed alike.
pub trait IntoAddress {
    /// The address.
    ///
    /// # Errors
    ///
    /// When a text is not an address.
    fn into_address(self) -> Result<Address, Error>;
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<Self, Error> {
        Ok(self)
    }
}

impl IntoAddress for &Address {
    fn into_address(self) -> Result<Address, Error> {
        Ok(self.clone())
    }
}

impl IntoAddress for SocketAddr {
    fn into_address(self) -> Result<Address, Error> {
        Ok(self.into())
    }
}

impl IntoAddress for &str {
    fn into_address(self) -> Result<Address, Error> {
        self.parse()
    }
}

impl IntoAddress for String {
    fn into_address(self) -> Result<Address, Error> {
        self.parse()
    }
}

impl IntoAddress for &String {
    fn into_address(self) -> Result<Address, Error> {
        self.parse()
    }
}

/// The address, or the problem in words that continue "invalid address `…`: ".
fn parse(text: &str) -> Result<Address, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        return parse_unix(rest);
    }
    if let Some(name) = text.strip_prefix("memory:") {
        return parse_memory(name);
    }
    match text.split_once("://") {
        Some(("http", rest)) => parse_tcp(rest.strip_suffix('/').unwrap_or(rest), false),
        Some(("https", rest)) => parse_tcp(rest.strip_suffix('/').unwrap_or(rest), true),
        Some((scheme, _)) => Err(format!("unknown scheme `{scheme}`")),
        None if text.starts_with('/') => Err(format!("a path needs a scheme, as in `unix:{text}`")),
        None => parse_tcp(text, false),
    }
}

fn parse_unix(rest: &str) -> Result<Address, String> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err("`unix://` takes an absolute path, as in `unix:///path`".to_owned()),
        None => rest,
    };
    unix_path_problem(Path::new(path)).map_or_else(|| Ok(Address::Unix(path.into())), Err)
}

fn parse_memory(name: &str) -> Result<Address, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() {
        return Err("`memory:` needs a name".to_owned());
    }
    match name.chars().find(|c| !allowed(*c)) {
        Some(odd) => Err(format!(
            "{odd:?} cannot stand in the name of an in-process server"
        )),
        None => Ok(Address::Memory(name.to_owned())),
    }
}

fn parse_tcp(text: &str, tls: bool) -> Result<Address, String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("`[` has no `]`")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err(format!("`{host}` is not an IPv6 address"));
        }
        (host, after.strip_prefix(':').ok_or("the port is missing")?)
    } else {
        let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
        if host.contains(':') {
            return Err("an IPv6 address needs brackets, as in `[::1]:50051`".to_owned());
        }
        check_host(host)?;
        (host, port)
    };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port: parse_port(port)?,
        tls,
    })
}

fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    match host
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c)))
    {
        Some(odd) => Err(format!("{odd:?} cannot stand in a host name")),
        None => Ok(()),
    }
}

/// A port, 0 to 65535. `u16::from_str` would take a sign.
pub(crate) fn parse_port(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Err("the port is missing".to_owned());
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| digits);
    port.ok_or_else(|| format!("`{text}` is not a port from 0 to 65535"))
}

/// Whether a server of this process could have this name.
pub(crate) fn check_memory_name(name: &str) -> Result<(), Error> {
    parse_memory(name).map(drop).map_err(|problem| {
        Error::new(
            Kind::Address,
            format!("invalid name of an in-process server `{name}`: {problem}"),
        )
    })
}

/// Whether a Unix socket could be at this path.
pub(crate) fn check_unix_path(path: &Path) -> Result<(), Error> {
    unix_path_problem(path).map_or(Ok(()), |problem| {
        let text = format!("invalid Unix socket path `{}`: {problem}", path.display());
        Err(Error::new(Kind::Address, text))
    })
}

fn unix_path_problem(path: &Path) -> Option<String> {
    let length = path.as_os_str().len();
    if length == 0 {
        return Some("the path is missing".to_owned());
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Some("the path has a NUL byte".to_owned());
    }
    (length > UNIX_PATH_LIMIT).then(|| {
        format!("the path has {length} bytes, and this platform allows {UNIX_PATH_LIMIT} for a Unix socket")
    })
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
