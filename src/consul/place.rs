//! The address of an agent, as `CONSUL_HTTP_ADDR` has it.

use crate::address::Address;
use crate::error::{Error, Kind};
use std::fmt;

/// Where an agent is, and below which path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Address,
    /// What all paths begin with: empty, or `/prefix`.
    pub(super) prefix: String,
    /// Whether the port was told, and not that of the scheme.
    has_port: bool,
}

impl Place {
    /// Where an agent listens if nothing else is said.
    pub(super) fn local() -> Self {
        Self {
            address: Address::tcp("127.0.0.1", 8500),
            prefix: String::new(),
            has_port: true,
        }
    }

    /// `host:port`, `http://host:port`, `https://host:port`, both with a path if the agent is behind one, or
    /// `unix:///path`. Without a port it is that of the scheme, as Consul's own client has it.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let told = |error: Error| {
            let text = format!("`{text}` is no address of a Consul agent");
            Error::new(Kind::Config, text).caused_by(error)
        };
        if text.starts_with("unix:") || text.starts_with("memory:") {
            let address = text.parse().map_err(told)?;
            return Ok(Self {
                address,
                prefix: String::new(),
                has_port: false,
            });
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => ("http", text),
        };
        let (host, prefix) = match rest.split_once('/') {
            Some((host, path)) => (host, path.trim_end_matches('/')),
            None => (rest, ""),
        };
        let has_port = host.rsplit(']').next().unwrap_or(host).contains(':');
        let port = match (has_port, scheme) {
            (true, _) => "",
            (false, "https") => ":443",
            (false, _) => ":80",
        };
        let address = format!("{scheme}://{host}{port}").parse().map_err(told)?;
        let prefix = match prefix {
            "" => String::new(),
            path => format!("/{path}"),
        };
        Ok(Self {
            address,
            prefix,
            has_port,
        })
    }

    /// The same with TLS, as `CONSUL_HTTP_SSL` asks for it.
    pub(super) fn with_tls(self) -> Self {
        let mut address = self.address.with_tls(true);
        if let Address::Tcp { port, .. } = &mut address
            && !self.has_port
        {
            *port = 443;
        }
        Self { address, ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use crate::consul::place::Place;

    #[test]
    fn every_form_is_read() {
        let table = [
            ("127.0.0.1:8500", "127.0.0.1:8500"),
            ("http://127.0.0.1:8500", "127.0.0.1:8500"),
            ("http://127.0.0.1:8500/", "127.0.0.1:8500"),
            ("consul.internal", "consul.internal:80"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::1]:8500", "[::1]:8500"),
            ("https://consul.internal", "https://consul.internal:443"),
            ("https://gate:8501/consul/", "https://gate:8501/consul"),
            ("gate:80/a/b", "gate:80/a/b"),
            ("unix:///run/consul.sock", "unix:/run/consul.sock"),
            (" localhost:8500 ", "localhost:8500"),
        ];
        for (text, shown) in table {
            assert_eq!(Place::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_none_is_told() {
        let table = [
            (
                "ftp://host:1",
                "`ftp://host:1` is no address of a Consul agent",
            ),
            ("host:port", "`host:port` is no address of a Consul agent"),
            ("unix://", "`unix://` is no address of a Consul agent"),
            ("", "`` is no address of a Consul agent"),
        ];
        for (text, told) in table {
            let error = Place::parse(text).unwrap_err();
            assert!(error.is_config());
            assert_eq!(error.to_string(), told);
        }
    }

    #[test]
    fn tls_can_be_asked_for_beside_it() {
        let table = [
            ("consul.internal:8501/x", "https://consul.internal:8501/x"),
            ("consul.internal:80", "https://consul.internal:80"),
            ("http://consul.internal", "https://consul.internal:443"),
            (
                "https://consul.internal:8501",
                "https://consul.internal:8501",
            ),
            ("unix:///run/consul.sock", "unix:/run/consul.sock"),
        ];
        for (text, shown) in table {
            let place = Place::parse(text).unwrap().with_tls();
            assert_eq!(place.to_string(), shown);
        }
    }
}
