//! A server as Consul takes it.

use crate::address::Address;
use crate::consul::TLS_META;
use crate::error::{Error, Kind};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How Consul finds out whether a server is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It asks the server's health service, so often.
    Grpc(Duration),
    None,
    /// The server tells it, within so long.
    Ttl(Duration),
}

/// What Consul is told of a server.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) service: String,
    pub(crate) id: String,
    pub(crate) address: Address,
    pub(crate) tags: Vec<String>,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) weight: u32,
    pub(crate) check: Check,
    pub(crate) deregister_after: Option<Duration>,
}

impl Entry {
    /// An id that no other server on this machine has.
    pub(crate) fn id_of(service: &str, address: &Address) -> String {
        let plain = |c: char| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => c,
            _ => '-',
        };
        let address: String = address.to_string().chars().map(plain).collect();
        format!("{service}-{address}")
    }

    pub(crate) fn check_id(&self) -> String {
        format!("service:{}", self.id)
    }

    /// The [body](https://developer.hashicorp.com/consul/api-docs/agent/service#register-service) of its registration.
    ///
    /// A socket stands in the address: older agents refuse `SocketPath`.
    pub(crate) fn body(&self) -> Result<Value, Error> {
        let (host, port) = match &self.address {
            Address::Tcp { host, port, .. } => (host.clone(), *port),
            other => (other.to_string(), 0),
        };
        let mut meta: Map<_, _> = self
            .meta
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect();
        if self.address.wants_tls() {
            meta.entry(TLS_META).or_insert_with(|| "".into());
        }
        let mut body = json!({
            "ID": self.id,
            "Name": self.service,
            "Address": host,
            "Port": port,
            "Tags": self.tags,
            "Meta": meta,
            "Weights": {"Passing": self.weight, "Warning": 1},
        });
        if let Some(check) = self.check()? {
            body["Check"] = check;
        }
        Ok(body)
    }

    fn check(&self) -> Result<Option<Value>, Error> {
        let mut check = json!({
            "CheckID": self.check_id(),
            "Name": format!("the mock server at {}", self.address),
            // It is up.
            "Status": "passing",
        });
        if let Some(after) = self.deregister_after {
            check["DeregisterCriticalServiceAfter"] = written(after);
        }
        match (self.check, &self.address) {
            (Check::None, _) => return Ok(None),
            (Check::Ttl(ttl), _) => check["TTL"] = written(ttl),
            (Check::Grpc(interval), Address::Tcp { tls, .. }) => {
                check["GRPC"] = self.address.authority().into();
                check["GRPCUseTLS"] = (*tls).into();
                check["TLSSkipVerify"] = (*tls).into();
                check["Interval"] = written(interval);
            }
            (Check::Grpc(_), other) => {
                let text = format!("Consul cannot ask for the health of {other}: use `.ttl(..)`");
                return Err(Error::new(Kind::Config, text));
            }
        }
        Ok(Some(check))
    }
}

/// As Go reads a duration.
fn written(duration: Duration) -> Value {
    format!("{}ms", duration.as_millis().max(1)).into()
}

#[cfg(test)]
mod tests {
    use crate::address::Address;
    use crate::mock::registration::entry::{Check, Entry};
    use serde_json::json;
    use std::time::Duration;

    fn entry(address: &str, check: Check) -> Entry {
        let address: Address = address.parse().unwrap();
        Entry {
            service: "kv".to_owned(),
            id: Entry::id_of("kv", &address),
            address,
            tags: vec!["v2".to_owned()],
            meta: vec![("zone".to_owned(), "eu".to_owned())],
            weight: 3,
            check,
            deregister_after: None,
        }
    }

    #[test]
    fn a_server_is_told_with_everything_that_is_known_of_it() {
        let entry = Entry {
            deregister_after: Some(Duration::from_secs(60)),
            ..entry("127.0.0.1:4000", Check::Ttl(Duration::from_secs(10)))
        };
        let expected = json!({
            "ID": "kv-127.0.0.1-4000",
            "Name": "kv",
            "Address": "127.0.0.1",
            "Port": 4000,
            "Tags": ["v2"],
            "Meta": {"zone": "eu"},
            "Weights": {"Passing": 3, "Warning": 1},
            "Check": {
                "CheckID": "service:kv-127.0.0.1-4000",
                "Name": "the mock server at 127.0.0.1:4000",
                "Status": "passing",
                "TTL": "10000ms",
                "DeregisterCriticalServiceAfter": "60000ms",
            },
        });
        assert_eq!(entry.body().unwrap(), expected);
    }

    #[test]
    fn sockets_pipes_and_tls_have_their_own_ways() {
        let unix = entry("unix:/tmp/a/kv.sock", Check::None).body().unwrap();
        assert_eq!(
            (&unix["Address"], &unix["Port"]),
            (&json!("unix:/tmp/a/kv.sock"), &json!(0))
        );
        assert_eq!(unix["ID"], "kv-unix--tmp-a-kv.sock");
        assert!(unix.get("Check").is_none());
        let memory = entry("memory:7", Check::None).body().unwrap();
        assert_eq!(memory["Address"], "memory:7");
        let second = Check::Grpc(Duration::from_secs(1));
        let tls = entry("https://localhost:4000", second).body().unwrap();
        assert_eq!(tls["Meta"]["grpc_tls_name"], "");
        let check = &tls["Check"];
        assert_eq!(
            (&check["GRPC"], &check["GRPCUseTLS"]),
            (&json!("localhost:4000"), &json!(true))
        );
    }

    #[test]
    fn consul_can_ask_only_tcp_servers_for_their_health() {
        let second = Check::Grpc(Duration::from_secs(1));
        let error = entry("memory:7", second).body().unwrap_err();
        let told = "Consul cannot ask for the health of memory:7: use `.ttl(..)`";
        assert_eq!(error.to_string(), told);
    }
}
