//! Why a certificate was refused, in words.

use crate::tls::certificate::{Certificate, date};
use rustls::{CertificateError, Error, pki_types::CertificateDer};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// A certificate that was refused, and why.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) certificate: Certificate,
    pub(crate) reason: String,
}

/// Where a verifier leaves whom it refused, for whoever tells of the handshake that this ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<Option<Refusal>>>);

impl Refusals {
    pub(super) fn note(&self, refusal: Refusal) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    pub(crate) fn take(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What was looked at when a certificate was refused.
#[derive(Default)]
pub(super) struct Looked<'a> {
    pub(super) intermediates: &'a [CertificateDer<'a>],
    /// The name that a server was asked for by.
    pub(super) asked: Option<String>,
    /// Whether it was its key's signature of the handshake that was wrong, and not the certificate.
    pub(super) signature: bool,
}

impl Looked<'_> {
    /// The signature of the handshake.
    pub(super) const KEY: Self = Self {
        intermediates: &[],
        asked: None,
        signature: true,
    };
}

/// A certificate that is refused, and what speaks against it.
pub(super) struct Examined<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) looked: Looked<'a>,
    /// The subjects of the authorities that are trusted.
    pub(super) trusted: &'a [String],
    /// The certificates that are accepted whoever signed them.
    pub(super) pinned: &'a [Certificate],
}

impl Examined<'_> {
    pub(super) fn refusal(&self, error: &Error) -> Refusal {
        Refusal {
            certificate: self.certificate.clone(),
            reason: self.reason(error),
        }
    }

    /// Why it was refused: what continues "refuses the certificate CN=…: ".
    fn reason(&self, error: &Error) -> String {
        let certificate = self.certificate;
        let now = date(SystemTime::now());
        let Error::InvalidCertificate(error) = error else {
            return error.to_string();
        };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let (it, at_fault) = self.dated(|one| one.not_after() < SystemTime::now());
                format!(
                    "{it} expired on {}, and now is {now}",
                    at_fault.validity().1
                )
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                let (it, at_fault) = self.dated(|one| one.not_before() > SystemTime::now());
                let not_before = at_fault.validity().0;
                format!("{it} is not valid before {not_before}, and now is {now}")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                self.wrong_name()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                self.wrong_use()
            }
            CertificateError::UnknownIssuer => self.unknown_issuer(),
            CertificateError::BadSignature if !self.looked.signature => format!(
                "no trusted authority signed it, though its issuer `{}` is called like one: it has another key",
                self.top().issuer()
            ),
            CertificateError::BadSignature => {
                "its key did not sign the handshake: the other side does not have it".to_owned()
            }
            CertificateError::ApplicationVerificationFailure => {
                let pinned = self.pinned.iter().map(|pinned| pinned.serial().to_owned());
                let pinned: Vec<_> = pinned.collect();
                format!(
                    "its serial number is `{}`, and pinned is {}",
                    certificate.serial(),
                    listed(&pinned, "none")
                )
            }
            // webpki's own errors are known to rustls by their text only.
            CertificateError::Other(other)
                if format!("{other:?}").contains("CaUsedAsEndEntity") =>
            {
                format!(
                    "it is an authority's own certificate{}, which only a pin accepts",
                    if certificate.names_itself() {
                        ", signed by itself"
                    } else {
                        ""
                    }
                )
            }
            other => format!("it is not acceptable ({})", Error::from(other.clone())),
        }
    }

    fn wrong_name(&self) -> String {
        let asked = self.looked.asked.as_deref().unwrap_or("another name");
        let names = listed(&self.certificate.names(), "no name at all");
        format!("`{asked}` was asked for, and it is for {names}")
    }

    fn wrong_use(&self) -> String {
        let usages = self.certificate.usages();
        let wanted = if self.looked.asked.is_some() {
            "server authentication"
        } else {
            "client authentication"
        };
        format!("it may not be used for {wanted}, only for {usages}")
    }

    /// The certificate of the chain whose issuer should be trusted.
    fn top(&self) -> Certificate {
        let last = self.looked.intermediates.last().map(Certificate::presented);
        last.unwrap_or_else(|| self.certificate.clone())
    }

    /// The certificate of the chain that is at fault, and what it is called.
    fn dated(&self, at_fault: impl Fn(&Certificate) -> bool) -> (String, Certificate) {
        let mut above = self.looked.intermediates.iter().map(Certificate::presented);
        let above = above.find(|one| at_fault(one));
        match above.filter(|_| !at_fault(self.certificate)) {
            Some(one) => (format!("its intermediate {one}"), one),
            None => ("it".to_owned(), self.certificate.clone()),
        }
    }

    fn unknown_issuer(&self) -> String {
        let top = self.top();
        if self.certificate.is_authority() && self.certificate.names_itself() {
            return "it is signed by itself, which only a pin accepts".to_owned();
        }
        let trusted = listed(self.trusted, "no authority at all");
        format!(
            "its issuer `{}` is not known; trusted is {trusted}",
            top.issuer()
        )
    }
}

/// How many names are told.
const TOLD: usize = 5;

fn listed(names: &[String], none: &str) -> String {
    let mut shown: Vec<_> = names
        .iter()
        .take(TOLD)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > TOLD {
        shown.push(format!("{} more", names.len() - TOLD));
    }
    match shown.as_slice() {
        [] => none.to_owned(),
        shown => shown.join(", "),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.certificate, self.reason)
    }
}
