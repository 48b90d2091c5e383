//! A real Consul agent, for the tests that are judged by one (`TESTKIT_CONSUL` is its binary).

use crate::process::Running;
use crate::registry::ask;
use crate::support::within;
use rpcplugin_testkit::tls::IdentityFiles;
use rpcplugin_testkit::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::{env, fs, path::PathBuf};
use tempfile::TempDir;

/// An agent that is a cluster of its own and keeps everything in memory (`consul agent -dev`).
pub(crate) struct RealConsul {
    running: Option<Running>,
    directory: TempDir,
    http: u16,
    https: u16,
}

/// The token that may do everything, with an agent that asks for tokens.
pub(crate) const ROOT_TOKEN: &str = "root-of-the-test";

impl RealConsul {
    /// One that asks nobody for a token.
    pub(crate) async fn start() -> Self {
        Self::start_with(json!({})).await
    }

    /// One that lets nobody see anything without a token.
    pub(crate) async fn start_with_tokens() -> Self {
        let tokens = json!({"master": ROOT_TOKEN, "agent": ROOT_TOKEN});
        Self::start_with(json!({
            "acl": {"enabled": true, "default_policy": "deny", "tokens": tokens},
        }))
        .await
    }

    /// One that speaks TLS beside the rest, and wants clients to have a certificate of this authority.
    pub(crate) async fn start_secured(files: &IdentityFiles) -> Self {
        Self::start_with(json!({
            "cert_file": files.cert(), "key_file": files.key(), "ca_file": files.ca(),
            "verify_incoming": true,
        }))
        .await
    }

    async fn start_with(more: Value) -> Self {
        // Somebody else may have got one of the ports before it did.
        for _ in 0..5 {
            let ports: [u16; 4] = free_ports();
            let directory = TempDir::new().expect("a directory");
            let socket = directory.path().join("http.sock");
            let is_secured = more.get("cert_file").is_some();
            let https = if is_secured { i32::from(ports[3]) } else { -1 };
            let mut config = json!({
                "bind_addr": "127.0.0.1",
                "disable_update_check": true,
                "addresses": {"http": format!("127.0.0.1 unix://{}", socket.display())},
                "ports": {
                    "http": ports[0], "server": ports[1], "serf_lan": ports[2],
                    "https": https, "serf_wan": -1, "dns": -1, "grpc": -1,
                },
                "limits": {"http_max_conns_per_client": 10_000},
            });
            let config = {
                let map = config.as_object_mut().expect("it is one");
                map.extend(more.as_object().expect("it is one").clone());
                config.to_string()
            };
            fs::write(directory.path().join("agent.json"), config).expect("it is written");
            let mut agent = Self {
                running: None,
                directory,
                http: ports[0],
                https: ports[3],
            };
            if agent.run().await {
                return agent;
            }
        }
        panic!("no agent could be started, for ports that were free a moment ago");
    }

    /// Starts it; again, if it ran before: it has forgotten everything.
    pub(crate) async fn run(&mut self) -> bool {
        let binary = env::var("TESTKIT_CONSUL").expect("TESTKIT_CONSUL is the binary of Consul");
        let mut command = Command::new(binary);
        command
            .args(["agent", "-dev", "-config-file"])
            .arg(self.directory.path().join("agent.json"))
            .env_remove("CONSUL_HTTP_ADDR")
            .env_remove("CONSUL_HTTP_TOKEN");
        let mut running = Running::start(&mut command);
        let is_ready = |line: &str| {
            // Its own node is in its catalog, which takes a leader.
            line.contains("Synced node info") || line.contains("==> Error starting agent")
        };
        let said = running.until(is_ready).await;
        self.running = Some(running);
        if said.contains("==> Error starting agent") {
            return false;
        }
        // Its leader looks at its own health a moment later, which nothing tells.
        let is_there = async {
            let url = self.url();
            while !ask(&url, "GET", "/v1/health/state/passing", "")
                .await
                .body
                .contains("serfHealth")
            {
                tokio::task::yield_now().await;
            }
        };
        within(is_there).await;
        true
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let running = self.running.as_ref().expect("it runs");
        let id = running.id().to_string();
        let mut kill = Command::new("kill");
        let sent = kill.arg(format!("-{name}")).arg(id).status();
        assert!(sent.expect("there is a `kill`").success());
    }

    /// The socket that it listens at beside its port.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("http.sock")
    }

    /// Where it speaks TLS.
    pub(crate) fn https(&self) -> String {
        format!("https://127.0.0.1:{}", self.https)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }
}

/// Ports that nobody listens at, a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there are ports")
    });
    listeners.map(|listener| listener.local_addr().expect("it listens").port())
}
