//! A certificate authority for one test.

use crate::error::{Error, Kind};
use crate::tls::algorithm::{Key, KeyAlgorithm};
use crate::tls::certificate::Certificate;
use crate::tls::defect::Defect;
use crate::tls::identity::Identity;
use crate::tls::template::{Template, Usage, is_dns_name};
use rcgen::{CertificateParams, Issuer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
};
use time::Duration;

/// A throwaway certificate authority, minted in the process. Each is unique; nothing is cached or written to disk.
///
/// Minting one takes some tenths of a millisecond. Cloning it is cheap, and `Debug` prints no key. Its certificates are
/// valid from an hour ago for a year.
///
/// ```
/// use rpcplugin_testkit::{MockServer, mock::ServerTls, tls::{Authority, Defect}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let authority = Authority::new();
/// let server = MockServer::builder().tls(ServerTls::new(authority.server(["db.internal", "127.0.0.1"]))).start().await;
///
/// // What does the client under test say to this one?
/// let expired = MockServer::builder().tls(ServerTls::new(authority.server_with(Defect::Expired))).start().await;
/// # }
/// ```
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    issuer: Issuer<'static, Key>,
    algorithm: KeyAlgorithm,
    certificate: Certificate,
    /// The certificates between what it signs and the root, its own first. Empty for a root.
    chain: Vec<CertificateDer<'static>>,
    root: Certificate,
}

/// The names of a server that is not told its names.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl Authority {
    /// A new root authority with an ECDSA P-256 key.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "each is another one, which is no default"
    )]
    pub fn new() -> Self {
        match Self::with_algorithm(KeyAlgorithm::EcdsaP256) {
            Ok(authority) => authority,
            Err(error) => panic!("cannot mint an authority: {error:?}"),
        }
    }

    /// A new root authority whose keys, and those of all that it signs, are of this kind.
    ///
    /// # Errors
    ///
    /// When the provider of this build cannot make such keys.
    pub fn with_algorithm(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let key = algorithm.generate()?;
        let name = format!("rpcplugin-testkit authority {:08x}", fastrand::u32(..));
        let params = params(&Template::new(name, Usage::Authority))?;
        let signed = params.self_signed(&key).map_err(unsigned)?;
        let certificate = Certificate::unread(signed.der().clone());
        Ok(Self(Arc::new(Inner {
            issuer: Issuer::new(params, key),
            algorithm,
            root: certificate.clone(),
            certificate,
            chain: Vec::new(),
        })))
    }

    /// The one authority that all of this process share who ask for it, minted by the first.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Authority> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// An authority below this one. What it signs has its certificate in the chain, and leads to the same root.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[track_caller]
    pub fn intermediate(&self) -> Self {
        let name = format!("rpcplugin-testkit intermediate {:08x}", fastrand::u32(..));
        let template = Template::new(name, Usage::Authority);
        let minted = self.sign(&template).map(|(params, key, certificate)| {
            let mut chain = vec![certificate.raw().clone()];
            chain.extend(self.0.chain.iter().cloned());
            Self(Arc::new(Inner {
                issuer: Issuer::new(params, key),
                algorithm: self.0.algorithm,
                root: self.0.root.clone(),
                certificate,
                chain,
            }))
        });
        expected(minted)
    }

    /// A server with these names: IP addresses, URIs (with `://`), and DNS names, which may begin with `*.`. The first is its
    /// common name too. Without a name it has those of [`localhost`](Self::localhost).
    ///
    /// # Panics
    ///
    /// When one of them can be no name in a certificate.
    #[must_use]
    #[track_caller]
    pub fn server<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> Identity {
        expected(self.leaf(&server(names.into_iter().map(Into::into).collect())))
    }

    /// A server with the names `localhost`, `127.0.0.1` and `::1`, which fit every mock: over Unix sockets and in-process
    /// pipes the name is `localhost`.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[track_caller]
    pub fn localhost(&self) -> Identity {
        self.server(LOCAL_NAMES)
    }

    /// A client with this common name, which is its alternative name too if it can be one.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[track_caller]
    pub fn client(&self, name: &str) -> Identity {
        expected(self.leaf(&client(name)))
    }

    /// A server with something wrong. But for that it is as [`localhost`](Self::localhost).
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[track_caller]
    pub fn server_with(&self, defect: Defect) -> Identity {
        expected(self.bad(defect, server(Vec::new()), &server(vec![WRONG.to_owned()])))
    }

    /// A client with something wrong. But for that it is as [`client("client")`](Self::client).
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[track_caller]
    pub fn client_with(&self, defect: Defect) -> Identity {
        expected(self.bad(defect, client("client"), &client(WRONG)))
    }

    fn bad(&self, defect: Defect, good: Template, misnamed: &Template) -> Result<Identity, Error> {
        match defect {
            Defect::Expired => self.leaf(&Template {
                valid: (Duration::days(-30), Duration::days(-1)),
                ..good
            }),
            Defect::NotYetValid => self.leaf(&Template {
                valid: (Duration::days(1), Duration::days(30)),
                ..good
            }),
            Defect::WrongName => self.leaf(misnamed),
            Defect::OtherAuthority => Self::with_algorithm(self.0.algorithm)?.leaf(&good),
            Defect::WrongUsage => self.leaf(&Template {
                usage: Usage::Code,
                ..good
            }),
            Defect::WrongKey => {
                let (_, _, certificate) = self.sign(&good)?;
                Ok(self.identity(certificate, &self.0.algorithm.generate()?))
            }
            Defect::SelfSigned => Identity::self_signed(self.0.algorithm),
        }
    }

    fn leaf(&self, template: &Template) -> Result<Identity, Error> {
        let (_, key, certificate) = self.sign(template)?;
        Ok(self.identity(certificate, &key))
    }

    fn identity(&self, certificate: Certificate, key: &Key) -> Identity {
        let mut chain = vec![certificate.raw().clone()];
        chain.extend(self.0.chain.iter().cloned());
        Identity::minted(certificate, chain, self.0.root.clone(), private(key))
    }

    fn sign(&self, template: &Template) -> Result<(CertificateParams, Key, Certificate), Error> {
        let key = self.0.algorithm.generate()?;
        let params = params(template)?;
        let signed = params.signed_by(&key, &self.0.issuer).map_err(unsigned)?;
        Ok((params, key, Certificate::unread(signed.der().clone())))
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }

    /// The root that what it signs leads to: its own certificate, but for an [intermediate](Self::intermediate).
    #[must_use]
    pub fn root(&self) -> &Certificate {
        &self.0.root
    }
}

impl Identity {
    /// A certificate that signed itself, as go-plugin's
    /// [AutoMTLS](https://github.com/hashicorp/go-plugin/blob/main/mtls.go) makes it on both sides: for `localhost`, by
    /// `HashiCorp`, an authority, for servers and clients. The other side has to [pin](crate::client::ClientTls::pinned) it.
    ///
    /// Its key is ECDSA P-256; go-plugin's own are P-521, which ring does not know.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[track_caller]
    pub fn auto_mtls() -> Self {
        expected(Self::self_signed(KeyAlgorithm::EcdsaP256))
    }

    fn self_signed(algorithm: KeyAlgorithm) -> Result<Self, Error> {
        let template = Template {
            organization: Some("HashiCorp"),
            names: vec!["localhost".to_owned()],
            valid: (Duration::seconds(-30), Duration::hours(262_980)),
            ..Template::new("localhost", Usage::Plugin)
        };
        let key = algorithm.generate()?;
        let signed = params(&template)?.self_signed(&key).map_err(unsigned)?;
        let chain = vec![signed.der().clone()];
        let certificate = Certificate::unread(chain[0].clone());
        Ok(Self::minted(
            certificate.clone(),
            chain,
            certificate,
            private(&key),
        ))
    }
}

/// The name of a server that is not the one that is asked for.
const WRONG: &str = "wrong.example";

fn server(mut names: Vec<String>) -> Template {
    if names.is_empty() {
        names = LOCAL_NAMES.map(str::to_owned).to_vec();
    }
    let first = names.first().cloned().unwrap_or_default();
    Template {
        names,
        ..Template::new(first, Usage::Server)
    }
}

fn client(name: &str) -> Template {
    let fits = name.parse::<IpAddr>().is_ok() || name.contains("://") || is_dns_name(name);
    Template {
        names: Vec::from_iter(fits.then(|| name.to_owned())),
        ..Template::new(name, Usage::Client)
    }
}

fn params(template: &Template) -> Result<CertificateParams, Error> {
    let params = template.params();
    params.map_err(|problem| Error::new(Kind::Config, problem))
}

fn unsigned(error: rcgen::Error) -> Error {
    Error::new(Kind::Config, "cannot sign a certificate").caused_by(error)
}

fn private(key: &Key) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.der()))
}

#[track_caller]
fn expected<T>(minted: Result<T, Error>) -> T {
    match minted {
        Ok(minted) => minted,
        Err(error) => panic!("cannot mint a certificate: {error}"),
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, {})", self.certificate(), self.0.algorithm)
    }
}
