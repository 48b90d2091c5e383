//! Where a Consul agent is, and who we are for it.

use crate::address::Address;
use crate::consul::place::Place;
use crate::consul::secret::Secret;
use crate::error::{Error, Kind};
use crate::net::{Spoken, Tls};
use crate::tls::ClientTls;
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// A [Consul](https://developer.hashicorp.com/consul) agent, which knows where services are.
///
/// A client connects to the instances of a service that pass their checks, and follows them as they come and go:
///
/// ```
/// use rpcplugin_testkit::{Client, Consul, MockCluster, Stub, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let cluster = MockCluster::start(3).await;
/// cluster.mount(Stub::method("Pay").reply(json!({"paid": true})));
/// let registry = cluster.consul("payment-processor").await;
///
/// let consul = Consul::new(registry.url());
/// let client = consul.connect_to("payment-processor").await?;
/// client.call("Pay", json!({})).await?;
/// # Ok(())
/// # }
/// ```
///
/// It speaks Consul's [HTTP API](https://developer.hashicorp.com/consul/api-docs), over HTTP or HTTPS or a Unix socket, with a
/// connection for each question. Mock servers can [register](crate::MockServer::register) themselves with one.
#[derive(Clone)]
#[must_use = "it does nothing until something is asked"]
pub struct Consul(Arc<Settings>);

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) place: Place,
    pub(super) tls: Option<ClientTls>,
    pub(super) token: Option<Token>,
    /// User and password, of a gate before the agent.
    pub(super) basic: Option<Secret>,
    pub(super) datacenter: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) partition: Option<String>,
    pub(super) timeout: Duration,
    /// In how it was told.
    pub(super) mistake: Option<Error>,
}

/// Who we are.
#[derive(Clone)]
pub(super) enum Token {
    /// Read whenever it is needed.
    File(PathBuf),
    Given(Secret),
}

impl Default for Consul {
    /// The agent of this machine, `http://127.0.0.1:8500`.
    fn default() -> Self {
        Self::at(Place::local(), None)
    }
}

impl Consul {
    /// The agent at an address: `127.0.0.1:8500`, `http://…`, `https://…`, both with a path if it is behind one, or
    /// `unix:///path`, as `CONSUL_HTTP_ADDR` has it. One that is malformed is told by what is asked first.
    pub fn new(address: impl AsRef<str>) -> Self {
        let (place, mistake) = match Place::parse(address.as_ref()) {
            Ok(place) => (place, None),
            Err(mistake) => (Place::local(), Some(mistake)),
        };
        Self::at(place, mistake)
    }

    fn at(place: Place, mistake: Option<Error>) -> Self {
        Self::of(Settings {
            place,
            tls: None,
            token: None,
            basic: None,
            datacenter: None,
            namespace: None,
            partition: None,
            timeout: Duration::from_secs(10),
            mistake,
        })
    }

    pub(super) fn of(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Arc::unwrap_or_clone(self.0);
        change(&mut settings);
        Self::of(settings)
    }

    /// Sends an [ACL token](https://developer.hashicorp.com/consul/docs/security/acl), as `X-Consul-Token`.
    pub fn token(self, token: impl Into<String>) -> Self {
        self.with(|settings| settings.token = Some(Token::Given(Secret::new(token))))
    }

    /// Sends the token that this file holds, which is read for every question.
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.with(|settings| settings.token = Some(Token::File(path.into())))
    }

    /// Asks about this datacenter instead of that of the agent.
    pub fn datacenter(self, name: impl Into<String>) -> Self {
        self.with(|settings| settings.datacenter = Some(name.into()))
    }

    /// Asks in this namespace (Consul Enterprise).
    pub fn namespace(self, name: impl Into<String>) -> Self {
        self.with(|settings| settings.namespace = Some(name.into()))
    }

    /// Asks in this admin partition (Consul Enterprise).
    pub fn partition(self, name: impl Into<String>) -> Self {
        self.with(|settings| settings.partition = Some(name.into()))
    }

    /// Speaks TLS: whom to trust, and our own certificate. Without it an `https://` address trusts this machine's roots
    /// (feature `system-roots`).
    pub fn tls(self, tls: ClientTls) -> Self {
        self.with(|settings| {
            settings.tls = Some(tls);
            settings.place = settings.place.clone().with_tls();
        })
    }

    /// How long a question that does not block may take, and a blocking one beside its wait. Default: 10 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeout = timeout)
    }

    /// The address of the agent.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.0.place.address
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    /// The token as it is now.
    pub(super) fn token_now(&self) -> Result<Option<Secret>, Error> {
        match &self.0.token {
            None => Ok(None),
            Some(Token::Given(token)) => Ok(Some(token.clone())),
            Some(Token::File(path)) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let text = format!("the Consul token file `{}` cannot be read", path.display());
                    Error::new(Kind::Discovery, text).caused_by(error)
                })?;
                Ok(Some(Secret::new(text.trim())).filter(|token| !token.expose().is_empty()))
            }
        }
    }

    /// TLS with the agent, if there is to be any.
    pub(super) fn secured(&self) -> Result<Option<Tls>, Error> {
        let address = &self.0.place.address;
        let tls = match (&self.0.tls, address.wants_tls()) {
            (None, false) => return Ok(None),
            (told, _) => told.clone().unwrap_or_else(ClientTls::of_address),
        };
        Tls::new(tls, address, Spoken::Consul).map(Some)
    }
}

impl fmt::Display for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consul at {}", self.0.place)
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul")
            .field("address", &self.0.place.to_string())
            .field("has_token", &self.0.token.is_some())
            .field("datacenter", &self.0.datacenter)
            .field("namespace", &self.0.namespace)
            .field("partition", &self.0.partition)
            .finish_non_exhaustive()
    }
}
