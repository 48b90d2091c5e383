//! What is written into certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// A certificate before it is signed.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) common_name: String,
    pub(super) organization: Option<&'static str>,
    pub(super) names: Vec<String>,
    pub(super) usage: Usage,
    /// From when to when it is valid, seen from now.
    pub(super) valid: (Duration, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Authority,
    Client,
    Code,
    /// What go-plugin's AutoMTLS makes: an authority that serves and calls.
    Plugin,
    Server,
}

impl Template {
    pub(super) fn new(common_name: impl Into<String>, usage: Usage) -> Self {
        Self {
            common_name: common_name.into(),
            organization: None,
            names: Vec::new(),
            usage,
            // The clocks of two containers may differ.
            valid: (Duration::hours(-1), Duration::days(365)),
        }
    }

    /// `Err` with the name that cannot be one.
    pub(super) fn params(&self) -> Result<CertificateParams, String> {
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        if let Some(organization) = self.organization {
            subject.push(DnType::OrganizationName, organization);
        }
        subject.push(DnType::CommonName, self.common_name.as_str());
        params.distinguished_name = subject;
        let now = OffsetDateTime::now_utc();
        params.not_before = now + self.valid.0;
        params.not_after = now + self.valid.1;
        params.serial_number = Some(SerialNumber::from(serial()));
        params.use_authority_key_identifier_extension = true;
        let names = self.names.iter().map(|name| alternative_name(name));
        params.subject_alt_names = names.collect::<Result<_, _>>()?;
        params.is_ca = match self.usage {
            Usage::Authority | Usage::Plugin => IsCa::Ca(BasicConstraints::Unconstrained),
            Usage::Client | Usage::Code | Usage::Server => IsCa::ExplicitNoCa,
        };
        params.key_usages = match self.usage {
            Usage::Authority => vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            Usage::Plugin => vec![
                KeyUsagePurpose::DigitalSignature,
                KeyUsagePurpose::KeyEncipherment,
                KeyUsagePurpose::KeyAgreement,
                KeyUsagePurpose::KeyCertSign,
            ],
            Usage::Client | Usage::Code | Usage::Server => {
                vec![KeyUsagePurpose::DigitalSignature]
            }
        };
        params.extended_key_usages = match self.usage {
            Usage::Authority => Vec::new(),
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Code => vec![ExtendedKeyUsagePurpose::CodeSigning],
            Usage::Plugin => vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        Ok(params)
    }
}

/// 126 random bits: positive, and without a zero in front.
fn serial() -> Vec<u8> {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    bytes.to_vec()
}

/// An IP address, a URI (with `://`), or else a DNS name.
fn alternative_name(name: &str) -> Result<SanType, String> {
    if let Ok(ip) = name.parse() {
        return Ok(SanType::IpAddress(ip));
    }
    let problem = || format!("`{name}` can be no name in a certificate");
    if name.contains("://") {
        let uri = name.try_into().map_err(|_| problem())?;
        return Ok(SanType::URI(uri));
    }
    let host = name.strip_prefix("*.").unwrap_or(name);
    if !is_dns_name(host) {
        return Err(problem());
    }
    name.try_into().map(SanType::DnsName).map_err(|_| problem())
}

/// Whether it is one as [RFC 1123](https://www.rfc-editor.org/rfc/rfc1123#page-13) has them, with underscores.
pub(super) fn is_dns_name(name: &str) -> bool {
    rustls::pki_types::DnsName::try_from(name).is_ok()
}
