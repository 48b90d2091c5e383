//! What an agent knows: instances, their checks, and when something changed (pure).

use crate::mock::consul::instance::{CheckStatus, ServiceInstance};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::Instant;

/// What an agent knows.
#[derive(Debug)]
pub(super) struct Catalog {
    /// The number of the last change.
    pub(super) index: u64,
    pub(super) entries: BTreeMap<String, Entry>,
    /// The last change of each service.
    changed: HashMap<String, u64>,
    pub(super) node: CheckStatus,
}

/// An instance with its checks.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) instance: ServiceInstance,
    pub(super) checks: BTreeMap<String, Check>,
    created: u64,
    modified: u64,
}

/// A check of an instance.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) status: CheckStatus,
    pub(super) output: String,
    /// Within how long it has to be told that all is well, and until when.
    pub(super) ttl: Option<(Duration, Instant)>,
    pub(super) deregister_after: Option<Duration>,
    pub(super) critical_since: Option<Instant>,
}

/// The least that Consul waits before it forgets a critical instance.
const LEAST_DEREGISTER_AFTER: Duration = Duration::from_secs(60);

/// Where an agent begins to count.
pub(super) const FIRST_INDEX: u64 = 10;

impl Catalog {
    pub(super) fn new() -> Self {
        Self {
            index: FIRST_INDEX,
            entries: BTreeMap::new(),
            changed: HashMap::new(),
            node: CheckStatus::Passing,
        }
    }

    /// The index of what is known of a service. One that nobody has heard of changes with everything.
    pub(super) fn index_of(&self, service: &str) -> u64 {
        self.changed.get(service).copied().unwrap_or(self.index)
    }

    fn change(&mut self, service: &str) -> u64 {
        self.index += 1;
        self.changed.insert(service.to_owned(), self.index);
        self.index
    }

    /// Registers an instance, in the place of the one that has its id.
    pub(super) fn register(&mut self, instance: ServiceInstance, checks: BTreeMap<String, Check>) {
        let before = self.entries.get(&instance.id);
        let created = before.map(|before| before.created);
        if let Some(other) = before.map(|before| before.instance.service.clone())
            && other != instance.service
        {
            self.change(&other);
        }
        let modified = self.change(&instance.service);
        let entry = Entry {
            created: created.unwrap_or(modified),
            modified,
            checks,
            instance,
        };
        self.entries.insert(entry.instance.id.clone(), entry);
    }

    /// Whether there was such an instance.
    pub(super) fn deregister(&mut self, id: &str) -> bool {
        let gone = self.entries.remove(id);
        if let Some(gone) = &gone {
            self.change(&gone.instance.service);
        }
        gone.is_some()
    }

    /// All checks of an instance say this. Whether there is one.
    pub(super) fn set_status(&mut self, id: &str, status: CheckStatus, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        let before = entry.status();
        entry.instance.status = status;
        for check in entry.checks.values_mut() {
            check.set(status, String::new(), now);
        }
        if before != status {
            let service = entry.instance.service.clone();
            self.touch(id, &service);
        }
        true
    }

    pub(super) fn set_node(&mut self, status: CheckStatus) {
        if std::mem::replace(&mut self.node, status) != status {
            let services: Vec<_> = self.changed.keys().cloned().collect();
            self.index += 1;
            let index = self.index;
            self.changed
                .extend(services.into_iter().map(|service| (service, index)));
        }
    }

    /// Goes on counting from here, and all that there is was changed there.
    pub(super) fn renumber(&mut self, index: u64) {
        self.index = index;
        self.changed
            .values_mut()
            .for_each(|changed| *changed = index);
    }

    /// A check is told how it is. Whether there is one that wants to be told.
    pub(super) fn update(
        &mut self,
        check: &str,
        status: CheckStatus,
        output: &str,
        now: Instant,
    ) -> bool {
        let mut entries = self.entries.values_mut();
        let Some(entry) = entries.find(|entry| entry.checks.contains_key(check)) else {
            return false;
        };
        let Some(found) = entry.checks.get_mut(check).filter(|one| one.ttl.is_some()) else {
            return false;
        };
        let is_changed = found.status != status;
        found.set(status, output.to_owned(), now);
        if is_changed {
            let (id, service) = (entry.instance.id.clone(), entry.instance.service.clone());
            self.touch(&id, &service);
        }
        true
    }

    /// A check is no more.
    pub(super) fn drop_check(&mut self, check: &str) {
        let mut entries = self.entries.values_mut();
        if let Some(entry) = entries.find(|entry| entry.checks.contains_key(check)) {
            entry.checks.remove(check);
            let (id, service) = (entry.instance.id.clone(), entry.instance.service.clone());
            self.touch(&id, &service);
        }
    }

    fn touch(&mut self, id: &str, service: &str) {
        let index = self.change(service);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.modified = index;
        }
    }

    /// Lets happen what is due: checks that were not told that all is well, and instances that were critical for too long.
    /// Whether something has changed.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let (mut late, mut gone) = (Vec::new(), Vec::new());
        for (id, entry) in &mut self.entries {
            for check in entry.checks.values_mut() {
                if check.expires().is_some_and(|at| at <= now) {
                    check.set(CheckStatus::Critical, "TTL expired".to_owned(), now);
                    late.push((id.clone(), entry.instance.service.clone()));
                }
                if check.ends().is_some_and(|at| at <= now) {
                    gone.push(id.clone());
                }
            }
        }
        for (id, service) in &late {
            self.touch(id, service);
        }
        for id in &gone {
            self.deregister(id);
        }
        !(late.is_empty() && gone.is_empty())
    }

    /// When something is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let checks = self
            .entries
            .values()
            .flat_map(|entry| entry.checks.values());
        checks
            .flat_map(|check| [check.expires(), check.ends()])
            .flatten()
            .min()
    }

    pub(super) fn of_service<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Entry> {
        let entries = self.entries.values();
        entries.filter(move |entry| entry.instance.service == service)
    }
}

impl Check {
    fn set(&mut self, status: CheckStatus, output: String, now: Instant) {
        if let Some((ttl, until)) = &mut self.ttl {
            *until = now + *ttl;
        }
        if status != CheckStatus::Critical {
            self.critical_since = None;
        } else if self.status != CheckStatus::Critical || self.critical_since.is_none() {
            self.critical_since = Some(now);
        }
        (self.status, self.output) = (status, output);
    }

    fn expires(&self) -> Option<Instant> {
        let (_, until) = self.ttl?;
        (self.status != CheckStatus::Critical).then_some(until)
    }

    fn ends(&self) -> Option<Instant> {
        Some(self.critical_since? + self.deregister_after?.max(LEAST_DEREGISTER_AFTER))
    }
}

impl Entry {
    /// The worst that is said of it.
    pub(super) fn status(&self) -> CheckStatus {
        let checks = self.checks.values().map(|check| check.status);
        checks.max().unwrap_or(self.instance.status)
    }

    /// `Service` of an answer.
    pub(super) fn service(&self) -> Value {
        let instance = &self.instance;
        let mut service = json!({
            "ID": instance.id,
            "Service": instance.service,
            "Tags": instance.tags,
            "Address": instance.host,
            "Meta": some(&instance.meta),
            "Port": instance.port,
            "Weights": {"Passing": instance.weight, "Warning": instance.warning_weight},
            "EnableTagOverride": false,
            "CreateIndex": self.created,
            "ModifyIndex": self.modified,
        });
        if !instance.socket_path.is_empty() {
            service["SocketPath"] = instance.socket_path.clone().into();
        }
        service
    }

    /// An element of the answer of the health endpoint.
    pub(super) fn health(&self, node: CheckStatus) -> Value {
        let mut checks = vec![json!({
            "Node": NODE, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": node.as_str(),
            "Output": "Agent alive and reachable", "ServiceID": "", "ServiceName": "", "ServiceTags": [],
        })];
        checks.extend(self.checks.iter().map(|(id, check)| self.check(id, check)));
        json!({"Node": node_json(), "Service": self.service(), "Checks": checks})
    }

    pub(super) fn check(&self, id: &str, check: &Check) -> Value {
        json!({
            "Node": NODE,
            "CheckID": id,
            "Name": check.name,
            "Status": check.status.as_str(),
            "Output": check.output,
            "ServiceID": self.instance.id,
            "ServiceName": self.instance.service,
            "ServiceTags": self.instance.tags,
            "Type": if check.ttl.is_some() { "ttl" } else { "grpc" },
        })
    }
}

/// Consul writes `null` for a map that is empty.
fn some(map: &BTreeMap<String, String>) -> Value {
    match map.is_empty() {
        true => Value::Null,
        false => json!(map),
    }
}

/// The name of the agent's node.
pub(super) const NODE: &str = "mock";

fn node_json() -> Value {
    json!({"Node": NODE, "Address": "127.0.0.1", "Datacenter": DATACENTER, "Meta": {}})
}

/// The only datacenter that it knows.
pub(super) const DATACENTER: &str = "dc1";
