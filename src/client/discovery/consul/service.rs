//! Which instances of a service.

use crate::client::backoff::Backoff;
use crate::client::discovery::consul::instances::Reading;
use crate::consul::{Consul, TLS_META};
use std::time::Duration;

/// The instances of a service in [Consul](https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service),
/// as a [source](crate::client::Discover) of endpoints.
///
/// Those are given whose checks all pass, that of their node included. They are followed by
/// [blocking queries](https://developer.hashicorp.com/consul/api-docs/features/blocking): a change is known as soon as the agent
/// knows it. An agent that fails is asked again with backoff, and the last good set is used meanwhile.
///
/// | of an instance | becomes |
/// |---|---|
/// | `Service.SocketPath`, or `Service.Address` (else `Node.Address`) and `Service.Port` | the address |
/// | `Service.Weights` | the weight |
/// | `Service.Tags` | the tags |
/// | `Service.Meta` under [a key](Self::tls_meta) | TLS, and the name of its certificate |
///
/// ```no_run
/// use rpcplugin_testkit::{Client, Consul, Strategy};
///
/// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
/// let consul = Consul::from_env()?;
/// let client = Client::builder()
///     .discover(consul.service("payment-processor").tag("v2"))
///     .strategy(Strategy::Weighted)
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until a client is built with it"]
pub struct ConsulService {
    pub(super) consul: Consul,
    pub(super) name: String,
    pub(super) conditions: Vec<String>,
    pub(super) near: Option<String>,
    pub(super) warning_too: bool,
    pub(super) stale: bool,
    pub(super) wait: Duration,
    pub(super) interval: Duration,
    pub(super) backoff: Backoff,
    pub(super) tls_meta: String,
    pub(super) seed: Option<u64>,
}

impl Consul {
    /// The instances of a service, to be [discovered](crate::client::ClientBuilder::discover).
    pub fn service(&self, name: impl Into<String>) -> ConsulService {
        ConsulService {
            consul: self.clone(),
            name: name.into(),
            conditions: Vec::new(),
            near: None,
            warning_too: false,
            stale: false,
            wait: Duration::from_secs(5 * 60),
            interval: Duration::from_secs(1),
            backoff: Backoff {
                max: Duration::from_secs(30),
                ..Backoff::default()
            },
            tls_meta: TLS_META.to_owned(),
            seed: None,
        }
    }
}

impl ConsulService {
    /// Only instances with this tag. More than one call asks for all of them.
    pub fn tag(self, tag: impl AsRef<str>) -> Self {
        // Consul's expressions know no escapes in texts.
        let tag = tag.as_ref();
        let quote = if tag.contains(['"', '\\']) { '`' } else { '"' };
        self.filter(format!("Service.Tags contains {quote}{tag}{quote}"))
    }

    /// Only instances of which this [expression](https://developer.hashicorp.com/consul/api-docs/features/filtering) is true,
    /// such as `Service.Meta.zone == "eu-1"`. More than one call asks for all of them.
    pub fn filter(mut self, expression: impl Into<String>) -> Self {
        self.conditions.push(expression.into());
        self
    }

    /// Sorts the instances by the time that a packet takes from this node, `_agent` for that of the agent: with
    /// [`Strategy::First`](crate::Strategy::First) the nearest takes the calls. Default: by their ids.
    pub fn near(mut self, node: impl Into<String>) -> Self {
        self.near = Some(node.into());
        self
    }

    /// Takes instances with a check that warns too, by their weight for that. Default: those that pass.
    pub fn warning_too(mut self) -> Self {
        self.warning_too = true;
        self
    }

    /// Lets any server of Consul answer, also one that is
    /// [behind](https://developer.hashicorp.com/consul/api-docs/features/consistency), or while there is no leader.
    pub fn stale(mut self) -> Self {
        self.stale = true;
        self
    }

    /// How long one blocking query waits for a change; Consul takes 10 minutes at most, and no less than a millisecond is
    /// asked for. Default: 5 minutes.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How often the agent is asked at most, beside a burst of two. Default: once in a second.
    pub fn at_most_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long an agent that failed is left alone. Default: gRPC's connection backoff, up to 30 s.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The key in the meta data of an instance that says that it speaks TLS, and by its value under which name; an empty
    /// value means that of the address. Default: `grpc_tls_name`.
    pub fn tls_meta(mut self, key: impl Into<String>) -> Self {
        self.tls_meta = key.into();
        self
    }

    /// What the jitter of the backoff follows from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(super) fn reading(&self) -> Reading {
        Reading {
            tls_meta: self.tls_meta.clone(),
            is_sorted: self.near.is_some(),
        }
    }

    /// All conditions in one expression.
    pub(super) fn condition(&self) -> Option<String> {
        match &self.conditions[..] {
            [] => None,
            [one] => Some(one.clone()),
            several => {
                let bracketed: Vec<_> = several.iter().map(|one| format!("({one})")).collect();
                Some(bracketed.join(" and "))
            }
        }
    }
}
