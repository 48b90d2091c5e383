//! The health of endpoints, watched over sockets: who is not serving gets no calls.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{
    Backoff, ClientBuilder, ClientEvent, Events, Health, HealthPolicy,
};
use rpcplugin_testkit::{
    Address, Client, Code, ConnectionState, Fault, MockCluster, ServingStatus, Status, Strategy,
    Stub, json,
};
use std::time::Duration;

const WATCH: &str = "grpc.health.v1.Health/Watch";
const CHECK: &str = "grpc.health.v1.Health/Check";
const SOCKETS: [Transport; 2] = [Transport::Tcp, Transport::Unix];

async fn start(transport: Transport) -> MockCluster {
    let cluster = transport.builder().start_cluster(3).await;
    cluster.mount(Stub::method("Process").reply(json!({})).times(0..));
    cluster
}

fn builder(cluster: &MockCluster, policy: HealthPolicy) -> ClientBuilder {
    let quick = Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(20),
        ..Backoff::default()
    };
    Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin)
        .backoff(quick)
        .health(policy)
}

/// Waits until the endpoint has this health, and gives the reason.
async fn becomes(events: &mut Events, at: &Address, wanted: Health) -> String {
    let is_it = |event: &ClientEvent| {
        matches!(event, ClientEvent::HealthChanged { address, health, .. }
            if address == at && *health == wanted)
    };
    match within(events.wait_for(is_it)).await {
        Some(ClientEvent::HealthChanged { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// A client all of whose endpoints are serving.
async fn connected(builder: ClientBuilder) -> (Client, Events) {
    let client = builder.connect_lazy().expect("a client");
    let mut events = client.events();
    all_are(&client, &mut events, Health::Serving).await;
    (client, events)
}

async fn all_are(client: &Client, events: &mut Events, health: Health) {
    let is_other = || {
        client
            .stats()
            .endpoints
            .iter()
            .any(|one| one.health != health)
    };
    while is_other() {
        within(events.next()).await.expect("the client is there");
    }
}

/// How many of thirty calls each server gets.
async fn spread(client: &Client, cluster: &MockCluster) -> Vec<usize> {
    let before = cluster.counts_to("Process");
    for _ in 0..30 {
        let call = client.call("Process", json!({}));
        within(call.into_future()).await.expect("it is served");
    }
    let after = cluster.counts_to("Process");
    after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[tokio::test]
async fn who_says_that_it_is_not_serving_gets_no_calls_until_it_is() {
    for transport in SOCKETS {
        for service in ["", "plugin"] {
            let cluster = start(transport).await;
            for server in &cluster {
                server.set_health("plugin", ServingStatus::Serving);
                // What was not asked for does not matter.
                let other = if service.is_empty() { "plugin" } else { "" };
                server.set_health(other, ServingStatus::NotServing);
            }
            let policy = HealthPolicy::new().service(service);
            let (client, mut events) = connected(builder(&cluster, policy)).await;
            assert_eq!(spread(&client, &cluster).await, [10, 10, 10]);

            let address = cluster[1].address();
            for status in [ServingStatus::NotServing, ServingStatus::Unknown] {
                cluster[1].set_health(service, status);
                let why = becomes(&mut events, address, Health::NotServing).await;
                let text = match status {
                    ServingStatus::NotServing => "its health service says NOT_SERVING",
                    _ => "its health service says UNKNOWN",
                };
                assert_eq!(why, text);
                assert_eq!(spread(&client, &cluster).await, [15, 0, 15]);
                let stats = &client.stats().endpoints[1];
                assert_eq!(stats.health, Health::NotServing);
                assert_eq!(stats.state, ConnectionState::TransientFailure);
                // It keeps its connection.
                assert_eq!((cluster[1].connections(), stats.counts.lost), (1, 0));
                cluster[1].set_health(service, ServingStatus::Serving);
                let why = becomes(&mut events, address, Health::Serving).await;
                assert_eq!(why, "its health service says SERVING");
                assert_eq!(spread(&client, &cluster).await, [10, 10, 10]);
            }
            for server in &cluster {
                let watches = server.calls_to(WATCH);
                assert_eq!(watches, [("Health.Watch", json!(asked(service)))]);
                assert_eq!(watches[0].timeout(), None);
                assert!(server.calls_to(CHECK).is_empty());
            }
        }
    }
}

fn asked(service: &str) -> rpcplugin_testkit::Value {
    match service {
        "" => json!({}),
        service => json!({"service": service}),
    }
}

#[tokio::test]
async fn a_call_in_flight_on_one_that_stops_serving_finishes() {
    let cluster = start(Transport::Tcp).await;
    let (held, gate) = rpcplugin_testkit::Reply::gate(json!({"ok": true}));
    cluster.mount(Stub::method("Slow").reply(held));
    let (client, mut events) = connected(builder(&cluster, HealthPolicy::new())).await;
    let slow = tokio::spawn(client.call("Slow", json!({})).into_future());
    within(gate.arrived(1)).await;
    for server in &cluster {
        server.set_health("", ServingStatus::NotServing);
    }
    all_are(&client, &mut events, Health::NotServing).await;
    let error = within(client.call("Process", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    let text = error.to_string();
    let lines: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(lines.len(), 3, "{text}");
    for (line, server) in lines.iter().zip(&cluster) {
        let why = format!(
            "  {}: its health service says NOT_SERVING (",
            server.address()
        );
        assert!(line.starts_with(&why) && line.ends_with(" ago)"), "{text}");
    }
    gate.open();
    assert_eq!(within(slow).await.unwrap().unwrap(), json!({"ok": true}));
    cluster[2].set_health("", ServingStatus::Serving);
    becomes(&mut events, cluster[2].address(), Health::Serving).await;
    assert_eq!(spread(&client, &cluster).await, [0, 0, 30]);
}

fn unimplemented(method: &str) -> Fault {
    Fault::status(Status::unimplemented("no such method")).method(method)
}

fn polling() -> HealthPolicy {
    HealthPolicy::new()
        .service("plugin")
        .interval(Duration::from_millis(2))
}

#[tokio::test]
async fn a_server_without_watch_is_polled() {
    for transport in SOCKETS {
        let cluster = start(transport).await;
        for server in &cluster {
            server.set_health("plugin", ServingStatus::Serving);
        }
        cluster.inject(unimplemented(WATCH));
        let (client, mut events) = connected(builder(&cluster, polling())).await;
        assert_eq!(spread(&client, &cluster).await, [10, 10, 10]);
        let address = cluster[0].address();
        cluster[0].set_health("plugin", ServingStatus::NotServing);
        let why = becomes(&mut events, address, Health::NotServing).await;
        assert_eq!(why, "its health service says NOT_SERVING");
        assert_eq!(spread(&client, &cluster).await, [0, 15, 15]);
        // It is asked on.
        let polls = cluster[0].calls_to(CHECK).len();
        within(cluster[0].wait_until(move |all| all.to(CHECK).len() > polls + 2)).await;
        cluster[0].set_health("plugin", ServingStatus::Serving);
        becomes(&mut events, address, Health::Serving).await;
        assert_eq!(spread(&client, &cluster).await, [10, 10, 10]);
        for server in &cluster {
            assert_eq!(server.calls_to(WATCH).len(), 1);
            for check in server.calls_to(CHECK) {
                assert_eq!(check.request(), json!({"service": "plugin"}));
                assert!(check.timeout().unwrap() <= Duration::from_secs(3));
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_serves_neither_counts_as_serving() {
    for transport in SOCKETS {
        let cluster = start(transport).await;
        cluster.inject(unimplemented(WATCH));
        cluster.inject(unimplemented(CHECK));
        let (client, _) = connected(builder(&cluster, polling())).await;
        assert_eq!(spread(&client, &cluster).await, [10, 10, 10]);
        assert_eq!(cluster.counts_to(CHECK), [1, 1, 1]);
    }
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_not_serving_until_it_does() {
    for transport in SOCKETS {
        for method in ["Watch", "Check"] {
            let cluster = start(transport).await;
            for server in &cluster {
                server.set_health("plugin", ServingStatus::Serving);
            }
            let name = format!("grpc.health.v1.Health/{method}");
            if method == "Check" {
                cluster.inject(unimplemented(WATCH));
            }
            let hold = cluster[2].inject(Fault::hold().method(&name));
            let policy = polling().timeout(Duration::from_millis(40));
            let client = builder(&cluster, policy).connect_lazy().unwrap();
            let mut events = client.events();
            let why = becomes(&mut events, cluster[2].address(), Health::NotServing).await;
            assert_eq!(why, format!("no answer to Health/{method} within 40ms"));
            assert_eq!(client.stats().endpoints[2].health, Health::NotServing);
            hold.remove();
            becomes(&mut events, cluster[2].address(), Health::Serving).await;
        }
    }
}
