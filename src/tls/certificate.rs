//! What a certificate says.

use crate::error::{Error, Kind};
use crate::tls::pem::Pem;
use crate::tls::provider;
use crate::tls::x509::{Name, Parsed};
use rustls::pki_types::CertificateDer;
use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::SystemTime,
};
use time::{OffsetDateTime, PrimitiveDateTime};
use yasna::models::ObjectIdentifier;

/// An X.509 certificate ([RFC 5280](https://www.rfc-editor.org/rfc/rfc5280)), and what it says of itself. None of it is
/// checked by reading it.
///
/// Cloning it is cheap. It prints as its subject, and two are equal when their bytes are.
///
/// ```
/// use rpcplugin_testkit::tls::Authority;
///
/// let worker = Authority::new().client("worker-1");
/// let certificate = worker.certificate();
/// assert_eq!(certificate.subject(), "CN=worker-1");
/// assert!(certificate.has_name("worker-1"));
/// ```
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    der: CertificateDer<'static>,
    said: OnceLock<Said>,
}

/// What it says, read when somebody asks first.
struct Said {
    subject: String,
    issuer: String,
    common_name: Option<String>,
    serial: String,
    names: Vec<Name>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    is_authority: bool,
    usages: Vec<ObjectIdentifier>,
    /// The algorithm of its key, in DER.
    key: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// When the bytes are no X.509 certificate.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, Error> {
        Self::unread(CertificateDer::from(der.into())).checked()
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    ///
    /// When there is none, or its bytes are no X.509 certificate.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let certificates = match Pem::parse(text) {
            Some(pem) => pem.certificates(),
            None => Err("it has no complete block".to_owned()),
        };
        let certificates = certificates.map_err(|problem| {
            Error::new(
                Kind::Config,
                format!("the PEM text has no certificate: {problem}"),
            )
        })?;
        let first = certificates.into_iter().next();
        Self::from_der(first.map(|first| first.to_vec()).unwrap_or_default())
    }

    /// What a peer presented. One that cannot be read has no names.
    pub(crate) fn presented(der: &CertificateDer<'_>) -> Self {
        Self::unread(der.clone().into_owned())
    }

    /// One that is read when somebody asks what it says.
    pub(super) fn unread(der: CertificateDer<'static>) -> Self {
        let said = OnceLock::new();
        Self(Arc::new(Inner { der, said }))
    }

    /// Itself, if it can be read.
    pub(super) fn checked(self) -> Result<Self, Error> {
        if self.0.said.get().is_none() {
            let parsed = Parsed::read(self.der()).map_err(|error| {
                let text = format!("{} bytes are no X.509 certificate", self.der().len());
                Error::new(Kind::Config, text).caused_by(error)
            })?;
            // Somebody else may have read it by now.
            let _ = self.0.said.set(Said::of(parsed));
        }
        Ok(self)
    }

    fn said(&self) -> &Said {
        let read = || Parsed::read(self.der()).map_or_else(|_| Said::nothing(), Said::of);
        self.0.said.get_or_init(read)
    }

    /// The distinguished name of its subject, as [RFC 4514](https://www.rfc-editor.org/rfc/rfc4514) writes it:
    /// `CN=worker-1,O=Example`. It may be empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.said().subject
    }

    /// The distinguished name of whoever signed it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.said().issuer
    }

    /// The first common name of the subject.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.said().common_name.as_deref()
    }

    /// The serial number, in hexadecimal, as `openssl x509 -serial` prints it.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.said().serial
    }

    /// All its alternative names (SANs): DNS names, IP addresses, URIs, mail addresses.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.said().names.iter().map(Name::to_string).collect()
    }

    /// The DNS names among them.
    #[must_use]
    pub fn dns_names(&self) -> Vec<&str> {
        let dns = self.said().names.iter().filter_map(|name| match name {
            Name::Dns(name) => Some(name.as_str()),
            _ => None,
        });
        dns.collect()
    }

    /// The IP addresses among them.
    #[must_use]
    pub fn ip_addresses(&self) -> Vec<IpAddr> {
        let ips = self.said().names.iter().filter_map(|name| match name {
            Name::Ip(ip) => Some(*ip),
            _ => None,
        });
        ips.collect()
    }

    /// The URIs among them, such as a [SPIFFE](https://spiffe.io/docs/latest/spiffe-about/spiffe-concepts/) ID.
    #[must_use]
    pub fn uris(&self) -> Vec<&str> {
        let uris = self.said().names.iter().filter_map(|name| match name {
            Name::Uri(uri) => Some(uri.as_str()),
            _ => None,
        });
        uris.collect()
    }

    /// Whether this is its common name, or one of its alternative names. Nothing is a wildcard.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        let alternative = || self.said().names.iter().any(|other| other.is(name));
        self.common_name() == Some(name) || alternative()
    }

    /// From when on it is valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.said().not_before.into()
    }

    /// Until when it is valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.said().not_after.into()
    }

    /// Whether it may sign others (basic constraint `CA:TRUE`).
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.said().is_authority
    }

    /// Its bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// It in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        Pem::encode("CERTIFICATE", [self.der()]).as_str().to_owned()
    }

    /// Whether this build's TLS can tell who has its key.
    pub(crate) fn can_be_verified(&self) -> bool {
        provider::knows_key(&self.said().key)
    }

    pub(super) fn raw(&self) -> &CertificateDer<'static> {
        &self.0.der
    }

    /// Whether its issuer is its subject.
    pub(super) fn names_itself(&self) -> bool {
        self.issuer() == self.subject()
    }

    /// Its dates, as they are told: `2026-11-22T10:00:00Z`.
    pub(super) fn validity(&self) -> (String, String) {
        (iso(self.said().not_before), iso(self.said().not_after))
    }

    /// What its key may be used for, in words. Empty, when it says nothing.
    pub(super) fn usages(&self) -> String {
        let name = |usage: &ObjectIdentifier| match usage.to_string().as_str() {
            "1.3.6.1.5.5.7.3.1" => "server authentication".to_owned(),
            "1.3.6.1.5.5.7.3.2" => "client authentication".to_owned(),
            "1.3.6.1.5.5.7.3.3" => "code signing".to_owned(),
            "1.3.6.1.5.5.7.3.4" => "mail protection".to_owned(),
            other => other.to_owned(),
        };
        let names: Vec<_> = self.said().usages.iter().map(name).collect();
        names.join(", ")
    }
}

/// A date some time from now, printed as the certificates' are.
pub(super) fn date(time: SystemTime) -> String {
    iso(time.into())
}

fn iso(time: OffsetDateTime) -> String {
    let (date, time) = (time.date(), time.time());
    let (year, month, day) = date.to_calendar_date();
    let (hour, minute, second) = time.as_hms();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

impl Said {
    fn of(parsed: Parsed) -> Self {
        Self {
            subject: parsed.subject.to_string(),
            issuer: parsed.issuer.to_string(),
            common_name: parsed.subject.common_name(),
            serial: hex(&parsed.serial),
            names: parsed.names,
            not_before: parsed.not_before,
            not_after: parsed.not_after,
            is_authority: parsed.is_authority,
            usages: parsed.usages,
            key: parsed.key,
        }
    }

    /// By one that cannot be read.
    fn nothing() -> Self {
        Self {
            subject: "(an unreadable certificate)".to_owned(),
            issuer: String::new(),
            common_name: None,
            serial: String::new(),
            names: Vec::new(),
            not_before: PrimitiveDateTime::MAX.assume_utc(),
            not_after: PrimitiveDateTime::MAX.assume_utc(),
            is_authority: false,
            usages: Vec::new(),
            key: Vec::new(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits =
        |byte: &u8| [byte >> 4, byte & 0xf].map(|digit| b"0123456789ABCDEF"[usize::from(digit)]);
    bytes.iter().flat_map(digits).map(char::from).collect()
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

/// Its subject, or its first name when it has none.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.subject(), self.said().names.first()) {
            ("", Some(name)) => write!(f, "{name}"),
            ("", None) => f.write_str("(no subject)"),
            (subject, _) => f.write_str(subject),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({self}, serial {})", self.serial())
    }
}
