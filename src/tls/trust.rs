//! Whose certificates are accepted, as rustls asks it.

use crate::error::{Error, Kind};
use crate::tls::certificate::Certificate;
use crate::tls::provider::provider;
use crate::tls::refusal::{Examined, Looked, Refusals};
use crate::tls::roots::Roots;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::sync::Arc;

/// Who is trusted: whoever an authority signed, and exactly these certificates.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
    /// What the roots are made of: these, and so many of this machine.
    named: Vec<Certificate>,
    system: usize,
    /// Accepted whoever signed them, whatever names, dates and usage they have.
    pinned: Vec<Certificate>,
    is_anyone: bool,
}

impl Trust {
    /// `system` are the roots of this machine.
    pub(crate) fn new(
        roots: &[Roots],
        pinned: &[Certificate],
        system: Vec<CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        let mut named = Vec::new();
        for roots in roots.iter().map(Roots::unread) {
            for root in roots? {
                if let Err(error) = store.add(root.raw().clone()) {
                    let text = format!("{} cannot be a root", root.checked()?);
                    return Err(Error::new(Kind::Config, text).caused_by(error));
                }
                named.push(root);
            }
        }
        let (system, _) = store.add_parsable_certificates(system);
        Ok(Self {
            roots: Arc::new(store),
            named,
            system,
            pinned: pinned.to_vec(),
            is_anyone: false,
        })
    }

    /// Whoever it is.
    pub(crate) fn anyone() -> Self {
        Self {
            roots: Arc::new(RootCertStore::empty()),
            named: Vec::new(),
            system: 0,
            pinned: Vec::new(),
            is_anyone: true,
        }
    }

    pub(crate) fn is_nobody(&self) -> bool {
        self.roots.is_empty() && self.pinned.is_empty() && !self.is_anyone
    }

    fn pins(&self, presented: &CertificateDer<'_>) -> bool {
        let mut pinned = self.pinned.iter();
        self.is_anyone || pinned.any(|pinned| pinned.der() == presented.as_ref())
    }

    /// What is said of a certificate that is not pinned when there are no roots.
    fn not_pinned(&self) -> rustls::Error {
        let error = if self.pinned.is_empty() {
            CertificateError::UnknownIssuer
        } else {
            CertificateError::ApplicationVerificationFailure
        };
        rustls::Error::InvalidCertificate(error)
    }

    /// Leaves word of a certificate that is refused.
    fn refused(
        &self,
        refusals: &Refusals,
        presented: &CertificateDer<'_>,
        looked: Looked<'_>,
        error: rustls::Error,
    ) -> rustls::Error {
        let certificate = Certificate::presented(presented);
        let mut trusted: Vec<_> = self.named.iter().map(Certificate::to_string).collect();
        if self.system > 0 {
            trusted.push(format!("any of {} system roots", self.system));
        }
        let examined = Examined {
            certificate: &certificate,
            looked,
            trusted: &trusted,
            pinned: &self.pinned,
        };
        refusals.note(examined.refusal(&error));
        error
    }
}

/// A client's look at its server.
#[derive(Debug)]
pub(crate) struct CheckServer {
    trust: Trust,
    by_roots: Option<Arc<WebPkiServerVerifier>>,
    refusals: Refusals,
}

impl CheckServer {
    pub(crate) fn new(trust: Trust, refusals: Refusals) -> Self {
        let roots = Arc::clone(&trust.roots);
        // It is refused by a set of roots that is empty, which is then nobody's.
        let by_roots = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        Self {
            trust,
            by_roots: by_roots.ok(),
            refusals,
        }
    }
}

/// A server's look at its clients.
#[derive(Debug)]
pub(crate) struct CheckClient {
    trust: Trust,
    by_roots: Option<Arc<dyn ClientCertVerifier>>,
    demand: Demand,
    refusals: Refusals,
}

/// Whether a client has to have a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Demand {
    /// It is not asked for one.
    #[default]
    No,
    /// If it has one it has to be good.
    Optional,
    Required,
}

impl CheckClient {
    pub(crate) fn new(trust: Trust, demand: Demand, refusals: Refusals) -> Self {
        let roots = Arc::clone(&trust.roots);
        let by_roots = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        Self {
            trust,
            by_roots: by_roots.ok(),
            demand,
            refusals,
        }
    }
}

/// The signatures of a handshake, by whichever certificate was accepted.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &provider().signature_verification_algorithms;
            verify_tls12_signature(message, cert, signed, algorithms)
                .map_err(|error| self.trust.refused(&self.refusals, cert, Looked::KEY, error))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &provider().signature_verification_algorithms;
            verify_tls13_signature(message, cert, signed, algorithms)
                .map_err(|error| self.trust.refused(&self.refusals, cert, Looked::KEY, error))
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let algorithms = provider().signature_verification_algorithms;
            algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for CheckServer {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust.pins(presented) {
            return Ok(ServerCertVerified::assertion());
        }
        let judged = match &self.by_roots {
            Some(roots) => roots.verify_server_cert(presented, intermediates, name, ocsp, now),
            None => Err(self.trust.not_pinned()),
        };
        judged.map_err(|error| {
            let looked = Looked {
                intermediates,
                asked: Some(name.to_str().into_owned()),
                ..Looked::default()
            };
            self.trust.refused(&self.refusals, presented, looked, error)
        })
    }

    signatures! {}
}

impl ClientCertVerifier for CheckClient {
    fn offer_client_auth(&self) -> bool {
        self.demand != Demand::No
    }

    fn client_auth_mandatory(&self) -> bool {
        self.demand == Demand::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.by_roots {
            // With a pin any certificate may be right.
            Some(roots) if self.trust.pinned.is_empty() => roots.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.trust.pins(presented) {
            return Ok(ClientCertVerified::assertion());
        }
        let judged = match &self.by_roots {
            Some(roots) => roots.verify_client_cert(presented, intermediates, now),
            None => Err(self.trust.not_pinned()),
        };
        judged.map_err(|error| {
            let looked = Looked {
                intermediates,
                ..Looked::default()
            };
            self.trust.refused(&self.refusals, presented, looked, error)
        })
    }

    signatures! {}
}
