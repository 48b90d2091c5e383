//! Which authorities are trusted.

use crate::error::{Error, Kind};
use crate::tls::authority::Authority;
use crate::tls::certificate::Certificate;
use crate::tls::pem::Pem;
use rustls::pki_types::CertificateDer;
use std::path::PathBuf;

/// Authorities that are trusted to sign certificates: an [`Authority`], a [`Certificate`], all certificates of a [`Pem`] or of
/// a [file](Self::file).
#[derive(Clone, Debug)]
pub struct Roots(Source);

#[derive(Clone, Debug)]
enum Source {
    Authority(Authority),
    Certificate(Certificate),
    File(PathBuf),
    Pem(Pem),
}

impl Roots {
    /// All certificates of a PEM file. It is read when they are needed first, and again by
    /// [`Client::reload_tls`](crate::Client::reload_tls).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The authority itself, with the key that can sign more.
    pub(crate) fn authority(&self) -> Option<&Authority> {
        match &self.0 {
            Source::Authority(authority) => Some(authority),
            _ => None,
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.0, Source::File(_))
    }

    pub(crate) fn load(&self) -> Result<Vec<Certificate>, Error> {
        let certificates = self.unread()?.into_iter();
        certificates.map(Certificate::checked).collect()
    }

    /// All certificates, whether they can be read or not.
    pub(super) fn unread(&self) -> Result<Vec<Certificate>, Error> {
        let decoded = |pem: &Pem, origin: &str| {
            let certificates = pem.certificates().map_err(|problem| {
                let text = format!("{origin} is of no use as roots: {problem}");
                Error::new(Kind::Config, text)
            })?;
            Ok(certificates.into_iter().map(Certificate::unread).collect())
        };
        match &self.0 {
            Source::Authority(authority) => Ok(vec![authority.certificate().clone()]),
            Source::Certificate(certificate) => Ok(vec![certificate.clone()]),
            Source::File(path) => decoded(
                &Pem::from_file(path)?,
                &format!("the file `{}`", path.display()),
            ),
            Source::Pem(pem) => decoded(pem, "the PEM text"),
        }
    }
}

impl From<&Authority> for Roots {
    fn from(authority: &Authority) -> Self {
        Self(Source::Authority(authority.clone()))
    }
}

impl From<Certificate> for Roots {
    fn from(certificate: Certificate) -> Self {
        Self(Source::Certificate(certificate))
    }
}

impl From<&Certificate> for Roots {
    fn from(certificate: &Certificate) -> Self {
        Self(Source::Certificate(certificate.clone()))
    }
}

impl From<Pem> for Roots {
    fn from(pem: Pem) -> Self {
        Self(Source::Pem(pem))
    }
}

/// The roots of this machine; none without the feature.
#[cfg(feature = "system-roots")]
pub(crate) fn system_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.into_iter().next() {
        Some(error) if found.certs.is_empty() => {
            let text = "this machine's root certificates cannot be read";
            Err(Error::new(Kind::Config, text).caused_by(error))
        }
        _ => Ok(found.certs),
    }
}

#[cfg(not(feature = "system-roots"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
pub(crate) fn system_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    Ok(Vec::new())
}
