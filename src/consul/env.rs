//! An agent from the environment.

use crate::consul::agent::{Consul, Settings, Token};
use crate::consul::place::Place;
use crate::consul::secret::Secret;
use crate::error::{Error, Kind};
use crate::tls::{ClientTls, Roots};
use crate::vars::{Vars, of_process};
use std::{fs, path::PathBuf};

impl Consul {
    /// Reads the variables that Consul's [own client](https://developer.hashicorp.com/consul/commands#environment-variables)
    /// reads:
    ///
    /// | variable | value | default |
    /// |---|---|---|
    /// | `CONSUL_HTTP_ADDR` | as [`new`](Self::new) takes it | `127.0.0.1:8500` |
    /// | `CONSUL_HTTP_SSL` | whether to speak TLS, whatever the address says | `false` |
    /// | `CONSUL_HTTP_TOKEN` | an ACL token | – |
    /// | `CONSUL_HTTP_TOKEN_FILE` | the file that holds one; it wins | – |
    /// | `CONSUL_HTTP_AUTH` | `user:password` of a gate before the agent | – |
    /// | `CONSUL_CACERT`, `CONSUL_CAPATH` | a PEM file of authorities; a directory of such | this machine's roots |
    /// | `CONSUL_CLIENT_CERT`, `CONSUL_CLIENT_KEY` | PEM files, which go together | – |
    /// | `CONSUL_TLS_SERVER_NAME` | the name that the agent's certificate must have | that of the address |
    /// | `CONSUL_HTTP_SSL_VERIFY` | whether its certificate is looked at | `true` |
    /// | `CONSUL_NAMESPACE`, `CONSUL_PARTITION` | of Consul Enterprise | – |
    ///
    /// An empty variable counts as unset. Switches are `1`, `t`, `true`, `0`, `f`, `false`.
    ///
    /// # Errors
    ///
    /// When a value is malformed: the error names the variable, and what is allowed.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_vars(of_process)
    }

    /// [`from_env`](Self::from_env) from any source of variables, such as a map in a test.
    ///
    /// ```
    /// use rpcplugin_testkit::{Address, Consul};
    ///
    /// let consul = Consul::from_vars(|name| {
    ///     Ok((name == "CONSUL_HTTP_ADDR").then(|| "https://consul.internal:8501".to_owned()))
    /// })?;
    /// assert_eq!(consul.address().to_string(), "https://consul.internal:8501");
    /// # Ok::<(), rpcplugin_testkit::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env), and what the source returns.
    pub fn from_vars(
        source: impl Fn(&str) -> Result<Option<String>, Error>,
    ) -> Result<Self, Error> {
        let prefix = "CONSUL_";
        let vars = Vars { prefix, source };
        let address = vars.value("HTTP_ADDR")?;
        let place = address.as_deref().map(Place::parse).transpose();
        let place = place.map_err(|error| told(&vars.name("HTTP_ADDR"), error))?;
        let consul = Self::default();
        let defaults = consul.settings();
        let place = place.unwrap_or_else(|| defaults.place.clone());
        let place = match vars.parse("HTTP_SSL", SWITCH, switch)? {
            Some(true) => place.with_tls(),
            _ => place,
        };
        let tls = tls(&vars)?;
        let file = vars.value("HTTP_TOKEN_FILE")?;
        let token = vars.value("HTTP_TOKEN")?;
        let token = token.map(|token| Token::Given(Secret::new(token.trim())));
        let file = file.map(|path| Token::File(PathBuf::from(path.trim())));
        Ok(Self::of(Settings {
            tls: tls.filter(|_| place.address.wants_tls()),
            place,
            token: file.or(token),
            basic: vars.value("HTTP_AUTH")?.map(Secret::new),
            namespace: vars.value("NAMESPACE")?,
            partition: vars.value("PARTITION")?,
            ..defaults.clone()
        }))
    }
}

const SWITCH: &str = "`true` or `false`";

/// What Go's `strconv.ParseBool` takes.
fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn told(variable: &str, error: Error) -> Error {
    Error::new(Kind::Config, format!("{variable} is of no use")).caused_by(error)
}

/// What the variables tell of TLS, if they tell anything.
fn tls<F>(vars: &Vars<'_, F>) -> Result<Option<ClientTls>, Error>
where
    F: Fn(&str) -> Result<Option<String>, Error>,
{
    let roots = roots(vars)?;
    let identity = [vars.value("CLIENT_CERT")?, vars.value("CLIENT_KEY")?];
    let name = vars.value("TLS_SERVER_NAME")?;
    let unverified = vars.parse("HTTP_SSL_VERIFY", SWITCH, switch)? == Some(false);
    let is_told = !roots.is_empty() || identity.iter().any(Option::is_some);
    if !is_told && name.is_none() && !unverified {
        return Ok(None);
    }
    let mut tls = match roots.is_empty() {
        true => ClientTls::of_address(),
        false => roots.into_iter().fold(ClientTls::new(), ClientTls::roots),
    };
    tls = match identity {
        [None, None] => tls,
        [Some(chain), Some(key)] => tls.identity_files(chain.trim(), key.trim()),
        [chain, _] => {
            let (set, missing) = match chain {
                Some(_) => ("CLIENT_CERT", "CLIENT_KEY"),
                None => ("CLIENT_KEY", "CLIENT_CERT"),
            };
            let (set, missing) = (vars.name(set), vars.name(missing));
            let text = format!("{set} is set without {missing}: they go together");
            return Err(Error::new(Kind::Config, text));
        }
    };
    if let Some(name) = name {
        tls = tls.server_name(name.trim());
    }
    Ok(Some(if unverified { tls.unverified() } else { tls }))
}

fn roots<F>(vars: &Vars<'_, F>) -> Result<Vec<Roots>, Error>
where
    F: Fn(&str) -> Result<Option<String>, Error>,
{
    let mut roots = Vec::new();
    if let Some(file) = vars.value("CACERT")? {
        roots.push(Roots::file(file.trim()));
    }
    if let Some(directory) = vars.value("CAPATH")? {
        let variable = vars.name("CAPATH");
        let unreadable = |error: std::io::Error| {
            let text = format!("{variable} is `{directory}`, which is no directory to be read");
            Error::new(Kind::Config, text).caused_by(error)
        };
        for entry in fs::read_dir(directory.trim()).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_file() {
                roots.push(Roots::file(path));
            }
        }
    }
    for root in &roots {
        root.load().map_err(|error| {
            told(
                &format!("{} or {}", vars.name("CACERT"), vars.name("CAPATH")),
                error,
            )
        })?;
    }
    Ok(roots)
}
