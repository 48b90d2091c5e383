//! The addresses of a host.

use crate::address::{Address, IntoAddress};
use crate::client::backoff::Backoff;
use crate::client::discovery::discover::{Discover, EndpointSet};
use crate::client::discovery::dns::follow::{Ask, Found, follow};
use crate::client::discovery::dns::looks::Pace;
use crate::client::discovery::dns::system;
use crate::client::discovery::refresh::Refresh;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio_stream::Stream;

/// All addresses of a host, as a [source](Discover) of endpoints: those that the system's resolver finds, by DNS or `/etc/hosts`, such
/// as the pods behind a headless service of Kubernetes.
///
/// Each address is an [`Endpoint`] with the port that was told, and with the host as [`tls_name`](Endpoint::tls_name): a certificate
/// is for the name that was asked for, not for what an answer says. Addresses of both families are taken, each once. Those that
/// stay keep their order, whichever way a name server turns its answers round; new ones come after them.
///
/// A host is looked up [now and then](Self::every), and [sooner](Self::at_most_every) when a connection is lost. A host that
/// does not exist is an error and no empty set: the last good set is used, and it is looked up again with
/// [backoff](Self::backoff).
///
/// ```
/// use rpcplugin_testkit::{Client, MockServer, client::Dns};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let server = MockServer::start().await;
/// let rpcplugin_testkit::Address::Tcp { port, .. } = server.address() else { unreachable!() };
///
/// let client = Client::builder().discover(Dns::new(format!("localhost:{port}"))?).connect().await?;
/// client.health_check().await?;
/// assert_eq!(client.endpoints()[0].tls_name.as_deref(), Some("localhost"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until a client is built with it"]
pub struct Dns {
    host: String,
    port: u16,
    tls: bool,
    tls_name: Option<String>,
    pace: Pace,
}

impl Dns {
    /// A host and a port: `host:port`, or `https://host:port` for TLS. What is an IP address already is told as it is.
    ///
    /// # Errors
    ///
    /// When it is no address, or one that has no host.
    pub fn new(name: impl IntoAddress) -> Result<Self, Error> {
        match name.into_address()? {
            Address::Tcp { host, port, tls } => Ok(Self {
                host,
                port,
                tls,
                tls_name: None,
                pace: Pace::default(),
            }),
            address => {
                let text = format!("`{address}` has no host to look up, expected `host:port`");
                Err(Error::new(Kind::Address, text))
            }
        }
    }

    /// How long after an answer it is looked up again: the system's resolver does not tell how long its answers are good.
    /// [`Duration::MAX`] for never, but when a connection is lost. Default: 30 s.
    pub fn every(mut self, interval: Duration) -> Self {
        self.pace.every = interval;
        self
    }

    /// How soon after an answer it may be looked up again because a connection was lost or could not be made. Default: 5 s.
    pub fn at_most_every(mut self, interval: Duration) -> Self {
        self.pace.at_most_every = interval;
        self
    }

    /// How long after no answer it is looked up again. Default: gRPC's connection backoff, up to 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.pace.backoff = backoff;
        self
    }

    /// The name that the certificates must have. It goes before [`ClientTls::server_name`](crate::ClientTls::server_name).
    /// Default: the host.
    pub fn tls_name(mut self, name: impl Into<String>) -> Self {
        self.tls_name = Some(name.into());
        self
    }

    /// What there is now.
    async fn look(self) -> Result<Found, Error> {
        let addresses = match self.literal() {
            Some(ip) => vec![ip],
            None => system::addresses(&self.host).await?,
        };
        let endpoints = addresses.into_iter().map(|ip| self.endpoint(ip));
        Ok(Found {
            endpoints: endpoints.collect(),
            good_for: None,
        })
    }

    fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    fn endpoint(&self, ip: IpAddr) -> Endpoint {
        let address = Address::from(SocketAddr::new(ip, self.port)).with_tls(self.tls);
        let mut endpoint = Endpoint::from(address);
        // A certificate has no dot at the end.
        let host = || self.host.trim_end_matches('.').to_owned();
        let told = self.tls_name.clone();
        endpoint.tls_name = told.or_else(|| self.literal().is_none().then(host));
        endpoint
    }
}

impl Discover for Dns {
    fn watch(&self, refresh: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        let source = self.clone();
        let ask: Ask = Arc::new(move || Box::pin(source.clone().look()));
        follow(ask, self.pace, refresh)
    }

    fn name(&self) -> String {
        format!("the host `{}`", self.host)
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::discover::Discover as _;
    use crate::client::discovery::dns::host::Dns;
    use crate::client::discovery::refresh::Refresh;
    use crate::endpoint::Endpoint;
    use tokio_stream::StreamExt as _;

    fn endpoint(source: &Dns) -> Endpoint {
        source.endpoint([127, 0, 0, 9].into())
    }

    #[test]
    fn an_address_has_the_port_the_scheme_and_the_name_that_were_told() {
        let source = |name: &str| Dns::new(name).unwrap();
        let plain = Endpoint::new("127.0.0.9:50051").unwrap();
        let secure = Endpoint::new("https://127.0.0.9:50051").unwrap();
        let host = "plugins.internal";
        assert_eq!(
            endpoint(&source("plugins.internal:50051")),
            plain.tls_name(host)
        );
        assert_eq!(
            endpoint(&source("https://plugins.internal.:50051")),
            secure.clone().tls_name(host)
        );
        let told = source("https://plugins.internal:50051").tls_name("other");
        assert_eq!(endpoint(&told), secure.tls_name("other"));
        let v6 = source("a:1").endpoint("::1".parse().unwrap());
        assert_eq!(v6, Endpoint::new("[::1]:1").unwrap().tls_name("a"));
    }

    #[tokio::test]
    async fn an_ip_address_is_told_as_it_is() {
        for address in ["127.0.0.9:1", "https://[::1]:1"] {
            let source = Dns::new(address).unwrap();
            let mut told = Box::pin(source.watch(Refresh::new()));
            let set = told.next().await.unwrap().unwrap();
            assert_eq!(set, [Endpoint::new(address).unwrap()]);
        }
    }

    #[test]
    fn what_has_no_host_cannot_be_looked_up() {
        let told = |name: &str| Dns::new(name).unwrap_err().to_string();
        assert_eq!(
            told("unix:/run/a"),
            "`unix:/run/a` has no host to look up, expected `host:port`"
        );
        assert!(told("plugins.internal").contains("the port is missing"));
    }
}
