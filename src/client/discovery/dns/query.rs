//! Asking for SRV records, and for the addresses of their targets.

use crate::client::discovery::dns::follow::Found;
use crate::client::discovery::dns::records::{Record, endpoints, good_for, sorted};
use crate::client::discovery::dns::srv::DnsSrv;
use crate::error::{Error, Kind};
use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    lookup_ip::LookupIp,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Instant,
};
use tokio::task::{JoinSet, spawn_blocking};

/// So many targets are looked up at the same time.
const AT_ONCE: usize = 8;

type Addresses = HashMap<String, Vec<IpAddr>>;

/// Asks again and again, and remembers the addresses of targets.
pub(super) struct Query {
    source: DnsSrv,
    /// Those that were found last: a target whose name server fails for a moment has not gone.
    known: Mutex<Addresses>,
}

/// What one lookup gave, and until when it is good.
type Good<T> = (T, Instant);

impl Query {
    pub(super) fn new(source: DnsSrv) -> Self {
        Self {
            source,
            known: Mutex::default(),
        }
    }

    /// What there is now.
    pub(super) async fn look(&self) -> Result<Found, Error> {
        let source = &self.source;
        let resolver = resolver(source.nameserver).await?;
        let (records, until) = records(&resolver, &source.name).await?;
        let (addresses, until) = self.addresses(&resolver, &records, until).await?;
        let endpoints = endpoints(&records, &addresses, source.tls, source.certified());
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
        let left = until.saturating_duration_since(Instant::now());
        Ok(Found {
            endpoints,
            good_for: Some(good_for(left)),
        })
    }

    /// The addresses of all targets that have any.
    async fn addresses(
        &self,
        resolver: &TokioResolver,
        records: &[Record],
        mut until: Instant,
    ) -> Result<Good<Addresses>, Error> {
        let mut addresses = Addresses::new();
        let mut failure = None;
        for (target, found) in look_up(resolver, records).await {
            match found {
                Ok(found) => {
                    until = until.min(found.valid_until());
                    addresses.insert(target, found.iter().collect());
                }
                Err(error) => {
                    tracing::warn!(service = %self.source.name, %target, %error, "a target has no addresses");
                    if !error.is_no_records_found() {
                        // It may be back before its records say.
                        until = Instant::now();
                        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(known) = known.get(&target) {
                            addresses.insert(target.clone(), known.clone());
                        }
                    }
                    failure = Some((target, error));
                }
            }
        }
        match failure {
            Some((target, error)) if addresses.is_empty() => {
                let name = &self.source.name;
                let text = format!(
                    "no target of the SRV records of `{name}` can be resolved, such as `{target}`"
                );
                Err(Error::new(Kind::Discovery, text).caused_by(error))
            }
            _ => Ok((addresses, until)),
        }
    }
}

/// The addresses of each target.
async fn look_up(
    resolver: &TokioResolver,
    records: &[Record],
) -> Vec<(String, Result<LookupIp, NetError>)> {
    let mut targets: Vec<_> = records.iter().map(|record| &record.target).collect();
    targets.sort();
    targets.dedup();
    let mut found = Vec::new();
    for targets in targets.chunks(AT_ONCE) {
        let mut looks = JoinSet::new();
        for target in targets {
            let (resolver, target) = (resolver.clone(), (*target).clone());
            looks.spawn(async move {
                let found = resolver.lookup_ip(&*target).await;
                (target, found)
            });
        }
        while let Some(looked) = looks.join_next().await {
            let looked =
                looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            found.push(looked);
        }
    }
    found
}

/// Made for each look: the system's settings may have changed, and no look is answered by the one before.
async fn resolver(nameserver: Option<SocketAddr>) -> Result<TokioResolver, Error> {
    let make = move || {
        let Some(nameserver) = nameserver else {
            return TokioResolver::builder_tokio()?.build();
        };
        let mut server = NameServerConfig::udp_and_tcp(nameserver.ip());
        for connection in &mut server.connections {
            connection.port = nameserver.port();
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder.build()
    };
    let made = spawn_blocking(make).await;
    let made = made.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    made.map_err(|error| {
        let text = "the DNS settings of this machine cannot be read";
        Error::new(Kind::Discovery, text).caused_by(error)
    })
}

async fn records(resolver: &TokioResolver, name: &str) -> Result<Good<Vec<Record>>, Error> {
    let found = resolver.srv_lookup(name).await.map_err(|error: NetError| {
        let text = match error.is_no_records_found() {
            true => format!("there are no SRV records of `{name}`"),
            false => format!("the SRV records of `{name}` cannot be looked up"),
        };
        Error::new(Kind::Discovery, text).caused_by(error)
    })?;
    let record = |data: &RData| match data {
        RData::SRV(srv) => Some(Record {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_lowercase().to_ascii(),
        }),
        // An alias on the way.
        _ => None,
    };
    let records = found.answers().iter().filter_map(|one| record(&one.data));
    Ok((sorted(records), found.valid_until()))
}
