//! An instance of a service, as a test writes it down.

use crate::address::{Address, IntoAddress};
use std::{collections::BTreeMap, fmt};

/// Whether an instance is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CheckStatus {
    /// It is.
    Passing,
    /// It may be called, and something is wrong with it.
    Warning,
    /// It is not.
    Critical,
}

impl CheckStatus {
    pub(super) const ALL: [Self; 3] = [Self::Passing, Self::Warning, Self::Critical];

    /// As Consul writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An instance of a service in a [`MockConsul`](crate::MockConsul).
///
/// ```
/// use rpcplugin_testkit::mock::{CheckStatus, ServiceInstance};
///
/// let instance = ServiceInstance::new("kv", "127.0.0.1:50051").tags(["v2"]).weight(3);
/// assert_eq!(instance.status, CheckStatus::Passing);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it does nothing until it is registered"]
pub struct ServiceInstance {
    /// Of the instance. Default: the service and the address.
    pub id: String,
    /// The service that it is one of.
    pub service: String,
    /// `Service.Address`; empty for the address of its node.
    pub host: String,
    /// `Service.Port`.
    pub port: u16,
    /// `Service.SocketPath`, which Consul has since 1.10; empty for none.
    pub socket_path: String,
    /// What it is tagged with.
    pub tags: Vec<String>,
    /// What else is known of it.
    pub meta: BTreeMap<String, String>,
    /// Its weight while it passes. Default: 1.
    pub weight: u32,
    /// Its weight while it warns. Default: 1.
    pub warning_weight: u32,
    /// Default: [`CheckStatus::Passing`].
    pub status: CheckStatus,
}

impl ServiceInstance {
    /// An instance that passes. A socket is told as `SocketPath`.
    ///
    /// # Panics
    ///
    /// When a text is not an address.
    #[track_caller]
    pub fn new(service: impl Into<String>, address: impl IntoAddress) -> Self {
        let address = match address.into_address() {
            Ok(address) => address,
            Err(error) => panic!("{error}"),
        };
        let service = service.into();
        let mut instance = Self {
            id: format!("{service}-{address}"),
            service,
            host: String::new(),
            port: 0,
            socket_path: String::new(),
            tags: Vec::new(),
            meta: BTreeMap::new(),
            weight: 1,
            warning_weight: 1,
            status: CheckStatus::Passing,
        };
        if address.wants_tls() {
            let key = crate::consul::TLS_META.to_owned();
            instance.meta.insert(key, String::new());
        }
        match address {
            Address::Tcp { host, port, .. } => (instance.host, instance.port) = (host, port),
            Address::Unix(path) => instance.socket_path = path.to_string_lossy().into_owned(),
            memory @ Address::Memory(_) => instance.host = memory.to_string(),
        }
        instance
    }

    /// The id. One that there is already is replaced by it.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// What it is tagged with.
    pub fn tags(mut self, tags: impl IntoIterator<Item: Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// One more pair of meta data.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Its weight while it passes.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Its weight while it warns.
    pub fn warning_weight(mut self, weight: u32) -> Self {
        self.warning_weight = weight;
        self
    }

    /// Whether it is well.
    pub fn status(mut self, status: CheckStatus) -> Self {
        self.status = status;
        self
    }

    /// Leaves `Service.Address` empty: it is where its node is, `127.0.0.1`.
    pub fn at_its_node(mut self) -> Self {
        self.host = String::new();
        self
    }
}
