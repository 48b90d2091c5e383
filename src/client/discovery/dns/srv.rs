//! The SRV records of a service.

use crate::client::backoff::Backoff;
use crate::client::discovery::discover::{Discover, EndpointSet};
use crate::client::discovery::dns::follow::{Ask, follow};
use crate::client::discovery::dns::host::Dns;
use crate::client::discovery::dns::looks::Pace;
use crate::client::discovery::dns::query::Query;
use crate::client::discovery::dns::records::domain;
use crate::client::discovery::refresh::Refresh;
use crate::error::{Error, Kind};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio_stream::Stream;

/// The [SRV records](https://www.rfc-editor.org/rfc/rfc2782) of a service, as a [source](Discover) of endpoints. It needs the
/// feature `dns-srv`.
///
/// | of a record | becomes |
/// |---|---|
/// | the target | an endpoint for each of its A and AAAA records |
/// | the port | the port |
/// | the priority | [`Endpoint::priority`](crate::Endpoint::priority) |
/// | the weight | [`Endpoint::weight`](crate::Endpoint::weight), at each address of the target; 1 where no record of that priority has one |
/// | the TTL | when it is asked again: the shortest one, from 5 s to 5 min |
///
/// The certificates must have the domain that was asked for (`kv.internal` of `_grpc._tcp.kv.internal`), unless
/// [another name](Self::tls_name) is told: a target is what somebody answered, and proves nothing
/// ([RFC 6125](https://www.rfc-editor.org/rfc/rfc6125#section-6.2.1)).
///
/// The only target `.` says that there is no such service: an empty set. No records at all are an error, and so is a name server
/// that does not answer; then the last good set is used, and it is asked again with [backoff](Self::backoff). A target without
/// addresses is left out; one that cannot be looked up for the moment keeps those that it had.
///
/// ```no_run
/// use rpcplugin_testkit::{Client, client::Dns};
///
/// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
/// let source = Dns::srv("_grpc._tcp.kv.internal")?;
/// let client = Client::builder().discover(source).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until a client is built with it"]
pub struct DnsSrv {
    pub(super) name: String,
    pub(super) tls: bool,
    pub(super) nameserver: Option<SocketAddr>,
    tls_name: Option<String>,
    pace: Pace,
}

impl Dns {
    /// The SRV records of a service: `_service._proto.domain`, or `https://_service._proto.domain` for TLS. It needs the feature
    /// `dns-srv`.
    ///
    /// # Errors
    ///
    /// When it is no name.
    pub fn srv(name: impl AsRef<str>) -> Result<DnsSrv, Error> {
        let told = name.as_ref();
        let (name, tls) = match told.strip_prefix("https://") {
            Some(name) => (name, true),
            None => (told, false),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(allowed);
        let labels = name.strip_suffix('.').unwrap_or(name);
        if labels.len() > 253 || !labels.split('.').all(is_label) {
            let text = format!(
                "`{told}` has no SRV records, expected `_service._proto.domain` or `https://_service._proto.domain`"
            );
            return Err(Error::new(Kind::Address, text));
        }
        Ok(DnsSrv {
            name: name.to_owned(),
            tls,
            nameserver: None,
            tls_name: None,
            pace: Pace::default(),
        })
    }
}

impl DnsSrv {
    /// Asks this name server, by UDP and TCP, and neither `/etc/resolv.conf` nor `/etc/hosts`. Default: as the system is
    /// configured.
    pub fn nameserver(mut self, address: SocketAddr) -> Self {
        self.nameserver = Some(address);
        self
    }

    /// How soon after an answer it may be asked again because a connection was lost or could not be made. Default: 5 s.
    pub fn at_most_every(mut self, interval: Duration) -> Self {
        self.pace.at_most_every = interval;
        self
    }

    /// How long after no answer it is asked again. Default: gRPC's connection backoff, up to 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.pace.backoff = backoff;
        self
    }

    /// The name that the certificates must have. It goes before [`ClientTls::server_name`](crate::ClientTls::server_name).
    /// Default: the domain of the service.
    pub fn tls_name(mut self, name: impl Into<String>) -> Self {
        self.tls_name = Some(name.into());
        self
    }

    /// The name that the certificates must have.
    pub(super) fn certified(&self) -> &str {
        self.tls_name
            .as_deref()
            .unwrap_or_else(|| domain(&self.name))
    }
}

impl Discover for DnsSrv {
    fn watch(&self, refresh: Refresh) -> impl Stream<Item = EndpointSet> + Send + 'static {
        let query = Arc::new(Query::new(self.clone()));
        let ask: Ask = Arc::new(move || {
            let query = Arc::clone(&query);
            Box::pin(async move { query.look().await })
        });
        follow(ask, self.pace, refresh)
    }

    fn name(&self) -> String {
        format!("the service `{}`", self.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::dns::host::Dns;

    #[test]
    fn a_service_has_a_name_a_scheme_and_a_domain() {
        let source = Dns::srv("https://_grpc._tcp.kv.internal.").unwrap();
        assert_eq!(
            (source.name.as_str(), source.tls, source.certified()),
            ("_grpc._tcp.kv.internal.", true, "kv.internal")
        );
        let source = Dns::srv("kv.service.consul").unwrap().tls_name("kv");
        assert_eq!((source.tls, source.certified()), (false, "kv"));
    }

    #[test]
    fn what_is_no_name_is_told() {
        let long = "a".repeat(64);
        for name in ["", ".", "a..b", "_grpc._tcp.kv:1", "http://a", "ä", &long] {
            let told = Dns::srv(name).unwrap_err().to_string();
            let expected = format!(
                "`{name}` has no SRV records, expected `_service._proto.domain` or `https://_service._proto.domain`"
            );
            assert_eq!(told, expected);
        }
    }
}
