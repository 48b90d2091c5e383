//! The handshake line.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::handshake::network::{address_of, network_of, no_network};
use crate::tls::{Certificate, ClientTls};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD_NO_PAD,
};
use std::{fmt, num::ParseIntError, str::FromStr};

/// The version of go-plugin's own protocol.
pub(crate) const CORE_VERSION: u32 = 1;
/// How a plugin says that it speaks gRPC.
pub(crate) const GRPC: &str = "grpc";
/// A certificate is longer than that. Old plugins have something else in its place.
const SHORTEST_CERTIFICATE: usize = 50;
/// Go's `RawStdEncoding` takes what is left over in the last bits.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The one line by which a plugin tells its host on stdout where it serves, as
/// [go-plugin](https://github.com/hashicorp/go-plugin/blob/main/docs/internals.md) has it:
///
/// ```text
/// CORE-VERSION | APP-VERSION | NETWORK | ADDRESS | PROTOCOL | CERTIFICATE | MULTIPLEXED
/// ```
///
/// A host takes 4 to 7 fields. Six are printed, also when there is no certificate, because pyvider's host wants exactly
/// those; the seventh only by a plugin that is [multiplexed](Self::multiplexed).
///
/// ```
/// use rpcplugin_testkit::{Address, plugin::Handshake};
///
/// let line = "1|5|unix|/tmp/plugin42|grpc|";
/// let handshake: Handshake = line.parse()?;
/// assert_eq!(handshake.app_version, 5);
/// assert_eq!(handshake.address, Address::unix("/tmp/plugin42")?);
/// assert_eq!(handshake.to_string(), line);
/// # Ok::<(), rpcplugin_testkit::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handshake {
    /// The version of the application's own protocol that the plugin and its host agreed upon.
    pub app_version: u32,
    /// Where the plugin serves: TCP or a Unix socket.
    pub address: Address,
    /// The certificate that the plugin made for itself, with go-plugin's AutoMTLS.
    pub certificate: Option<Certificate>,
    /// Whether all connections go through one, by yamux.
    pub multiplexed: bool,
}

impl Handshake {
    /// A plugin that serves there in plaintext, with version 1 of its protocol.
    ///
    /// # Errors
    ///
    /// When other processes cannot reach the address, as with [`MockServer::memory`](crate::MockServer::memory).
    pub fn new(address: Address) -> Result<Self, Error> {
        if network_of(&address).is_none() {
            return Err(no_network(&address));
        }
        Ok(Self {
            app_version: 1,
            address: address.with_tls(false),
            certificate: None,
            multiplexed: false,
        })
    }

    /// The version of the application's protocol.
    #[must_use]
    pub fn app_version(mut self, version: u32) -> Self {
        self.app_version = version;
        self
    }

    /// The certificate that the plugin has.
    #[must_use]
    pub fn certificate(mut self, certificate: impl Into<Certificate>) -> Self {
        self.certificate = Some(certificate.into());
        self
    }

    /// Whether its connections are multiplexed.
    #[must_use]
    pub fn multiplexed(mut self, multiplexed: bool) -> Self {
        self.multiplexed = multiplexed;
        self
    }

    /// Whether a host that speaks these versions of the application's protocol takes the plugin.
    ///
    /// # Errors
    ///
    /// When the plugin's is not among them.
    pub fn check_app_version(&self, host: &[u32]) -> Result<(), Error> {
        if host.contains(&self.app_version) {
            return Ok(());
        }
        let text = format!(
            "incompatible API version: the plugin has {}, and the host {host:?}",
            self.app_version
        );
        Err(Error::new(Kind::Handshake, text))
    }

    /// TLS with the plugin, if it has a certificate: exactly that is trusted, and asked for as `localhost`. Such a plugin
    /// wants to know its host, so add the [identity](ClientTls::identity) whose certificate the plugin was given.
    #[must_use]
    pub fn client_tls(&self) -> Option<ClientTls> {
        let certificate = self.certificate.clone()?;
        let tls = ClientTls::new().pinned(certificate);
        Some(tls.server_name("localhost"))
    }
}

/// As go-plugin's host reads it, which speaks gRPC only.
impl FromStr for Handshake {
    type Err = Error;

    /// # Errors
    ///
    /// In the cases in which go-plugin's host refuses a plugin ([`Error::is_handshake`]): fewer than 4 fields, another
    /// core version than 1, a version that is no number, a network that is neither `tcp` nor `unix`, a protocol other than
    /// `grpc`, and a certificate that is none.
    fn from_str(line: &str) -> Result<Self, Error> {
        let fields: Vec<&str> = line.trim().split('|').collect();
        let [core, app, network, address, rest @ ..] = fields.as_slice() else {
            return Err(unrecognized(line.trim(), fields.len()));
        };
        let core_version = version(core, "core protocol version")?;
        if core_version != CORE_VERSION {
            let text = format!(
                "incompatible core API version: the plugin has {core_version}, expected {CORE_VERSION}"
            );
            return Err(refused(text));
        }
        let app_version = version(app, "protocol version")?;
        let address = address_of(network, address)?;
        // Without one it is the protocol that there was before gRPC.
        let protocol = rest.first().copied().unwrap_or("netrpc");
        if protocol != GRPC {
            let text = format!("unsupported plugin protocol `{protocol}`, expected `{GRPC}`");
            return Err(refused(text));
        }
        let certificate = rest
            .get(1)
            .filter(|field| field.len() > SHORTEST_CERTIFICATE);
        Ok(Self {
            app_version,
            address,
            certificate: certificate.map(|field| certificate_of(field)).transpose()?,
            multiplexed: match rest.get(2) {
                Some(field) => truth(field)?,
                None => false,
            },
        })
    }
}

/// The line, without its line feed.
impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (network, address) = network_of(&self.address).ok_or(fmt::Error)?;
        let certificate = self.certificate.as_ref();
        let certificate =
            certificate.map(|certificate| BASE64_STANDARD_NO_PAD.encode(certificate.der()));
        let certificate = certificate.unwrap_or_default();
        let app = self.app_version;
        write!(
            f,
            "{CORE_VERSION}|{app}|{network}|{address}|{GRPC}|{certificate}"
        )?;
        match self.multiplexed {
            true => f.write_str("|true"),
            false => Ok(()),
        }
    }
}

fn version(field: &str, what: &str) -> Result<u32, Error> {
    field.parse().map_err(|error| {
        let text = format!("the {what} `{field}` is no number");
        let error: ParseIntError = error;
        refused(text).caused_by(error)
    })
}

fn certificate_of(field: &str) -> Result<Certificate, Error> {
    let text = "the certificate of the plugin cannot be read";
    let der = LENIENT.decode(field);
    let der = der.map_err(|error| refused(text).caused_by(error))?;
    Certificate::from_der(der).map_err(|error| refused(text).caused_by(error))
}

/// As Go's `strconv.ParseBool` reads it.
fn truth(field: &str) -> Result<bool, Error> {
    match field {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(refused(format!(
            "whether the plugin is multiplexed is told as `{field}`, expected `true` or `false`"
        ))),
    }
}

/// What came is shown, as far as it is of any use.
fn unrecognized(line: &str, fields: usize) -> Error {
    const SHOWN: usize = 200;
    let shown: String = line.chars().take(SHOWN).collect();
    let more = if shown.len() < line.len() { "…" } else { "" };
    refused(format!(
        "unrecognized plugin message `{}{more}`: {fields} of at least 4 fields, \
         expected `CORE|APP|NETWORK|ADDRESS|grpc|CERTIFICATE`",
        shown.escape_debug()
    ))
}

fn refused(text: impl Into<String>) -> Error {
    Error::new(Kind::Handshake, text)
}
