//! The configuration from environment variables.

use crate::address::{Address, parse_port};
use crate::client::config::ClientConfig;
use crate::error::{Error, Kind};
use crate::tls::{ClientTls, IdentitySource, Pem, PemSource, Roots};
use crate::vars::{Vars, of_process};
use crate::wire::compression::Compression;
use std::{fs, time::Duration};

impl ClientConfig {
    /// Reads the variables that pyvider's direct connections have, and one for compression:
    ///
    /// | variable | value | default |
    /// |---|---|---|
    /// | `PLUGIN_SERVER_HOST` | a host name or IP address | `localhost` |
    /// | `PLUGIN_SERVER_PORT` | a port, 1 to 65535 | `50051` |
    /// | `PLUGIN_SERVER_UNIX_SOCKET_PATH` | a path, or `unix:` and a path; it wins over host and port | – |
    /// | `PLUGIN_STRATEGY` | which of several endpoints a call goes to: `first`, `least_request`, `random`, `round_robin` or `weighted` | `weighted` |
    /// | `PLUGIN_TIMEOUT` | the timeout of a call: seconds, as `30`, `2.5`, `30s`; or `500ms` | `30.0` |
    /// | `PLUGIN_COMPRESSION` | what requests are compressed with: `gzip`, `identity`, or `zstd` with the feature `zstd` | `identity` |
    /// | `PLUGIN_USE_TLS` | `true` or `false` (also `1`/`0`, `yes`/`no`, `on`/`off`) | `false` |
    /// | `PLUGIN_CA_CERT`, `PLUGIN_CLIENT_CERT`, `PLUGIN_CLIENT_KEY` | PEM text, a path, or `file://` and a path | – |
    ///
    /// An empty variable counts as unset. The three PEM variables are read only when TLS is on. Without `PLUGIN_CA_CERT`
    /// this machine's roots are trusted, which takes the feature `system-roots`. `PLUGIN_CLIENT_CERT` and
    /// `PLUGIN_CLIENT_KEY` go together; inside a
    /// [go-plugin](https://github.com/hashicorp/go-plugin/blob/main/client.go) process (`PLUGIN_PROTOCOL_VERSIONS` is set
    /// there) a certificate without a key is the host's, and is let be.
    ///
    /// # Errors
    ///
    /// When a value is malformed: the error names the variable, the value (never a private key) and what is allowed.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_env_with_prefix("PLUGIN_")
    }

    /// [`from_env`](Self::from_env) with another prefix than `PLUGIN_`.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn from_env_with_prefix(prefix: &str) -> Result<Self, Error> {
        Self::from_vars(prefix, of_process)
    }

    /// [`from_env`](Self::from_env) from any source of variables, such as a map in a test.
    ///
    /// ```
    /// use rpcplugin_testkit::{Address, ClientConfig};
    ///
    /// let config = ClientConfig::from_vars("KV_", |name| Ok((name == "KV_SERVER_PORT").then(|| "7000".to_owned())))?;
    /// assert_eq!(config.endpoints[0].address, Address::tcp("localhost", 7000));
    /// # Ok::<(), rpcplugin_testkit::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env), and what the source returns.
    pub fn from_vars(
        prefix: &str,
        source: impl Fn(&str) -> Result<Option<String>, Error>,
    ) -> Result<Self, Error> {
        let vars = Vars { prefix, source };
        let expected = "a positive number of seconds, as `30`, `2.5` or `500ms`";
        let timeout = vars.parse("TIMEOUT", expected, seconds)?;
        let expected = match cfg!(feature = "zstd") {
            true => "`gzip`, `zstd` or `identity`",
            false => "`gzip` or `identity`; `zstd` needs the feature `zstd`",
        };
        let compression = vars.parse("COMPRESSION", expected, |name| {
            Compression::parse(&name.to_ascii_lowercase()).ok()
        })?;
        let strategy = vars.value("STRATEGY")?;
        let strategy = strategy.map(|name| {
            name.trim().parse().map_err(|error: Error| {
                Error::new(Kind::Config, format!("{}: {error}", vars.name("STRATEGY")))
            })
        });
        let strategy = strategy.transpose()?;
        let use_tls = vars.parse("USE_TLS", "`true` or `false`", switch)?;
        let defaults = Self::default();
        Ok(Self {
            endpoints: vec![address(&vars)?.into()],
            strategy: strategy.unwrap_or(defaults.strategy),
            timeout: timeout.or(defaults.timeout),
            compression: compression.flatten(),
            tls: use_tls.unwrap_or(false).then(|| tls(&vars)).transpose()?,
            ..defaults
        })
    }
}

impl<F: Fn(&str) -> Result<Option<String>, Error>> Vars<'_, F> {
    /// PEM text, or the file that holds it, and what it holds.
    fn pem(&self, name: &str, label: &str) -> Result<Option<(PemSource, Pem)>, Error> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        let name = self.name(name);
        let incomplete = |origin: &str| {
            let text = format!("{name}: {origin} has no complete PEM block `{label}`");
            Error::new(Kind::Config, text)
        };
        let (source, pem, origin) = if value.contains("-----BEGIN ") {
            let pem = Pem::parse(value).ok_or_else(|| incomplete("the text"))?;
            (PemSource::Text(pem.clone()), pem, "the text".to_owned())
        } else {
            let value = value.trim();
            let path = value.strip_prefix("file://").unwrap_or(value);
            let text = fs::read_to_string(path).map_err(|error| {
                // What is neither PEM nor a path may be a mangled key: it is not repeated.
                let shown = match looks_like_path(path) {
                    true => format!("`{path}`"),
                    false => "a value that is no path".to_owned(),
                };
                let text =
                    format!("{name} is {shown}, which cannot be read; expected PEM text, a path or file://path");
                Error::new(Kind::Config, text).caused_by(error)
            })?;
            let origin = format!("the file `{path}`");
            let pem = Pem::parse(text).ok_or_else(|| incomplete(&origin))?;
            (PemSource::File(path.into()), pem, origin)
        };
        if pem.has(label) {
            Ok(Some((source, pem)))
        } else {
            Err(incomplete(&origin))
        }
    }

    /// Whether this is a process that a go-plugin host has started, which leaves its own certificate in the variables.
    fn in_go_plugin(&self) -> Result<bool, Error> {
        Ok(self.prefix == GO_PLUGIN && self.value("PROTOCOL_VERSIONS")?.is_some())
    }
}

/// The prefix of go-plugin's own variables.
const GO_PLUGIN: &str = "PLUGIN_";

fn address(
    vars: &Vars<'_, impl Fn(&str) -> Result<Option<String>, Error>>,
) -> Result<Address, Error> {
    if let Some(path) = vars.value("SERVER_UNIX_SOCKET_PATH")? {
        let path = path.trim();
        let address = if path.starts_with("unix:") {
            path.parse()
        } else {
            Address::unix(path)
        };
        return address.map_err(|error| {
            Error::new(
                Kind::Config,
                format!("{}: {error}", vars.name("SERVER_UNIX_SOCKET_PATH")),
            )
        });
    }
    let host = vars.parse(
        "SERVER_HOST",
        "a host name or an IP address, without a port",
        host,
    )?;
    let port = vars.parse("SERVER_PORT", "a port from 1 to 65535", |port| {
        parse_port(port).ok().filter(|port| *port != 0)
    })?;
    Ok(Address::tcp(
        host.unwrap_or_else(|| "localhost".to_owned()),
        port.unwrap_or(50051),
    ))
}

fn tls(
    vars: &Vars<'_, impl Fn(&str) -> Result<Option<String>, Error>>,
) -> Result<ClientTls, Error> {
    let ca = vars.pem("CA_CERT", "CERTIFICATE")?;
    let identity = identity(vars)?;
    let roots = match ca {
        Some((source, pem)) => {
            Roots::from(pem).load().map_err(|error| {
                let text = format!("{}: {error}", vars.name("CA_CERT"));
                Error::new(Kind::Config, text)
            })?;
            ClientTls::new().roots(match source {
                PemSource::File(path) => Roots::file(path),
                PemSource::Text(pem) => Roots::from(pem),
            })
        }
        None if cfg!(feature = "system-roots") => ClientTls::of_address(),
        None => {
            let (on, missing) = (vars.name("USE_TLS"), vars.name("CA_CERT"));
            let text = format!(
                "{on} is on and {missing} is not set: there is nothing to check the server's certificate against"
            );
            return Err(Error::new(Kind::Config, text));
        }
    };
    Ok(ClientTls { identity, ..roots })
}

/// Our own certificate and its key.
fn identity(
    vars: &Vars<'_, impl Fn(&str) -> Result<Option<String>, Error>>,
) -> Result<Option<IdentitySource>, Error> {
    let chain = vars.pem("CLIENT_CERT", "CERTIFICATE")?;
    let key = vars.pem("CLIENT_KEY", "PRIVATE KEY")?;
    let names = [vars.name("CLIENT_CERT"), vars.name("CLIENT_KEY")];
    let alone = |[set, missing]: [&str; 2]| {
        let text = format!("{set} is set without {missing}: they go together");
        Err(Error::new(Kind::Config, text))
    };
    let [cert_name, key_name] = names.each_ref().map(String::as_str);
    match (chain, key) {
        (None, None) => Ok(None),
        (Some(_), None) if vars.in_go_plugin()? => Ok(None),
        (Some(_), None) => alone([cert_name, key_name]),
        (None, Some(_)) => alone([key_name, cert_name]),
        (Some((chain, _)), Some((key, _))) => {
            let source = IdentitySource::Read { chain, key };
            source.load().map_err(|error| {
                let text = format!("{cert_name} and {key_name}: {error}");
                Error::new(Kind::Config, text)
            })?;
            Ok(Some(source))
        }
    }
}

fn host(text: &str) -> Option<String> {
    let unbracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let bare = unbracketed
        .filter(|host| host.contains(':'))
        .unwrap_or(text);
    // The address parser knows what a host is.
    let written = if bare.contains(':') {
        format!("[{bare}]:1")
    } else {
        format!("{bare}:1")
    };
    written.parse::<Address>().is_ok().then(|| bare.to_owned())
}

fn seconds(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds * unit)
        .ok()
        .filter(|duration| !duration.is_zero())
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Base64 has slashes, but no dots, and DER begins with an `M`; PEM has lines and dashes.
fn looks_like_path(text: &str) -> bool {
    let mangled = text.len() > 255 || text.contains(['\n', '\r']) || text.contains("---");
    !mangled && (text.starts_with(['/', '.', '~']) || text.contains('.'))
}
