//! What ended a TLS handshake, in one line that says which side did it.

use crate::tls::certificate::Certificate;
use crate::tls::refusal::Refusal;
use rustls::{AlertDescription, Error, PeerMisbehaved};
use std::{io, time::SystemTime};

/// Who tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    fn us(self) -> &'static str {
        match self {
            Self::Client => "this client",
            Self::Server => "this server",
        }
    }

    fn them(self) -> &'static str {
        match self {
            Self::Client => "the server",
            Self::Server => "the client",
        }
    }
}

/// A handshake that failed, or a connection that ended by an alert soon after.
#[derive(Debug)]
pub(crate) struct Failure<'a> {
    pub(crate) side: Side,
    /// A certificate that we refused.
    pub(crate) refusal: Option<&'a Refusal>,
    /// The certificate that we presented, or would have.
    pub(crate) own: Option<&'a Certificate>,
    /// The other side's first bytes in words, if they are none of TLS.
    pub(crate) spoke: Option<String>,
    /// The versions that we speak, if it is only one.
    pub(crate) only: Option<String>,
    /// The name that the server was asked for by.
    pub(crate) asked: Option<String>,
}

impl Failure<'_> {
    /// What an IO error of a TLS stream means. `None`, when it is nothing of TLS.
    pub(crate) fn of_io(&self, error: &io::Error) -> Option<String> {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        inner.map(|error| self.of_tls(error))
    }

    /// What ended the handshake itself.
    pub(crate) fn of_handshake(&self, error: &io::Error) -> String {
        let them = self.side.them();
        self.of_io(error).unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                format!("{them} closed the connection during the TLS handshake")
            }
            _ => format!("the connection broke during the TLS handshake: {error}"),
        })
    }

    /// What a server may mean that closes the connection right after the handshake. In TLS 1.3 it sees our certificate only
    /// when we are through, and not all send an alert then: gRPC's C core does not.
    pub(crate) fn of_silence(&self) -> String {
        let (us, them) = (self.side.us(), self.side.them());
        let perhaps = match self.own {
            Some(own) => format!("it refuses {us}'s certificate {own}"),
            None => format!("it requires a client certificate, which {us} has not"),
        };
        format!("{them} closed the connection right after the TLS handshake: perhaps {perhaps}")
    }

    fn of_tls(&self, error: &Error) -> String {
        let (us, them) = (self.side.us(), self.side.them());
        if let Some(refusal) = self.refusal {
            return format!("{us} refuses {them}'s certificate {refusal}");
        }
        match error {
            Error::AlertReceived(alert) => {
                let (text, name) = (self.of_alert(*alert), alert_name(*alert));
                format!("{text} (alert `{name}`)")
            }
            Error::InvalidMessage(_) if self.spoke.is_some() => {
                let spoke = self.spoke.as_deref().unwrap_or_default();
                format!("{us} speaks TLS, and {them} does not: {spoke}")
            }
            Error::NoCertificatesPresented => {
                format!("{us} requires a client certificate, and {them} sent none")
            }
            Error::NoApplicationProtocol => {
                format!("{them} does not offer HTTP/2 (ALPN `h2`)")
            }
            Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName) => format!(
                "{them} asks for a name that no server can have (for gRPC's C core that is the path of a Unix socket, \
                 unless its option `grpc.ssl_target_name_override` is set)"
            ),
            Error::PeerIncompatible(why) => {
                let only = self.versions();
                format!("{us}{only} and {them} have no TLS in common ({why:?})")
            }
            other => format!("{us} ends the TLS handshake: {other}"),
        }
    }

    /// What they say.
    fn of_alert(&self, alert: AlertDescription) -> String {
        let (us, them) = (self.side.us(), self.side.them());
        let Some(own) = self.own else {
            return match alert {
                AlertDescription::CertificateRequired => {
                    format!("{them} requires a client certificate, and {us} has none")
                }
                AlertDescription::HandshakeFailure => format!(
                    "{them} has no TLS in common with {us}{}, or requires a client certificate, which {us} has not",
                    self.versions()
                ),
                other => self.of_other_alert(other),
            };
        };
        let refuses = format!("{them} refuses {us}'s certificate {own}");
        let (not_before, not_after) = own.validity();
        let dated = || format!("{refuses}: it is valid from {not_before} to {not_after}");
        match alert {
            AlertDescription::UnknownCA => {
                format!("{refuses}: it does not know its issuer `{}`", own.issuer())
            }
            AlertDescription::CertificateExpired => dated(),
            // OpenSSL's word for one whose time has not come.
            AlertDescription::BadCertificate if own.not_before() > SystemTime::now() => dated(),
            AlertDescription::UnsupportedCertificate => {
                format!(
                    "{refuses}: it may not be used for that, only for {}",
                    own.usages()
                )
            }
            AlertDescription::DecryptError => {
                format!("{refuses}: the key of {us} is not that of the certificate")
            }
            AlertDescription::BadCertificate if self.side == Side::Server => {
                let mut names = own.names();
                let more = names.len().saturating_sub(5);
                names.truncate(5);
                let mut names = names.join(", ");
                if more > 0 {
                    names += &format!(" and {more} more");
                }
                format!("{refuses}: perhaps it asked for another name than {names}")
            }
            AlertDescription::CertificateRequired => format!(
                "{them} requires a client certificate, and did not get {us}'s {own}: its kind of key may be unknown to one of the two"
            ),
            AlertDescription::BadCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => refuses,
            other => self.of_other_alert(other),
        }
    }

    fn of_other_alert(&self, alert: AlertDescription) -> String {
        let (us, them) = (self.side.us(), self.side.them());
        match alert {
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
                format!("{them} has no TLS in common with {us}{}", self.versions())
            }
            AlertDescription::NoApplicationProtocol => {
                format!("{them} does not speak HTTP/2 (ALPN `h2`)")
            }
            AlertDescription::UnrecognisedName => {
                let asked = self.asked.as_deref().unwrap_or_default();
                format!("{them} does not know the name `{asked}`")
            }
            _ => format!("{them} ended the connection"),
        }
    }

    fn versions(&self) -> String {
        let only = self.only.as_ref();
        only.map(|version| format!(" (which speaks {version} only)"))
            .unwrap_or_default()
    }
}

/// `CertificateRequired` as [RFC 8446](https://www.rfc-editor.org/rfc/rfc8446#section-6) writes it: `certificate_required`.
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut before = '_';
    for character in format!("{alert:?}").chars() {
        if character.is_uppercase() && before.is_lowercase() {
            name.push('_');
        }
        name.extend(character.to_lowercase());
        before = character;
    }
    name
}
