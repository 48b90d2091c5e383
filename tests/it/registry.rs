//! A registry of services, real or ours, for the tests that have to hold for both.

use crate::consul_agent::{ROOT_TOKEN, RealConsul};
use crate::support::within;
use rpcplugin_testkit::mock::{ConsulFault, InjectedConsulFault, ServiceInstance};
use rpcplugin_testkit::{Address, Consul, MockConsul, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) enum Registry {
    Mock {
        consul: MockConsul,
        stalled: Option<InjectedConsulFault>,
    },
    Real(RealConsul),
}

/// What an agent has answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: u16,
    pub(crate) body: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("it is JSON")
    }
}

impl Registry {
    pub(crate) async fn mock() -> Self {
        Self::Mock {
            consul: MockConsul::start().await,
            stalled: None,
        }
    }

    pub(crate) async fn real() -> Self {
        Self::Real(RealConsul::start().await)
    }

    /// One that lets nobody see anything without a token.
    pub(crate) async fn real_with_tokens() -> Self {
        Self::Real(RealConsul::start_with_tokens().await)
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Mock { consul, .. } => consul.url(),
            Self::Real(agent) => agent.url(),
        }
    }

    pub(crate) fn consul(&self) -> Consul {
        Consul::new(self.url())
    }

    /// Dies, and is started again later.
    pub(crate) async fn kill(&mut self) {
        match self {
            Self::Mock { consul, .. } => consul.kill().await,
            Self::Real(agent) => agent.kill(),
        }
    }

    /// Comes back, and has forgotten everything.
    pub(crate) async fn restart(&mut self) {
        match self {
            Self::Mock { consul, .. } => {
                consul.forget();
                consul.restart().await;
            }
            Self::Real(agent) => assert!(agent.run().await, "its ports are free"),
        }
    }

    /// Says nothing from now on.
    pub(crate) fn stall(&mut self) {
        match self {
            Self::Mock { consul, stalled } => *stalled = Some(consul.inject(ConsulFault::stall())),
            Self::Real(agent) => agent.signal("STOP"),
        }
    }

    /// Goes on where it stopped.
    pub(crate) fn resume(&mut self) {
        match self {
            Self::Mock { stalled, .. } => stalled.take().expect("it stalls").remove(),
            Self::Real(agent) => agent.signal("CONT"),
        }
    }

    /// Changes so much that its index is far beyond that of an agent that has just been started.
    pub(crate) async fn raise_index(&self) {
        if let Self::Mock { consul, .. } = self {
            return consul.set_index(1000);
        }
        for n in 0..40 {
            self.put(&format!("/v1/kv/{n}"), "x").await;
        }
    }

    /// Asks it something by plain HTTP, without the crate.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Said {
        ask(&self.url(), method, path, body).await
    }

    /// Registers so many instances: `127.1.0.0`, `127.1.0.1` and so on.
    pub(crate) async fn register_crowd(&self, service: &str, count: usize, port: u16) {
        let address = |n| format!("127.1.{}.{}", n / 256, n % 256);
        if let Self::Mock { consul, .. } = self {
            let instance = |n| {
                let address = Address::tcp(address(n), port);
                ServiceInstance::new(service, address).id(crowd_id(n))
            };
            return consul.register_all((0..count).map(instance));
        }
        let node = json!({"Node": "crowd", "Address": "127.0.0.1"});
        self.transact(&[json!({"Node": {"Verb": "set", "Node": node}})])
            .await;
        let instances: Vec<_> = (0..count)
            .map(|n| {
                let service = json!({
                    "ID": crowd_id(n), "Service": service, "Address": address(n), "Port": port,
                });
                json!({"Service": {"Verb": "set", "Node": "crowd", "Service": service}})
            })
            .collect();
        // As many operations as Consul takes at once.
        for some in instances.chunks(64) {
            self.transact(some).await;
        }
    }

    pub(crate) async fn deregister_of_crowd(&self, n: usize) {
        if let Self::Mock { consul, .. } = self {
            assert!(consul.deregister(&crowd_id(n)));
            return;
        }
        let gone = json!({"Node": "crowd", "ServiceID": crowd_id(n)});
        let path = "/v1/catalog/deregister";
        self.put(path, &gone.to_string()).await;
    }

    async fn transact(&self, operations: &[Value]) {
        self.put("/v1/txn", &Value::from(operations).to_string())
            .await;
    }

    /// [`ask`](Self::ask) that has to succeed.
    pub(crate) async fn put(&self, path: &str, body: &str) {
        let said = self.ask("PUT", path, body).await;
        assert_eq!(said.code, 200, "{path}: {said:?}");
    }
}

/// Asks an agent something by plain HTTP, without the crate.
pub(crate) async fn ask(url: &str, method: &str, path: &str, body: &str) -> Said {
    let address: Address = url.parse().expect("it is TCP");
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: consul\r\nX-Consul-Token: {ROOT_TOKEN}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let asking = async {
        let mut stream = TcpStream::connect(address.to_string()).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok::<_, std::io::Error>(said)
    };
    let said = within(asking).await.expect("the agent is up");
    let (head, body) = said.split_once("\r\n\r\n").expect("it is HTTP");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Said {
        code: code.expect("it has a code"),
        body: match head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            true => unchunked(body),
            false => body.to_owned(),
        },
    }
}

fn crowd_id(n: usize) -> String {
    format!("crowd-{n:05}")
}

fn unchunked(body: &str) -> String {
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, more)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        whole += &more[..size];
        rest = more[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}
