//! What an agent says of the instances of a service.

use crate::address::Address;
use crate::endpoint::Endpoint;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// How an answer is read.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The meta key whose value is the name of an instance's certificate, if it speaks TLS.
    pub(super) tls_meta: String,
    /// Whether the agent gives the instances in an order that means something.
    pub(super) is_sorted: bool,
}

/// What an answer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Instances {
    pub(super) endpoints: Vec<Endpoint>,
    /// Instances that cannot be called, and why.
    pub(super) unusable: Vec<String>,
}

/// An element of [the answer](https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Option<Node>,
    service: Service,
    checks: Option<Vec<Check>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    socket_path: String,
    weights: Option<Weights>,
    tags: Option<Vec<String>>,
    meta: Option<HashMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    #[serde(default = "one")]
    passing: u32,
    #[serde(default = "one")]
    warning: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(default)]
    status: String,
}

impl Reading {
    pub(super) fn read(&self, body: &[u8]) -> Result<Instances, serde_json::Error> {
        let mut entries: Vec<Entry> = serde_json::from_slice(body)?;
        if !self.is_sorted {
            // So that the same instances are the same set.
            entries.sort_by(|one, next| one.service.id.cmp(&next.service.id));
        }
        let mut instances = Instances::default();
        let mut known = HashSet::new();
        for entry in entries {
            // Whoever asks for those that pass gets no critical ones; whoever does not must not call them.
            if entry.is("critical") || entry.is("maintenance") {
                continue;
            }
            match self.endpoint(&entry) {
                Ok(endpoint) if known.insert(endpoint.address.clone()) => {
                    instances.endpoints.push(endpoint);
                }
                // The same server, registered twice.
                Ok(_) => {}
                Err(why) => instances.unusable.push(why),
            }
        }
        Ok(instances)
    }

    fn endpoint(&self, entry: &Entry) -> Result<Endpoint, String> {
        let service = &entry.service;
        let told = |why: String| format!("instance `{}` {why}", service.id);
        let meta = service.meta.as_ref();
        let tls_name = meta.and_then(|meta| meta.get(&self.tls_meta));
        let node = entry.node.as_ref().map_or("", |node| &node.address);
        let host = Some(&*service.address).filter(|host| !host.is_empty());
        let address = if !service.socket_path.is_empty() {
            format!("unix:{}", service.socket_path)
        } else if service.address.starts_with("unix:") || service.address.starts_with("memory:") {
            service.address.clone()
        } else {
            let port = u16::try_from(service.port).ok().filter(|port| *port > 0);
            let port = port.ok_or_else(|| told(format!("has the port {}", service.port)))?;
            Address::tcp(host.unwrap_or(node), port).to_string()
        };
        let address: Address = address
            .parse()
            .map_err(|error: crate::error::Error| told(error.to_string()))?;
        let weights = service.weights.as_ref();
        let weight = weights.map_or(1, |weights| match entry.is("warning") {
            true => weights.warning,
            false => weights.passing,
        });
        let endpoint = Endpoint::from(address.with_tls(tls_name.is_some()))
            .weight(weight)
            .tags(service.tags.clone().unwrap_or_default());
        Ok(match tls_name.filter(|name| !name.is_empty()) {
            Some(name) => endpoint.tls_name(name),
            None => endpoint,
        })
    }
}

impl Entry {
    /// Whether one of its checks says so.
    fn is(&self, status: &str) -> bool {
        let checks = self.checks.iter().flatten();
        checks.into_iter().any(|check| check.status == status)
    }
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::consul::instances::{Instances, Reading};
    use crate::endpoint::Endpoint;
    use serde_json::{Value, json};

    fn read(entries: &Value) -> Instances {
        let reading = Reading {
            tls_meta: "grpc_tls_name".to_owned(),
            is_sorted: false,
        };
        reading.read(entries.to_string().as_bytes()).unwrap()
    }

    fn addresses(entries: &Value) -> Vec<String> {
        let endpoints = read(entries).endpoints;
        let address = |endpoint: Endpoint| endpoint.address.to_string();
        endpoints.into_iter().map(address).collect()
    }

    #[test]
    fn an_instance_is_an_endpoint() {
        let found = read(&json!([{
            "Node": {"Node": "n1", "Address": "10.0.0.1"},
            "Service": {
                "ID": "kv-1", "Service": "kv", "Address": "10.0.0.9", "Port": 50051,
                "Weights": {"Passing": 10, "Warning": 2}, "Tags": ["v2"], "Meta": {"zone": "eu"},
            },
            "Checks": [{"CheckID": "serfHealth", "Status": "passing"}],
        }]));
        let expected = Endpoint::new("10.0.0.9:50051").unwrap();
        assert_eq!(found.endpoints, [expected.weight(10).tags(["v2"])]);
        assert!(found.unusable.is_empty());
    }

    #[test]
    fn an_address_is_that_of_the_service_or_else_of_its_node() {
        let entry =
            |service: &Value| json!([{"Node": {"Address": "10.0.0.1"}, "Service": service}]);
        let table = [
            (json!({"Address": "", "Port": 1}), "10.0.0.1:1"),
            (json!({"Port": 1}), "10.0.0.1:1"),
            (json!({"Address": "::1", "Port": 1}), "[::1]:1"),
            (
                json!({"Address": "kv.internal", "Port": 1}),
                "kv.internal:1",
            ),
            (
                json!({"SocketPath": "/run/kv.sock", "Port": 0}),
                "unix:/run/kv.sock",
            ),
            (json!({"Address": "unix:/run/kv.sock"}), "unix:/run/kv.sock"),
            (json!({"Address": "memory:7", "Port": 0}), "memory:7"),
            (
                json!({"Port": 1, "Meta": {"grpc_tls_name": ""}}),
                "https://10.0.0.1:1",
            ),
        ];
        for (service, address) in table {
            assert_eq!(addresses(&entry(&service)), [address], "{service}");
        }
    }

    #[test]
    fn the_meta_key_tells_of_tls_and_under_which_name() {
        let service =
            json!({"Address": "10.0.0.9", "Port": 1, "Meta": {"grpc_tls_name": "kv.internal"}});
        let found = read(&json!([{"Node": null, "Service": service}])).endpoints;
        let expected = Endpoint::new("https://10.0.0.9:1").unwrap();
        assert_eq!(found, [expected.tls_name("kv.internal")]);
    }

    #[test]
    fn a_warning_has_its_own_weight_and_what_is_critical_is_left_out() {
        let instance = |id: &str, port: u16, status: &str| {
            json!({
                "Service": {"ID": id, "Address": "h", "Port": port, "Weights": {"Passing": 10, "Warning": 2}},
                "Checks": [{"Status": "passing"}, {"Status": status}],
            })
        };
        let found = read(&json!([
            instance("c", 3, "critical"),
            instance("b", 2, "warning"),
            instance("a", 1, "passing"),
        ]));
        let weights: Vec<_> = found.endpoints.iter().map(|one| one.weight).collect();
        assert_eq!(weights, [10, 2]);
    }

    #[test]
    fn a_server_that_is_registered_twice_is_one() {
        let twice = json!([
            {"Service": {"ID": "b", "Address": "h", "Port": 1, "Weights": {"Passing": 5}}},
            {"Service": {"ID": "a", "Address": "h", "Port": 1, "Weights": {"Passing": 3}}},
        ]);
        let found = read(&twice).endpoints;
        assert_eq!(found, [Endpoint::new("h:1").unwrap().weight(3)]);
    }

    #[test]
    fn what_cannot_be_called_is_told() {
        let found = read(&json!([
            {"Service": {"ID": "no-port", "Address": "h", "Port": 0}},
            {"Service": {"ID": "odd-port", "Address": "h", "Port": 70000}},
            {"Service": {"ID": "no-host", "Port": 1}},
            {"Service": {"ID": "well", "Address": "h", "Port": 1}},
        ]));
        assert_eq!(found.endpoints.len(), 1);
        let [no_host, no_port, odd_port] = &found.unusable[..] else {
            panic!("{found:?}");
        };
        assert_eq!(no_port, "instance `no-port` has the port 0");
        assert_eq!(odd_port, "instance `odd-port` has the port 70000");
        assert!(
            no_host.starts_with("instance `no-host` invalid address"),
            "{no_host}"
        );
    }

    #[test]
    fn nulls_are_what_consul_writes_for_nothing() {
        let entry = json!([{"Node": null, "Service": {
            "ID": "a", "Address": "h", "Port": 1, "Tags": null, "Meta": null, "Weights": null,
        }, "Checks": null}]);
        assert_eq!(read(&entry).endpoints, [Endpoint::new("h:1").unwrap()]);
    }
}
