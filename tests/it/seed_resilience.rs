//! "Load Balancing", "Health Monitoring" and "Best Practices" of pyvider's guide to direct connections, in Rust: its classes
//! with their methods, and none of their faults (those stand in `client_faults.rs`).

use crate::client_probe::connected;
use crate::faults_probe::{alone, until};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{
    Backoff, ClientBuilder, ClientEvent, ClientStats, Health, HealthPolicy, RetryPolicy,
};
use rpcplugin_testkit::{
    Address, Client, ConnectionState, Endpoint, Error, Fault, MockCluster, MockServer, Pool,
    ServingStatus, Strategy, Stub, Value, json,
};
use std::time::Duration;

/// The waits of the defaults are for servers that are far.
fn quick() -> Backoff {
    Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(20),
        ..Backoff::default()
    }
}

/// "Load Balancing": a client with load balancing across servers.
struct LoadBalancedClient {
    client: Client,
}

impl LoadBalancedClient {
    /// `connect_all` is part of it. It waits for the first server, and the others follow. What was an argument of
    /// `select_client` is a setting, and a name that means nothing is an error.
    async fn new(endpoints: &[(Address, Option<u32>)], strategy: &str) -> Result<Self, Error> {
        let endpoints = endpoints.iter().map(|(address, weight)| {
            let endpoint = Endpoint::from(address.clone());
            endpoint.weight(weight.unwrap_or(1))
        });
        let builder = Client::builder()
            .endpoints(endpoints)
            .strategy(strategy.parse()?)
            .backoff(quick());
        Ok(Self {
            client: builder.connect().await?,
        })
    }

    /// What fails on one server is made on another, if it may be.
    async fn call(&self, method: &str, arguments: Value) -> Result<Value, Error> {
        self.client.call(method, arguments).idempotent().await
    }

    async fn close_all(&self) {
        self.client.close().await;
    }
}

/// Three servers that answer `Process`, and their weights.
async fn three(transport: Transport) -> (MockCluster, Vec<(Address, Option<u32>)>) {
    let cluster = transport.builder().start_cluster(3).await;
    let request = json!({"request": "data"});
    cluster.mount(
        Stub::method("Process")
            .when(request)
            .reply(json!({"done": true})),
    );
    let weights = [Some(3), Some(2), None];
    let endpoints = cluster.addresses().into_iter().zip(weights).collect();
    (cluster, endpoints)
}

async fn process(client: &LoadBalancedClient) -> Value {
    let call = client.call("Process", json!({"request": "data"}));
    within(call).await.expect("a server that answers")
}

async fn all_ready(client: &Client) {
    until(|| {
        let endpoints = client.stats().endpoints;
        let mut states = endpoints.iter().map(|one| one.state);
        states.all(|state| state == ConnectionState::Ready)
    })
    .await;
}

#[tokio::test]
async fn load_balancing() {
    for transport in Transport::ALL {
        for strategy in ["weighted", "round_robin", "random"] {
            let (cluster, endpoints) = three(transport).await;
            let client = within(LoadBalancedClient::new(&endpoints, strategy)).await;
            let client = client.unwrap();
            all_ready(&client.client).await;
            assert_eq!(process(&client).await, json!({"done": true}));
            let before = cluster.counts();
            for _ in 0..60 {
                process(&client).await;
            }
            let after = cluster.counts();
            let counts: Vec<_> = (0..3).map(|at| after[at] - before[at]).collect();
            match strategy {
                "weighted" => assert_eq!(counts, [30, 20, 10]),
                "round_robin" => assert_eq!(counts, [20, 20, 20]),
                _ => assert_eq!(counts.iter().sum::<usize>(), 60),
            }

            // A server that goes away costs no call, and one that comes back has its share.
            let mut events = client.client.events();
            cluster[1].kill().await;
            for _ in 0..60 {
                process(&client).await;
            }
            cluster[1].restart().await;
            connected(&mut events, cluster[1].address()).await;
            let before = cluster.counts()[1];
            for _ in 0..60 {
                process(&client).await;
            }
            assert!(cluster.counts()[1] > before, "{transport:?} {strategy}");

            within(client.close_all()).await;
            for server in &cluster {
                alone(server).await;
            }
            let closed = client.call("Process", json!({})).await;
            assert!(closed.unwrap_err().is_closed());
        }
    }
}

#[tokio::test]
async fn load_balancing_by_a_strategy_that_does_not_exist() {
    let (_cluster, endpoints) = three(Transport::Memory).await;
    let error = LoadBalancedClient::new(&endpoints, "least_loaded").await;
    assert_eq!(
        error.err().unwrap().to_string(),
        "`least_loaded` is no strategy, expected `first`, `least_request`, `random`, `round_robin` or `weighted`"
    );
}

/// "Health Monitoring": a client with health monitoring. There is no `ensure_connected` and no `reconnect`: it is connected,
/// and asks, all the time, so that a call neither waits for a check nor believes one of 30 s ago.
struct HealthMonitoringClient {
    client: Client,
}

impl HealthMonitoringClient {
    async fn new(address: &Address) -> Result<Self, Error> {
        let policy = HealthPolicy::new().interval(Duration::from_secs(30));
        let builder = Client::builder().address(address).backoff(quick());
        Ok(Self {
            client: builder.health(policy).connect().await?,
        })
    }

    fn healthy(&self) -> bool {
        self.client.stats().endpoints[0].health == Health::Serving
    }

    async fn health_check(&self) -> Result<(), Error> {
        self.client.health_check().await
    }

    async fn call(&self, method: &str, arguments: Value) -> Result<Value, Error> {
        self.client.call(method, arguments).await
    }
}

#[tokio::test]
async fn health_monitoring() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        server.mount(Stub::method("Process").reply(json!({"done": true})));
        let client = within(HealthMonitoringClient::new(server.address())).await;
        let client = client.unwrap();
        let call = || within(client.call("Process", json!({})));
        assert!(client.healthy());
        client.health_check().await.unwrap();
        assert_eq!(call().await.unwrap(), json!({"done": true}));

        server.set_health("", ServingStatus::NotServing);
        until(|| !client.healthy()).await;
        let text = call().await.unwrap_err().to_string();
        let expected = format!(
            "/rpcplugin.v1.Plugin/Call cannot be called: no endpoint takes calls:\n  {}: its health service says NOT_SERVING (",
            server.address()
        );
        assert!(text.starts_with(&expected), "{text}");
        client.health_check().await.unwrap_err();
        assert_eq!(server.calls().len(), 1, "it is not called");
        server.set_health("", ServingStatus::Serving);
        until(|| client.healthy()).await;
        call().await.unwrap();

        // It reconnects by itself, and asks anew.
        let mut events = client.client.events();
        server.kill().await;
        until(|| !client.healthy()).await;
        assert!(call().await.unwrap_err().is_connect());
        server.restart().await;
        connected(&mut events, server.address()).await;
        until(|| client.healthy()).await;
        call().await.unwrap();
        assert_eq!(server.connections(), 1);
    }
}

/// "Best Practices", 2 to 5 and 7, in one client.
fn practised(cluster: &MockCluster) -> ClientBuilder {
    let retry = RetryPolicy::default();
    let backoff = Backoff {
        multiplier: 2.0,
        ..quick()
    };
    Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin)
        .health(HealthPolicy::new())
        .retry(retry.backoff(backoff))
        .idempotent("Get")
        .tls(cluster[0].client_tls().expect("it speaks TLS"))
        .backoff(quick())
}

/// Servers that speak mutual TLS and answer `Get`.
async fn secure(transport: Transport) -> MockCluster {
    let cluster = transport.secured(true).start_cluster(3).await;
    cluster.mount(Stub::method("Get").reply(json!({"value": 1})).times(0..));
    cluster
}

async fn get(client: &Client) -> Value {
    let call = client.call("Get", json!({})).into_future();
    within(call).await.expect("a server that answers")
}

/// 1: always use connection pools for production. 5: use mTLS for secure connections.
#[tokio::test]
async fn a_pool_of_secure_connections() {
    for transport in Transport::ALL {
        let server: MockServer = transport.secured(true).start().await;
        server.mount(Stub::method("Get").reply(json!({"value": 1})).times(20));
        let client = Client::builder().tls(server.client_tls().unwrap());
        let pool = Pool::builder(server.address()).client(client).size(3);
        let pool = within(pool.connect()).await.unwrap();
        assert_eq!(server.connections(), 3);
        for _ in 0..20 {
            let lease = within(pool.acquire()).await.unwrap();
            assert_eq!(get(&lease).await, json!({"value": 1}));
        }
        let calls = server.calls();
        assert!(calls.iter().all(|call| call.client_certificate().is_some()));
        assert_eq!(pool.stats().created, 3);
        within(pool.close()).await;
        alone(&server).await;
    }
}

/// 2: implement regular health monitoring. 3: add retry with exponential backoff for resilience. 4: distribute load across
/// multiple servers. 5: use mTLS for secure connections.
#[tokio::test]
async fn health_retries_and_balancing_over_mutual_tls() {
    for transport in Transport::ALL {
        let cluster = secure(transport).await;
        let client = within(practised(&cluster).connect()).await.unwrap();
        all_ready(&client).await;
        get(&client).await;
        let before = cluster.counts();
        for _ in 0..30 {
            get(&client).await;
        }
        let after = cluster.counts();
        let counts: Vec<_> = (0..3).map(|at| after[at] - before[at]).collect();
        assert_eq!(counts, [10, 10, 10]);
        let calls = cluster.calls();
        assert!(calls.iter().all(|call| call.client_certificate().is_some()));

        // One leaves by its health, one fails its next calls, and no caller notices.
        let mut events = client.events();
        cluster[0].set_health("", ServingStatus::NotServing);
        let changed =
            events.wait_for(|event| matches!(event, ClientEvent::HealthChanged { health, .. } if *health == Health::NotServing));
        within(changed).await.unwrap();
        let status = rpcplugin_testkit::Status::unavailable("full");
        let full = cluster[1].inject(Fault::status(status).method("Get").at_most(3));
        let before = cluster.counts();
        for _ in 0..30 {
            get(&client).await;
        }
        assert_eq!(cluster.counts()[0], before[0], "{transport:?}");
        assert_eq!((full.hits(), client.stats().retries), (3, 3));
    }
}

/// 6: integrate with service registries. Whoever watches one tells the client what it says.
#[tokio::test]
async fn servers_that_come_and_go() {
    for transport in Transport::ALL {
        let cluster = secure(transport).await;
        let addresses = cluster.addresses();
        let none: [&str; 0] = [];
        let builder = practised(&cluster).endpoints(none).wait_for_endpoints();
        let client = within(builder.connect()).await.unwrap();
        let early = tokio::spawn(client.call("Get", json!({})).into_future());
        client.set_endpoints(&addresses[..1]).unwrap();
        within(early).await.unwrap().unwrap();
        client.set_endpoints(&addresses[1..]).unwrap();
        all_ready(&client).await;
        for _ in 0..20 {
            get(&client).await;
        }
        assert_eq!(cluster.counts(), [1, 10, 10]);
        alone(&cluster[0]).await;
    }
}

/// 7: track connection metrics and performance.
#[tokio::test]
async fn what_is_seen_of_a_client() {
    for transport in Transport::ALL {
        let cluster = secure(transport).await;
        let client = within(practised(&cluster).connect()).await.unwrap();
        all_ready(&client).await;
        get(&client).await;
        let mut events = client.events();
        let before = client.stats();
        for _ in 0..30 {
            get(&client).await;
        }
        let after = client.stats();
        let succeeded = |stats: &ClientStats| -> Vec<u64> {
            let endpoints = stats.endpoints.iter();
            endpoints.map(|one| one.counts.succeeded).collect()
        };
        let grown: Vec<_> = succeeded(&after)
            .into_iter()
            .zip(succeeded(&before))
            .map(|(after, before)| after - before)
            .collect();
        assert_eq!((after.calls - before.calls, grown), (30, vec![10, 10, 10]));
        for one in &after.endpoints {
            let counts = one.counts;
            let told = (counts.connected, counts.lost, counts.failed, one.in_flight);
            assert_eq!(told, (1, 0, 0, 0), "{transport:?}");
        }
        cluster[2].kill().await;
        crate::client_probe::lost(&mut events, cluster[2].address()).await;
        assert_eq!(client.stats().endpoints[2].counts.lost, 1);
    }
}

/// 8: close connections properly.
#[tokio::test]
async fn graceful_shutdown() {
    for transport in Transport::ALL {
        let cluster = secure(transport).await;
        let client = within(practised(&cluster).connect()).await.unwrap();
        all_ready(&client).await;
        get(&client).await;
        let held = cluster.inject(Fault::hold().method("Get"));
        let call = tokio::spawn(client.call("Get", json!({})).into_future());
        within(held.hit()).await;
        let closing = tokio::spawn({
            let client = client.clone();
            async move { client.close().await }
        });
        until(|| *client.state().borrow() == ConnectionState::Shutdown).await;
        let late = within(client.call("Get", json!({})).into_future()).await;
        assert!(late.unwrap_err().is_closed());
        assert!(!closing.is_finished());
        held.open();
        assert_eq!(within(call).await.unwrap().unwrap(), json!({"value": 1}));
        within(closing).await.unwrap();
        for server in &cluster {
            alone(server).await;
        }
    }
}
