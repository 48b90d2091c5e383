//! Every failure of an agent, and what a client makes of it: it goes on with what it knew, tells, and follows again.

use crate::client_probe::{answering_cluster, eventually, get, passing};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::ClientEvent;
use rpcplugin_testkit::mock::{ConsulFault, ServiceInstance};
use rpcplugin_testkit::{Client, MockCluster, MockConsul};
use std::{error::Error as _, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);

/// An agent that knows the first of two servers.
async fn known() -> (MockConsul, MockCluster) {
    let registry = MockConsul::memory().await;
    let cluster = answering_cluster(2).await;
    registry.register(ServiceInstance::new("kv", cluster[0].address()).id("a"));
    (registry, cluster)
}

/// Each failure, and how the client tells it; nothing for one that is no failure.
fn failures() -> Vec<(ConsulFault, &'static str)> {
    vec![
        (
            ConsulFault::status(500, "No cluster leader"),
            "answered GET /v1/health/service/kv with 500: No cluster leader",
        ),
        (
            ConsulFault::status(403, "Permission denied"),
            "refuses GET /v1/health/service/kv: Permission denied",
        ),
        (
            ConsulFault::status(429, ""),
            "answered GET /v1/health/service/kv with 429: ",
        ),
        (
            ConsulFault::garbage("<html>a gate</html>"),
            "answered with something else than the instances of `kv`: expected value at line 1 column 1",
        ),
        (
            ConsulFault::garbage("{}"),
            "answered with something else than the instances of `kv`: invalid type: map, expected a sequence at line 1 column 0",
        ),
        (ConsulFault::cut(), "cannot be asked: "),
        (
            ConsulFault::stall(),
            "has not answered GET /v1/health/service/kv within ",
        ),
        (ConsulFault::slow(5 * SECOND), ""),
        (ConsulFault::index(0), ""),
        (ConsulFault::index(3), ""),
        (ConsulFault::empty(), ""),
    ]
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_the_client_goes_on_tells_it_and_follows_again() {
    for (fault, told) in failures() {
        let name = format!("{fault:?}");
        let (registry, cluster) = known().await;
        let service = registry.agent().service("kv").seed(7);
        let client = within(Client::builder().discover(service).connect())
            .await
            .expect(&name);
        registry.wait_for_waiting(1).await;
        let mut events = client.events();
        let injected = registry.inject(fault);
        registry.wake();
        injected.wait_for_hits(1).await;
        for _ in 0..3 {
            get(&client).await.expect(&name);
        }
        if !told.is_empty() {
            let is_one = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
            // A stall is noticed when the wait is over.
            let failed = async {
                loop {
                    passing(60 * SECOND).await;
                    if client
                        .stats()
                        .discovery
                        .is_some_and(|stats| stats.failures > 0)
                    {
                        return events.wait_for(is_one).await;
                    }
                }
            };
            let Some(ClientEvent::DiscoveryFailed(error)) = failed.await else {
                unreachable!("it was looked for");
            };
            let mut chain = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                chain = format!("{chain}: {error}");
                cause = error.source();
            }
            let expected = format!("Consul at {} {told}", registry.address());
            assert!(
                chain.starts_with(&expected),
                "{name}: {chain}\nis not\n{expected}"
            );
            get(&client).await.expect(&name);
        }
        injected.remove();
        registry.register(ServiceInstance::new("kv", cluster[1].address()).id("b"));
        passing(60 * SECOND).await;
        eventually(|| client.endpoints().len() == 2).await;
        get(&client).await.expect(&name);
        let stats = client.stats().discovery.expect("it is discovered");
        assert_eq!(stats.failing, None, "{name}");
        assert_eq!(stats.failures > 0, !told.is_empty(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn connect_fails_with_the_failure_of_the_agent() {
    for (fault, told) in failures() {
        let name = format!("{fault:?}");
        let (registry, _cluster) = known().await;
        registry.inject(fault);
        let connected = within(registry.agent().connect_to("kv")).await;
        match (told, connected) {
            ("", connected) if name.contains("Empty") => {
                let error = connected.expect_err(&name).to_string();
                let at = registry.address();
                let expected =
                    format!("the client has no endpoints: service `kv` of Consul at {at} has none");
                assert_eq!(error, expected);
            }
            ("", connected) => drop(connected.expect(&name)),
            (told, connected) => {
                let error = connected.expect_err(&name);
                assert_eq!(error.to_string(), "the client has no endpoints", "{name}");
                let cause = error.source().expect("it has one").to_string();
                let at = format!("Consul at {}", registry.address());
                let first = told.split(": ").next().unwrap_or_default();
                assert!(
                    cause.starts_with(&format!("{at} {first}")),
                    "{name}: {cause}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_fails_is_asked_as_often_as_the_backoff_says() {
    let (registry, _cluster) = known().await;
    let service = registry.agent().service("kv").seed(7);
    let client = within(Client::builder().discover(service).connect())
        .await
        .unwrap();
    registry.wait_for_waiting(1).await;
    let fault = registry.inject(ConsulFault::status(500, ""));
    registry.wake();
    passing(600 * SECOND).await;
    // 1, 1.6, 2.6 … 30 s, plus or minus a fifth.
    let asked = fault.hits();
    assert!((20..=30).contains(&asked), "{asked} times in ten minutes");
    let requests = registry.requests();
    let waits: Vec<_> = requests
        .windows(2)
        .map(|two| (two[1].at - two[0].at).as_secs_f64())
        .collect();
    assert!(waits[3..].iter().all(|wait| *wait <= 36.0), "{waits:?}");
    // None of them waits for a change.
    assert!(
        requests[3..]
            .iter()
            .all(|one| one.parameter("index").is_none())
    );
    assert!(client.stats().discovery.unwrap().failing.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_index_of_zero_is_no_busy_loop() {
    let (registry, _cluster) = known().await;
    registry.inject(ConsulFault::index(0));
    let service = registry.agent().service("kv").seed(7);
    let _client = within(Client::builder().discover(service).connect())
        .await
        .unwrap();
    passing(60 * SECOND).await;
    let asked = registry.requests().len();
    assert!(asked <= 63, "{asked} requests in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_fault_has_its_path_its_times_and_its_scope() {
    let (registry, _cluster) = known().await;
    let service = registry.agent().service("kv");
    let elsewhere = registry.inject(ConsulFault::status(500, "").path("/v1/agent"));
    let once = registry.inject(ConsulFault::status(500, "once").times(1));
    assert!(service.endpoints().await.is_err());
    assert!(service.endpoints().await.is_ok());
    assert_eq!((once.hits(), elsewhere.hits()), (1, 0));
    {
        let scoped = registry.inject_scoped(ConsulFault::status(500, "scoped"));
        assert!(service.endpoints().await.is_err());
        assert_eq!(scoped.hits(), 1);
    }
    assert!(service.endpoints().await.is_ok());
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "Stall struck 0 requests of 1 within 10s at tests/it/mock_consul_faults.rs:"
)]
async fn a_hit_that_does_not_come_is_told() {
    let registry = MockConsul::memory().await;
    registry.inject(ConsulFault::stall()).wait_for_hits(1).await;
}

/// What an agent says to bytes, and whether it then says good-bye.
async fn say(registry: &MockConsul, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(registry.address().to_string())
        .await
        .expect("it is up");
    // It may not read all of it.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn bad_input_ends_its_own_connection_and_nothing_else() {
    let registry = MockConsul::start().await;
    let put = |body: &str| {
        format!(
            "PUT /v1/agent/service/register HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let huge = put(&"x".repeat(600 << 10));
    let table = [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        ("\u{0}\u{1}\u{2}garbage\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET /v1/health/service/kv".to_owned(), ""),
        ("GET /v1/health/service/%ff%zz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 200"),
        ("GET /v1/health/service/kv?filter=%22 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET /v1/health/service/kv?index=99999999999999999999 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("GET /v1/health/service/kv?index=1&wait=99999999999999999999h HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 "),
        ("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "HTTP/1.1 404"),
        (put("{\"Name\": \"x\", \"Check\": {\"TTL\": \"9999999999h\"}}"), "HTTP/1.1 "),
        (put("[1, 2]"), "HTTP/1.1 400"),
        (huge, "HTTP/1.1 413"),
    ];
    for (bytes, expected) in table {
        let said = within(say(&registry, bytes.as_bytes())).await;
        let shown: String = bytes.chars().take(80).collect();
        assert!(said.starts_with(expected), "{shown}: {said}");
        assert!(
            registry.agent().service("consul").endpoints().await.is_ok(),
            "{shown}"
        );
    }
}
