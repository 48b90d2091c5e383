//! A certificate with its key.

use crate::error::{Error, Kind};
use crate::tls::certificate::Certificate;
use crate::tls::files::IdentityFiles;
use crate::tls::pem::Pem;
use crate::tls::provider::provider;
use rustls::{
    InconsistentKeys,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};
use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
};
use zeroize::Zeroize as _;

/// A certificate, the chain that leads to its root, and its private key: who a server or a client is.
///
/// An [`Authority`](crate::tls::Authority) mints them; [`from_pem`](Self::from_pem) and [`from_files`](Self::from_files) take
/// those that there are. Cloning it is cheap, `Debug` never prints the key, and the key's bytes are wiped when the last
/// clone is dropped.
///
/// ```
/// use rpcplugin_testkit::tls::{Authority, Identity};
///
/// let server = Authority::new().localhost();
/// assert_eq!(server.certificate().names(), ["localhost", "127.0.0.1", "::1"]);
///
/// let same = Identity::from_pem(&server.chain_pem(), server.key_pem().as_str())?;
/// assert_eq!(same.certificate(), server.certificate());
/// # Ok::<(), rpcplugin_testkit::Error>(())
/// ```
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    certificate: Certificate,
    /// The certificate first.
    chain: Vec<CertificateDer<'static>>,
    /// What the chain leads to, as far as it is known.
    root: Certificate,
    key: PrivateKeyDer<'static>,
    /// What rustls wants, made when it does: deriving the public key takes as long as signing a certificate.
    certified: OnceLock<Arc<CertifiedKey>>,
}

impl Inner {
    fn certify(&self) -> Result<Arc<CertifiedKey>, rustls::Error> {
        let keys = provider().key_provider;
        let loaded = keys.load_private_key(self.key.clone_key())?;
        Ok(Arc::new(CertifiedKey::new(self.chain.clone(), loaded)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Identity {
    /// Takes a certificate chain and a private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted). Both may stand in one
    /// text, which is given twice then.
    ///
    /// # Errors
    ///
    /// When either cannot be decoded, or the key is not the certificate's.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, Error> {
        let parse = |text: &str, what: &str| {
            Pem::parse(text).ok_or_else(|| malformed(what, "it has no complete PEM block"))
        };
        Self::of_pem(
            &parse(chain, "the certificate chain")?,
            &parse(key, "the private key")?,
        )
    }

    /// [`from_pem`](Self::from_pem) from two files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, and as [`from_pem`](Self::from_pem).
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, Error> {
        Self::of_pem(&Pem::from_file(chain)?, &Pem::from_file(key)?)
    }

    pub(crate) fn of_pem(chain: &Pem, key: &Pem) -> Result<Self, Error> {
        let chain = chain
            .certificates()
            .map_err(|problem| malformed("the certificate chain", &problem))?;
        let key = key
            .private_key()
            .map_err(|problem| malformed("the private key", &problem))?;
        let unread = |der: &CertificateDer<'static>| Certificate::unread(der.clone());
        let (certificate, root) = match &chain[..] {
            [] => return Err(malformed("the certificate chain", "it is empty")),
            [only] => {
                let only = unread(only);
                (only.clone(), only)
            }
            [first, .., last] => (unread(first), unread(last)),
        };
        let identity = Self::minted(certificate, chain, root, key);
        let certified = match identity.0.certify() {
            Ok(certified) => identity.0.certified.get_or_init(|| certified),
            Err(_) => {
                // What the error says may be a part of the key.
                let problem = "it cannot be decoded, or its kind is not supported";
                return Err(malformed("the private key", problem));
            }
        };
        match certified.keys_match() {
            Ok(()) => Ok(identity),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                identity.certificate().clone().checked()?;
                Ok(identity)
            }
            Err(error) => {
                identity.certificate().clone().checked()?;
                if !matches!(error, rustls::Error::InconsistentKeys(_)) {
                    let problem = format!("{} cannot be used: {error}", identity.certificate());
                    return Err(malformed("the certificate chain", &problem));
                }
                let text = format!(
                    "the private key is not the one of the certificate {}",
                    identity.certificate()
                );
                Err(Error::new(Kind::Config, text))
            }
        }
    }

    /// Of a key that this build's TLS has made, or knows. The certificate is the first of the chain.
    pub(super) fn minted(
        certificate: Certificate,
        chain: Vec<CertificateDer<'static>>,
        root: Certificate,
        key: PrivateKeyDer<'static>,
    ) -> Self {
        Self(Arc::new(Inner {
            certificate,
            chain,
            root,
            key,
            certified: OnceLock::new(),
        }))
    }

    /// What its certificate says.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }

    /// The root that its chain leads to: the authority's certificate, or, for an identity from elsewhere, the last
    /// certificate of the chain.
    #[must_use]
    pub fn root(&self) -> &Certificate {
        &self.0.root
    }

    /// The chain in DER, its own certificate first.
    pub fn chain_der(&self) -> impl Iterator<Item = &[u8]> {
        self.0.chain.iter().map(AsRef::as_ref)
    }

    /// The chain in PEM, its own certificate first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        let chain = self.chain_der();
        Pem::encode("CERTIFICATE", chain).as_str().to_owned()
    }

    /// The private key in DER, as it came, or PKCS #8 when it was minted here.
    #[must_use]
    pub fn key_der(&self) -> &[u8] {
        self.0.key.secret_der()
    }

    /// The private key in PEM.
    #[must_use]
    pub fn key_pem(&self) -> Pem {
        let label = match &self.0.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        Pem::encode(label, [self.key_der()])
    }

    /// Chain, key and root as files in a temporary directory.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn files(&self) -> Result<IdentityFiles, Error> {
        IdentityFiles::write(self)
    }

    /// What rustls wants.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        let certify = || self.0.certify().expect("a key of a kind that is known");
        Arc::clone(self.0.certified.get_or_init(certify))
    }
}

fn malformed(what: &str, problem: &str) -> Error {
    Error::new(Kind::Config, format!("{what} is of no use: {problem}"))
}

impl From<&Identity> for Certificate {
    fn from(identity: &Identity) -> Self {
        identity.certificate().clone()
    }
}

impl From<&Self> for Certificate {
    fn from(certificate: &Self) -> Self {
        certificate.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = self.certificate();
        write!(f, "Identity({certificate}, by {})", certificate.issuer())
    }
}
