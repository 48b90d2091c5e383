//! What Consul is told of servers.

use crate::consul::Consul;
use crate::error::Error;
use crate::mock::consul::{MockConsul, ServiceInstance};
use crate::mock::registration::{Check, Entry};
use crate::mock::server::MockServer;
use std::{pin::Pin, time::Duration};

/// A registration with Consul, which is made when it is awaited. See [`MockServer::register`].
#[derive(Debug)]
#[must_use = "nothing is registered until it is awaited"]
pub struct Register<'a> {
    servers: Vec<&'a MockServer>,
    consul: Consul,
    service: String,
    id: Option<String>,
    tags: Vec<String>,
    meta: Vec<(String, String)>,
    weight: u32,
    check: Check,
    deregister_after: Option<Duration>,
}

/// Registration with Consul.
impl MockServer {
    /// Registers the server with a Consul agent, as an instance of a service.
    ///
    /// It is passing from the start, by a [TTL check](Register::ttl) that it keeps up itself or by one that
    /// [asks its health service](Register::grpc_check). [`shutdown`](Self::shutdown) takes the registration back;
    /// [`kill`](Self::kill) leaves it behind, as a crash does, until its check fails; [`restart`](Self::restart) registers again.
    /// A server that is dropped is one that is killed.
    ///
    /// ```
    /// use rpcplugin_testkit::{Consul, MockConsul, MockServer};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
    /// let registry = MockConsul::start().await;
    /// let consul = Consul::new(registry.url());
    ///
    /// let server = MockServer::start().await;
    /// server.register(&consul, "kv").tags(["v2"]).await?;
    /// let found = consul.service("kv").tag("v2").endpoints().await?;
    /// assert_eq!(found[0].address, *server.address());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When it is awaited, and the agent cannot be asked, or refuses.
    pub fn register(&self, consul: &Consul, service: impl Into<String>) -> Register<'_> {
        Register::new(vec![self], consul, service.into())
    }

    /// Makes the server an instance in a [`MockConsul`], which is in step with it: it passes while the server is up, is critical
    /// from the moment in which it is [paused](Self::pause) or [killed](Self::kill), passes again when it is resumed or restarted,
    /// and is gone when it was [shut down](Self::shutdown).
    ///
    /// [`MockCluster::consul`](crate::MockCluster::consul) does so with all servers of a cluster.
    ///
    /// ```
    /// use rpcplugin_testkit::{MockConsul, MockServer, mock::{CheckStatus, ServiceInstance}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let registry = MockConsul::start().await;
    /// let server = MockServer::start().await;
    /// server.appear_in(&registry, ServiceInstance::new("kv", server.address()).weight(3));
    ///
    /// server.kill().await;
    /// assert_eq!(registry.instances()[0].status, CheckStatus::Critical);
    /// # }
    /// ```
    pub fn appear_in(&self, registry: &MockConsul, instance: ServiceInstance) {
        self.doors().follow(registry.mirror(instance));
    }

    /// Takes back all [registrations](Self::register), for good.
    ///
    /// # Errors
    ///
    /// When one of them cannot be taken back. The others are all the same.
    pub async fn deregister(&self) -> Result<(), Error> {
        self.registrations.take_back().await
    }
}

impl<'a> Register<'a> {
    pub(super) fn new(servers: Vec<&'a MockServer>, consul: &Consul, service: String) -> Self {
        Self {
            servers,
            consul: consul.clone(),
            service,
            id: None,
            tags: Vec::new(),
            meta: Vec::new(),
            weight: 1,
            check: Check::Ttl(Duration::from_secs(10)),
            deregister_after: None,
        }
    }

    /// The id of the instance; with several servers each has its number behind it. Default: the service and the address.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// What the instance is tagged with.
    pub fn tags(mut self, tags: impl IntoIterator<Item: Into<String>>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// One more pair of meta data. A server that speaks TLS has `grpc_tls_name` by itself, with an empty value: its
    /// certificate has the name of its address.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.push((key.into(), value.into()));
        self
    }

    /// Its weight while it passes. Default: 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// The server tells Consul that it is well, twice within this time; one that does not for so long is critical. Default:
    /// this, of 10 s.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.check = Check::Ttl(ttl);
        self
    }

    /// Consul asks the server's health service this often. The server has to listen on TCP, and must not insist on client
    /// certificates. ([`MockConsul`](crate::MockConsul) asks nobody.)
    pub fn grpc_check(mut self, interval: Duration) -> Self {
        self.check = Check::Grpc(interval);
        self
    }

    /// Nobody finds out whether it is well: it passes as long as it is registered.
    pub fn no_check(mut self) -> Self {
        self.check = Check::None;
        self
    }

    /// Consul forgets the instance when it was critical for so long, a minute at least. Default: it never does.
    pub fn deregister_after(mut self, time: Duration) -> Self {
        self.deregister_after = Some(time);
        self
    }

    fn entries(&self) -> impl Iterator<Item = (&'a MockServer, Entry)> {
        let is_one = self.servers.len() == 1;
        self.servers.iter().enumerate().map(move |(n, server)| {
            let address = server.address().clone();
            let id = match &self.id {
                Some(id) if is_one => id.clone(),
                Some(id) => format!("{id}-{n}"),
                None => Entry::id_of(&self.service, &address),
            };
            let entry = Entry {
                service: self.service.clone(),
                id,
                address,
                tags: self.tags.clone(),
                meta: self.meta.clone(),
                weight: self.weight,
                check: self.check,
                deregister_after: self.deregister_after,
            };
            (*server, entry)
        })
    }
}

impl<'a> IntoFuture for Register<'a> {
    type Output = Result<(), Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            for (server, entry) in self.entries() {
                let registrations = &server.registrations;
                registrations
                    .add(&self.consul, entry, &server.doors)
                    .await?;
            }
            Ok(())
        })
    }
}
