//! What a client registers, read (pure).

use crate::mock::consul::catalog::Check;
use crate::mock::consul::instance::{CheckStatus, ServiceInstance};
use crate::mock::consul::query::duration;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// The body of [a registration](https://developer.hashicorp.com/consul/api-docs/agent/service#register-service), as far as it is
/// looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Told {
    #[serde(rename = "ID")]
    id: String,
    name: String,
    address: String,
    port: u16,
    socket_path: String,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
    weights: Option<Weights>,
    check: Option<ToldCheck>,
    checks: Option<Vec<ToldCheck>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ToldCheck {
    #[serde(rename = "CheckID")]
    check_id: String,
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    name: String,
    status: String,
    #[serde(rename = "TTL")]
    ttl: String,
    deregister_critical_service_after: String,
}

pub(super) type Checks = BTreeMap<String, Check>;

/// An instance with its checks, or what Consul says of the mistake.
pub(super) fn service(body: &Value, now: Instant) -> Result<(ServiceInstance, Checks), String> {
    let told: Told = decoded(body)?;
    if told.name.is_empty() {
        return Err("Missing service name".to_owned());
    }
    let id = if told.id.is_empty() {
        told.name.clone()
    } else {
        told.id
    };
    let mut checks = Checks::new();
    let several = told.checks.unwrap_or_default();
    let all: Vec<_> = told.check.into_iter().chain(several).collect();
    let is_one = all.len() == 1;
    for (n, check) in all.into_iter().enumerate() {
        let usual = match is_one {
            true => format!("service:{id}"),
            false => format!("service:{id}:{}", n + 1),
        };
        let (name, check) = read(check, usual, &told.name, now)?;
        checks.insert(name, check);
    }
    let weights = told.weights.unwrap_or(Weights {
        passing: 1,
        warning: 1,
    });
    let instance = ServiceInstance {
        id,
        service: told.name,
        host: told.address,
        port: told.port,
        socket_path: told.socket_path,
        tags: told.tags.unwrap_or_default(),
        meta: told.meta.unwrap_or_default(),
        weight: weights.passing,
        warning_weight: weights.warning,
        status: CheckStatus::Passing,
    };
    Ok((instance, checks))
}

/// A check by itself, and the instance that it is of.
pub(super) fn check(body: &Value, now: Instant) -> Result<(String, String, Check), String> {
    let told: ToldCheck = decoded(body)?;
    if told.name.is_empty() {
        return Err("Missing check name".to_owned());
    }
    let (service, name) = (told.service_id.clone(), told.name.clone());
    let (id, check) = read(told, name.clone(), &name, now)?;
    Ok((service, id, check))
}

fn decoded<T: for<'a> Deserialize<'a>>(body: &Value) -> Result<T, String> {
    T::deserialize(body).map_err(|error| format!("Request decode failed: {error}"))
}

fn read(
    told: ToldCheck,
    usual_id: String,
    service: &str,
    now: Instant,
) -> Result<(String, Check), String> {
    let time = |text: &str| match text {
        "" => Ok(None),
        text => match duration(text) {
            Some(time) => Ok(Some(time)),
            None => Err(format!(
                "Request decode failed: time: invalid duration {text:?}"
            )),
        },
    };
    let status = match &*told.status {
        "" => CheckStatus::Critical,
        status => CheckStatus::parse(status).ok_or_else(|| {
            format!(
                "Invalid check: Status must be 'passing', 'warning', or 'critical', not '{status}'"
            )
        })?,
    };
    let ids = [told.check_id, told.id, usual_id];
    let id = ids.into_iter().find(|id| !id.is_empty());
    let check = Check {
        name: match told.name.is_empty() {
            true => format!("Service '{service}' check"),
            false => told.name,
        },
        status,
        output: String::new(),
        ttl: time(&told.ttl)?.map(|ttl| (ttl, now + ttl)),
        deregister_after: time(&told.deregister_critical_service_after)?,
        critical_since: (status == CheckStatus::Critical).then_some(now),
    };
    Ok((id.unwrap_or_default(), check))
}
