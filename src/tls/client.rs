//! What a client is told about TLS.

use crate::error::{Error, Kind};
use crate::tls::{Certificate, Identity, Pem, Roots, TlsVersion};
use std::path::PathBuf;

/// TLS as a client speaks it: whom it trusts, and who it is. Connections are refused rather than made in plaintext.
///
/// Give it to [`Client::builder`](crate::Client::builder). It needs something to check the server's certificate against:
/// [roots](Self::roots), a [pinned certificate](Self::pinned), or, with the feature `system-roots`, this machine's own. With an
/// [identity](Self::identity) the TLS is mutual.
///
/// The server is asked for by the host of its address; over Unix sockets and in-process pipes by `localhost`.
///
/// ```no_run
/// use rpcplugin_testkit::{Client, ClientTls};
///
/// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
/// let tls = ClientTls::new()
///     .roots_file("/etc/ssl/ca.pem")
///     .identity_files("/etc/ssl/client.pem", "/etc/ssl/client.key");
/// let client = Client::builder().address("https://secure.example.com:443").tls(tls).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until a client is built with it"]
pub struct ClientTls {
    pub(crate) roots: Vec<Roots>,
    pub(crate) system_roots: bool,
    /// Whether any certificate is good.
    pub(crate) unverified: bool,
    pub(crate) pinned: Vec<Certificate>,
    pub(crate) identity: Option<IdentitySource>,
    pub(crate) server_name: Option<String>,
    pub(crate) only: Option<TlsVersion>,
    /// The first mistake in building, told when the client is built.
    pub(crate) mistake: Option<Error>,
}

/// Where our own identity comes from.
#[derive(Clone, Debug)]
pub(crate) enum IdentitySource {
    Given(Identity),
    Read { chain: PemSource, key: PemSource },
}

/// PEM text, or where it is.
#[derive(Clone, Debug)]
pub(crate) enum PemSource {
    File(PathBuf),
    Text(Pem),
}

impl PemSource {
    pub(crate) fn read(&self) -> Result<Pem, Error> {
        match self {
            Self::File(path) => Pem::from_file(path),
            Self::Text(pem) => Ok(pem.clone()),
        }
    }
}

impl IdentitySource {
    pub(crate) fn load(&self) -> Result<Identity, Error> {
        match self {
            Self::Given(identity) => Ok(identity.clone()),
            Self::Read { chain, key } => Identity::of_pem(&chain.read()?, &key.read()?),
        }
    }

    fn has_files(&self) -> bool {
        let is_file = |source: &PemSource| matches!(source, PemSource::File(_));
        matches!(self, Self::Read { chain, key } if is_file(chain) || is_file(key))
    }
}

impl ClientTls {
    /// TLS that trusts nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts servers whose certificate an authority signed: an [`Authority`](crate::tls::Authority), a [`Certificate`], or all
    /// certificates of a [`Pem`]. More than one call adds.
    pub fn roots(mut self, roots: impl Into<Roots>) -> Self {
        self.roots.push(roots.into());
        self
    }

    /// [`roots`](Self::roots) from PEM text.
    pub fn roots_pem(self, text: &str) -> Self {
        match Pem::parse(text) {
            Some(pem) => self.roots(pem),
            None => self.mistaken(Error::new(
                Kind::Config,
                "the PEM text of the roots has no complete block",
            )),
        }
    }

    /// [`roots`](Self::roots) from a PEM file.
    pub fn roots_file(self, path: impl Into<PathBuf>) -> Self {
        self.roots(Roots::file(path))
    }

    /// Trusts servers that this machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`, or else the platform's store).
    #[cfg(feature = "system-roots")]
    pub fn system_roots(mut self) -> Self {
        self.system_roots = true;
        self
    }

    /// Trusts the server that has exactly this certificate, whatever names, dates and issuer it has. More than one call adds.
    pub fn pinned(mut self, certificate: impl Into<Certificate>) -> Self {
        self.pinned.push(certificate.into());
        self
    }

    /// Who we are, for servers that want to know: mutual TLS.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(IdentitySource::Given(identity));
        self
    }

    /// [`identity`](Self::identity) from PEM text: the certificate chain, and its private key.
    pub fn identity_pem(self, chain: &str, key: &str) -> Self {
        match Identity::from_pem(chain, key) {
            Ok(identity) => self.identity(identity),
            Err(mistake) => self.mistaken(mistake),
        }
    }

    /// [`identity`](Self::identity) from PEM files: the certificate chain, and its private key.
    pub fn identity_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some(IdentitySource::Read {
            chain: PemSource::File(chain.into()),
            key: PemSource::File(key.into()),
        });
        self
    }

    /// The name that the server is asked for, and that its certificate must have, instead of the host of its address. It is
    /// the `:authority` of calls too, as in gRPC's other implementations.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Speaks this version only.
    pub fn only(mut self, version: TlsVersion) -> Self {
        self.only = Some(version);
        self
    }

    /// Takes any certificate, whatever it says. Anybody in between can read all: not for the public.
    pub(crate) fn unverified(mut self) -> Self {
        self.unverified = true;
        self
    }

    /// What an `https://` address alone asks for.
    pub(crate) fn of_address() -> Self {
        Self {
            system_roots: cfg!(feature = "system-roots"),
            ..Self::default()
        }
    }

    fn mistaken(mut self, mistake: Error) -> Self {
        self.mistake.get_or_insert(mistake);
        self
    }

    /// Whether files can be read again.
    pub(crate) fn has_files(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(IdentitySource::has_files)
            || self.roots.iter().any(Roots::is_file)
    }
}
