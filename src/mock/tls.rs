//! What a mock is told about TLS.

use crate::error::Error;
use crate::net::ALPN;
use crate::tls::{
    Authority, Certificate, CheckClient, Demand, Failure, Identity, Refusal, Refusals, Roots, Side,
    TlsVersion, Trust, provider, unusable,
};
use rustls::{ServerConfig, server::NoServerSessionStorage, sign::SingleCertAndKey};
use std::sync::{Arc, Mutex, PoisonError};

/// TLS as a mock speaks it: who it is, and whether it wants to know who its clients are.
///
/// Give it to [`MockServer::builder`](crate::MockServer::builder): `.tls(..)` takes one, or an [`Identity`], or an [`Authority`]
/// that mints an identity with the names of every mock; `.mtls()` makes everything itself. It speaks TLS 1.2 and 1.3, and
/// HTTP/2 by ALPN. Sessions are not resumed, so that each connection looks at the certificates anew.
///
/// ```
/// use rpcplugin_testkit::{MockServer, mock::ServerTls, tls::{Authority, TlsVersion}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let authority = Authority::new();
/// let tls = ServerTls::new(authority.server(["db.internal"])).require_client(&authority).only(TlsVersion::Tls12);
/// let server = MockServer::builder().tls(tls).start().await;
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until a mock is built with it"]
pub struct ServerTls {
    identity: Identity,
    clients: Vec<Roots>,
    pinned: Vec<Certificate>,
    demand: Demand,
    only: Option<TlsVersion>,
    /// What minted the identity, if it is known.
    authority: Option<Authority>,
}

impl ServerTls {
    /// TLS with this certificate. Clients need none.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            clients: Vec::new(),
            pinned: Vec::new(),
            demand: Demand::No,
            only: None,
            authority: None,
        }
    }

    /// Mutual TLS: this authority mints the server's identity, and has to have signed the certificate of every client.
    #[track_caller]
    pub fn mutual(authority: &Authority) -> Self {
        Self::from(authority).require_client(authority)
    }

    /// Clients need a certificate that this authority signed, for client authentication. More than one call adds.
    pub fn require_client(mut self, roots: impl Into<Roots>) -> Self {
        self.demand = Demand::Required;
        self.clients.push(roots.into());
        self
    }

    /// Clients need exactly this certificate, or another that is accepted. Its dates, its issuer and what it may be used for
    /// are not looked at.
    pub fn require_pinned_client(mut self, certificate: impl Into<Certificate>) -> Self {
        self.demand = Demand::Required;
        self.pinned.push(certificate.into());
        self
    }

    /// Clients that have a certificate need one that this authority signed; those that have none are served too.
    pub fn allow_client(mut self, roots: impl Into<Roots>) -> Self {
        if self.demand == Demand::No {
            self.demand = Demand::Optional;
        }
        self.clients.push(roots.into());
        self
    }

    /// Speaks this version only.
    pub fn only(mut self, version: TlsVersion) -> Self {
        self.only = Some(version);
        self
    }

    /// The same with another certificate.
    pub(super) fn with_identity(&self, identity: Identity) -> Self {
        Self {
            identity,
            ..self.clone()
        }
    }

    pub(crate) fn requires_clients(&self) -> bool {
        self.demand == Demand::Required
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// An authority whose clients are accepted, or that signed the server's own certificate.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        let mut clients = self.clients.iter();
        clients
            .find_map(Roots::authority)
            .or(self.authority.as_ref())
    }

    /// A certificate for a client that wants to be accepted. `None`, when none is asked for, or nobody here can sign one.
    #[track_caller]
    pub(crate) fn mint_client(&self, name: &str) -> Option<Identity> {
        let signing = self.clients.iter().find_map(Roots::authority);
        signing.map(|authority| authority.client(name))
    }
}

impl From<Identity> for ServerTls {
    fn from(identity: Identity) -> Self {
        Self::new(identity)
    }
}

impl From<&Authority> for ServerTls {
    #[track_caller]
    fn from(authority: &Authority) -> Self {
        Self {
            authority: Some(authority.clone()),
            ..Self::new(authority.localhost())
        }
    }
}

/// The TLS of a running mock, which can be changed.
#[derive(Debug)]
pub(crate) struct Tls(Mutex<Arc<Terms>>);

/// What new connections get.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) told: ServerTls,
    trust: Trust,
}

impl Tls {
    pub(crate) fn new(told: ServerTls) -> Result<Self, Error> {
        let terms = Terms::new(told)?;
        Ok(Self(Mutex::new(Arc::new(terms))))
    }

    pub(crate) fn terms(&self) -> Arc<Terms> {
        let terms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&terms)
    }

    pub(crate) fn set(&self, told: ServerTls) -> Result<(), Error> {
        let terms = Arc::new(Terms::new(told)?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = terms;
        Ok(())
    }
}

impl Terms {
    fn new(told: ServerTls) -> Result<Self, Error> {
        let trust = Trust::new(&told.clients, &told.pinned, Vec::new())?;
        let terms = Self { told, trust };
        terms.config(Refusals::default())?;
        Ok(terms)
    }

    /// For one connection: whom it refuses stands in `refusals`.
    pub(crate) fn config(&self, refusals: Refusals) -> Result<ServerConfig, Error> {
        let check = CheckClient::new(self.trust.clone(), self.told.demand, refusals);
        let identity = SingleCertAndKey::from(self.told.identity.certified());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&TlsVersion::allowed(self.told.only))
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::new(check))
            .with_cert_resolver(Arc::new(identity));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session shows no certificates, and would outlive the ones that were changed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// How a handshake is told that fails.
    pub(crate) fn failure<'a>(
        &'a self,
        refusal: Option<&'a Refusal>,
        spoke: Option<String>,
    ) -> Failure<'a> {
        Failure {
            side: Side::Server,
            refusal,
            own: Some(self.told.identity.certificate()),
            spoke,
            only: self.told.only.map(|version| version.to_string()),
            asked: None,
        }
    }
}
