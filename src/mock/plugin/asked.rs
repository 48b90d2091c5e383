//! What a host asks of the plugin that it launches, by variables of its environment.

use crate::error::{Error, Kind};
use crate::handshake::versions_of;
use crate::tls::Certificate;
use crate::vars::Vars;
use std::{ops::RangeInclusive, path::PathBuf};

/// Variables of go-plugin, and one of pyvider.
const VERSIONS: &str = "PLUGIN_PROTOCOL_VERSIONS";
const MIN_PORT: &str = "PLUGIN_MIN_PORT";
const MAX_PORT: &str = "PLUGIN_MAX_PORT";
const SOCKET_DIR: &str = "PLUGIN_UNIX_SOCKET_DIR";
const CLIENT_CERTIFICATE: &str = "PLUGIN_CLIENT_CERT";
const TRANSPORTS: &str = "PLUGIN_CLIENT_TRANSPORTS";

/// By which a host shows that it means this plugin.
#[derive(Clone, Debug)]
pub(super) struct Cookie {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Unix,
}

#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The versions of the application's protocol that the host speaks.
    pub(super) versions: Vec<u32>,
    /// Where TCP ports are taken from.
    pub(super) ports: Option<RangeInclusive<u16>>,
    /// Where sockets go.
    pub(super) socket_dir: Option<PathBuf>,
    /// AutoMTLS: the only client that is let in.
    pub(super) client: Option<Certificate>,
    /// Whether it wants all connections in one.
    #[cfg(feature = "multiplex")]
    pub(super) multiplexed: bool,
    /// The one that it prefers.
    pub(super) transport: Option<Transport>,
}

impl Cookie {
    /// Whether a host has launched this.
    pub(super) fn check<F>(&self, vars: &Vars<'_, F>) -> Result<(), Error>
    where
        F: Fn(&str) -> Result<Option<String>, Error>,
    {
        if vars.value(&self.key)?.as_deref() == Some(&self.value) {
            return Ok(());
        }
        let text = format!(
            "this program is a plugin, which its host launches, and not one to be run by hand: \
             the variable {} does not have the value that the host gives it",
            self.key
        );
        Err(Error::new(Kind::Handshake, text))
    }
}

impl Asked {
    pub(super) fn read<F>(vars: &Vars<'_, F>) -> Result<Self, Error>
    where
        F: Fn(&str) -> Result<Option<String>, Error>,
    {
        let listed = vars.value(VERSIONS)?.unwrap_or_default();
        let (versions, others) = versions_of(&listed);
        if !others.is_empty() {
            tracing::warn!(?others, "{VERSIONS} lists what is no version");
        }
        Ok(Self {
            versions,
            ports: ports(vars)?,
            socket_dir: vars.value(SOCKET_DIR)?.map(PathBuf::from),
            client: client(vars)?,
            #[cfg(feature = "multiplex")]
            multiplexed: vars
                .parse("PLUGIN_MULTIPLEX_GRPC", "`true` or `false`", truth)?
                .unwrap_or(false),
            transport: preferred(&vars.value(TRANSPORTS)?.unwrap_or_default()),
        })
    }
}

fn ports<F>(vars: &Vars<'_, F>) -> Result<Option<RangeInclusive<u16>>, Error>
where
    F: Fn(&str) -> Result<Option<String>, Error>,
{
    let port = |name| vars.parse(name, "a port", |value| value.parse::<u16>().ok());
    let (min, max) = (port(MIN_PORT)?, port(MAX_PORT)?);
    if min.is_none() && max.is_none() {
        return Ok(None);
    }
    let (min, max) = (min.unwrap_or(0), max.unwrap_or(0));
    if min > max {
        let text =
            format!("{MIN_PORT} is {min} and {MAX_PORT} is {max}, expected the first to be lower");
        return Err(Error::new(Kind::Config, text));
    }
    Ok(Some(min..=max))
}

fn client<F>(vars: &Vars<'_, F>) -> Result<Option<Certificate>, Error>
where
    F: Fn(&str) -> Result<Option<String>, Error>,
{
    let Some(pem) = vars.value(CLIENT_CERTIFICATE)? else {
        return Ok(None);
    };
    let certificate = Certificate::from_pem(&pem).map_err(|error| {
        let text = format!("{CLIENT_CERTIFICATE} has no certificate of the host");
        Error::new(Kind::Config, text).caused_by(error)
    })?;
    if !certificate.can_be_verified() {
        let text = format!(
            "{CLIENT_CERTIFICATE} has a key of a kind that this build's TLS does not know: \
             go-plugin makes P-521 keys, for which rpcplugin-testkit needs its feature `aws-lc`"
        );
        return Err(Error::new(Kind::Config, text));
    }
    Ok(Some(certificate))
}

#[cfg(feature = "multiplex")]
fn truth(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The first that we know, as pyvider lists them: `unix,tcp`, or as JSON.
fn preferred(listed: &str) -> Option<Transport> {
    let mut names = listed.split(|c: char| !c.is_ascii_alphanumeric());
    names.find_map(|name| match name {
        "tcp" => Some(Transport::Tcp),
        "unix" => Some(Transport::Unix),
        _ => None,
    })
}
