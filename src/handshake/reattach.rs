//! A plugin that runs already, as JSON.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::handshake::line::GRPC;
use crate::handshake::network::{address_of, network_of, no_network};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::{collections::BTreeMap, str::FromStr};

/// Where a plugin that runs already is, as go-plugin's
/// [`ReattachConfig`](https://pkg.go.dev/github.com/hashicorp/go-plugin#ReattachConfig) has it in JSON. A host attaches to it
/// and starts no process; so a mock in the test's own process can be the plugin of a real host.
///
/// [`to_terraform`](Self::to_terraform) is the value of `TF_REATTACH_PROVIDERS`, by which Terraform attaches to
/// [providers under test](https://developer.hashicorp.com/terraform/plugin/debugging). AutoMTLS does not go with it.
///
/// ```
/// use rpcplugin_testkit::{MockServer, plugin::ReattachConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let server = MockServer::unix().await;
/// let config = ReattachConfig::new(server.address().clone())?.protocol_version(6);
/// let variable = ReattachConfig::to_terraform([("registry.terraform.io/acme/db", &config)]);
/// # assert_eq!(ReattachConfig::from_terraform(&variable)?["registry.terraform.io/acme/db"], config);
/// // Command::new("terraform").env("TF_REATTACH_PROVIDERS", variable)…
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReattachConfig {
    /// Where the plugin serves: TCP or a Unix socket.
    pub address: Address,
    /// The version of the application's protocol. Hosts look at it in [test mode](Self::test) only.
    pub protocol_version: u32,
    /// The plugin's process, which a host ends by killing it, but for test mode. Default: this one.
    pub pid: u32,
    /// Whether the host lets the plugin live. Default: yes.
    pub test: bool,
}

impl ReattachConfig {
    /// A gRPC plugin of this process that serves there, with version 1 of its protocol.
    ///
    /// # Errors
    ///
    /// When other processes cannot reach the address, as with [`MockServer::memory`](crate::MockServer::memory).
    pub fn new(address: Address) -> Result<Self, Error> {
        if network_of(&address).is_none() {
            return Err(no_network(&address));
        }
        Ok(Self {
            address: address.with_tls(false),
            protocol_version: 1,
            pid: std::process::id(),
            test: true,
        })
    }

    /// The version of the application's protocol.
    #[must_use]
    pub fn protocol_version(mut self, version: u32) -> Self {
        self.protocol_version = version;
        self
    }

    /// The plugin's process.
    #[must_use]
    pub fn pid(mut self, pid: u32) -> Self {
        self.pid = pid;
        self
    }

    /// Whether the host lets the plugin live.
    #[must_use]
    pub fn test(mut self, test: bool) -> Self {
        self.test = test;
        self
    }

    /// Reads one plugin's.
    ///
    /// # Errors
    ///
    /// When it is not of this form, the plugin speaks something else than gRPC, or its address is of no use.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        read(json, "a ReattachConfig")
    }

    /// One plugin's, as [`from_json`](Self::from_json) reads it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|never| never.to_string())
    }

    /// Reads the value of `TF_REATTACH_PROVIDERS`: plugins by their names.
    ///
    /// # Errors
    ///
    /// As [`from_json`](Self::from_json).
    pub fn from_terraform(json: &str) -> Result<BTreeMap<String, Self>, Error> {
        read(json, "the value of TF_REATTACH_PROVIDERS")
    }

    /// The value of `TF_REATTACH_PROVIDERS` with these plugins: the address of each provider, and where it serves.
    #[must_use]
    pub fn to_terraform<'a, N: Into<String>>(
        plugins: impl IntoIterator<Item = (N, &'a Self)>,
    ) -> String {
        let plugins = plugins
            .into_iter()
            .map(|(name, plugin)| (name.into(), plugin));
        let plugins: BTreeMap<String, &Self> = plugins.collect();
        serde_json::to_string(&plugins).unwrap_or_else(|never| never.to_string())
    }
}

fn read<T: for<'de> Deserialize<'de>>(json: &str, what: &str) -> Result<T, Error> {
    let reading = &mut serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(reading).map_err(|error| {
        Error::new(Kind::Handshake, format!("the JSON is not {what}")).caused_by(error)
    })
}

impl FromStr for ReattachConfig {
    type Err = Error;

    /// As [`from_json`](Self::from_json).
    fn from_str(json: &str) -> Result<Self, Error> {
        Self::from_json(json)
    }
}

/// What go-plugin's test mode and Terraform write.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    protocol_version: u32,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    test: bool,
    addr: Addr,
}

/// An address as a pair, or as `encoding/json` writes Go's own types.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Addr {
    Pair {
        #[serde(rename = "Network")]
        network: String,
        #[serde(rename = "String")]
        address: String,
    },
    GoUnix {
        #[serde(rename = "Name")]
        name: String,
        #[serde(rename = "Net")]
        net: String,
    },
    GoTcp {
        #[serde(rename = "IP")]
        ip: std::net::IpAddr,
        #[serde(rename = "Port")]
        port: u16,
    },
}

impl Addr {
    fn address(&self) -> Result<Address, Error> {
        match self {
            Self::Pair { network, address } => address_of(network, address),
            Self::GoUnix { name, net } => address_of(net, name),
            Self::GoTcp { ip, port } => Ok(Address::tcp(ip.to_string(), *port)),
        }
    }
}

impl Serialize for ReattachConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (network, address) = network_of(&self.address)
            .ok_or_else(|| ser::Error::custom(no_network(&self.address)))?;
        let written = Written {
            protocol: GRPC.to_owned(),
            protocol_version: self.protocol_version,
            pid: self.pid,
            test: self.test,
            addr: Addr::Pair {
                network: network.to_owned(),
                address,
            },
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ReattachConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        if written.protocol != GRPC {
            // Go's default is the protocol that there was before gRPC.
            let text = format!(
                "unsupported plugin protocol `{}`, expected `{GRPC}`",
                written.protocol
            );
            return Err(de::Error::custom(text));
        }
        let address = written.addr.address();
        Ok(Self {
            address: address.map_err(|error| de::Error::custom(error.chain()))?,
            protocol_version: written.protocol_version,
            pid: written.pid,
            test: written.test,
        })
    }
}
