//! Services that are found in Consul, and followed there: the same for a real agent as for ours.

use crate::client_probe::{answering, eventually, get};
use crate::registry::Registry;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClientBuilder, ClientEvent, Events, RetryPolicy};
use rpcplugin_testkit::{
    Address, Client, Consul, Endpoint, Error, MockCluster, MockServer, Strategy, Stub, json,
};
use std::{collections::HashSet, time::Duration};

/// Makes each of these a test against a real agent, which is ignored where there is none.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod real {
            use crate::registry::Registry;

            $(
                #[tokio::test]
                #[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
                async fn $name() {
                    crate::consul::$name(Registry::real().await).await;
                }
            )*
        }
    };
}

both!(
    instances_are_found_with_all_that_is_known_of_them,
    a_client_follows_instances_as_they_come_and_go,
    an_instance_whose_check_fails_gets_no_calls_until_it_passes_again,
    those_that_warn_are_taken_by_their_own_weight,
    tags_and_filters_choose,
    nobody_is_told_as_such,
    what_an_agent_refuses_is_told,
    a_server_that_shuts_down_deregisters_and_one_that_is_killed_does_not,
    an_agent_that_dies_and_forgets_everything_costs_no_call,
    a_rolling_restart_costs_no_idempotent_call,
    ten_thousand_instances_in_one_answer,
    a_stalled_agent_costs_no_call_and_is_told,
);

fn builder(consul: &Consul, service: &str) -> ClientBuilder {
    Client::builder()
        .discover(
            consul
                .service(service)
                .at_most_every(Duration::from_millis(1)),
        )
        .strategy(Strategy::RoundRobin)
        .retry(RetryPolicy::default())
        .seed(7)
}

async fn connected(consul: &Consul, service: &str) -> (Client, Events) {
    let client = within(builder(consul, service).connect()).await;
    let client = client.expect("it connects");
    let events = client.events();
    (client, events)
}

async fn added(events: &mut Events, address: &Address) {
    let wanted = |event: &ClientEvent| matches!(event, ClientEvent::EndpointAdded(one) if one.address == *address);
    within(events.wait_for(wanted)).await.expect("a client");
}

async fn removed(events: &mut Events, address: &Address) {
    let wanted = |event: &ClientEvent| matches!(event, ClientEvent::EndpointRemoved(one) if one.address == *address);
    within(events.wait_for(wanted)).await.expect("a client");
}

async fn found(consul: &Consul, service: &str) -> HashSet<Address> {
    let endpoints = within(consul.service(service).endpoints()).await;
    let endpoints = endpoints.expect("the agent is up");
    endpoints.into_iter().map(|one| one.address).collect()
}

fn id(service: &str, address: &Address) -> String {
    format!("{service}-{}", address.to_string().replace([':', '/'], "-"))
}

async fn set_check(registry: &Registry, verb: &str, address: &Address) {
    let path = format!("/v1/agent/check/{verb}/service:{}", id("kv", address));
    registry.put(&path, "").await;
}

async fn instances_are_found_with_all_that_is_known_of_them(registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    let registering = cluster[0]
        .register(&consul, "kv")
        .weight(3)
        .tags(["v2", "a \"quoted\" one"]);
    registering.meta("zone", "eu").await.unwrap();
    cluster[1]
        .register(&consul, "kv")
        .id("the second")
        .no_check()
        .await
        .unwrap();
    let endpoints = consul.service("kv").endpoints().await.unwrap();
    let first = Endpoint::new(cluster[0].address()).unwrap().weight(3);
    let expected = [
        first.tags(["v2", "a \"quoted\" one"]),
        Endpoint::new(cluster[1].address()).unwrap(),
    ];
    assert_eq!(endpoints, expected);
}

async fn a_client_follows_instances_as_they_come_and_go(registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(3).await);
    let addresses = cluster.addresses();
    cluster[0].register(&consul, "kv").await.unwrap();
    let (client, mut events) = connected(&consul, "kv").await;
    get(&client).await.unwrap();

    cluster[1].register(&consul, "kv").await.unwrap();
    added(&mut events, &addresses[1]).await;
    cluster[2].register(&consul, "kv").await.unwrap();
    added(&mut events, &addresses[2]).await;
    cluster[0].deregister().await.unwrap();
    removed(&mut events, &addresses[0]).await;
    let before = cluster[0].calls().len();
    for _ in 0..10 {
        get(&client).await.unwrap();
    }
    assert_eq!(cluster[0].calls().len(), before);
    let told = client.stats().discovery.unwrap();
    assert_eq!((told.failures, told.failing), (0, None));
}

async fn an_instance_whose_check_fails_gets_no_calls_until_it_passes_again(registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    // Its own heartbeats are no part of this.
    let hour = Duration::from_secs(3600);
    for server in &cluster {
        server.register(&consul, "kv").ttl(hour).await.unwrap();
    }
    let (client, mut events) = connected(&consul, "kv").await;
    let first = cluster[0].address();
    set_check(&registry, "fail", first).await;
    removed(&mut events, first).await;
    assert_eq!(
        found(&consul, "kv").await,
        [cluster[1].address().clone()].into()
    );
    set_check(&registry, "pass", first).await;
    added(&mut events, first).await;
    // The last one that fails leaves the last good set in use, for a while.
    for server in &cluster {
        set_check(&registry, "fail", server.address()).await;
    }
    let is_empty = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryEmpty { .. });
    within(events.wait_for(is_empty)).await.unwrap();
    get(&client).await.unwrap();
}

async fn those_that_warn_are_taken_by_their_own_weight(registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(3).await);
    let hour = Duration::from_secs(3600);
    for server in &cluster {
        server
            .register(&consul, "kv")
            .ttl(hour)
            .weight(10)
            .await
            .unwrap();
    }
    set_check(&registry, "warn", cluster[0].address()).await;
    set_check(&registry, "fail", cluster[1].address()).await;
    let weights = async |service: rpcplugin_testkit::client::ConsulService| {
        let endpoints = within(service.endpoints()).await.unwrap();
        let mut weights: Vec<_> = endpoints.into_iter().map(|one| one.weight).collect();
        weights.sort_unstable();
        weights
    };
    assert_eq!(weights(consul.service("kv")).await, [10]);
    assert_eq!(weights(consul.service("kv").warning_too()).await, [1, 10]);
}

async fn tags_and_filters_choose(registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(3).await);
    let tags: [&[&str]; 3] = [&["v1"], &["v2", "odd \"one\""], &["v2"]];
    for (server, tags) in cluster.iter().zip(tags) {
        let zone = if tags.len() > 1 { "eu" } else { "us" };
        let registering = server.register(&consul, "kv").tags(tags.iter().copied());
        registering.meta("zone", zone).await.unwrap();
    }
    let kv = || consul.service("kv");
    let table = [
        (kv(), vec![0, 1, 2]),
        (kv().tag("v2"), vec![1, 2]),
        (kv().tag("odd \"one\""), vec![1]),
        (kv().tag("v3"), vec![]),
        (kv().filter("Service.Meta.zone == eu"), vec![1]),
        (kv().filter("Service.Meta.zone != eu").tag("v2"), vec![2]),
        (
            kv().filter("Service.Meta.zone == eu or \"v1\" in Service.Tags"),
            vec![0, 1],
        ),
        (
            kv().filter("not Service.Meta.zone == eu").near("_agent"),
            vec![0, 2],
        ),
    ];
    for (service, expected) in table {
        let told = format!("{service:?}");
        let endpoints = within(service.endpoints()).await.expect(&told);
        let addresses: HashSet<_> = endpoints.into_iter().map(|one| one.address).collect();
        let expected: HashSet<_> = expected
            .iter()
            .map(|n: &usize| cluster[*n].address().clone())
            .collect();
        assert_eq!(addresses, expected, "{told}");
    }
}

async fn nobody_is_told_as_such(registry: Registry) {
    let consul = registry.consul();
    assert_eq!(found(&consul, "kv").await, HashSet::new());
    let error = within(consul.connect_to("kv")).await.unwrap_err();
    let at = &registry.url()["http://".len()..];
    let told = format!("the client has no endpoints: service `kv` of Consul at {at} has none");
    assert_eq!(error.to_string(), told);
    // One that comes later is found by a client that waits.
    let waiting = builder(&consul, "kv").wait_for_endpoints();
    let client = within(waiting.connect()).await.unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { get(&client).await }
    });
    let cluster = answering(MockCluster::start(1).await);
    cluster[0].register(&consul, "kv").await.unwrap();
    within(call).await.unwrap().unwrap();
}

async fn what_an_agent_refuses_is_told(registry: Registry) {
    let consul = registry.consul();
    let at = &registry.url()["http://".len()..];
    let asked = "GET /v1/health/service/kv";
    let mistaken = consul.service("kv").filter("Service.Tags like x");
    let error: Error = within(mistaken.endpoints()).await.unwrap_err();
    // 400 with newer agents.
    let told = format!("Consul at {at} answered {asked} with ");
    assert!(error.to_string().starts_with(&told), "{error}");
    let why = ": Failed to create boolean expression evaluator: 1:14 (13): no match found";
    assert!(error.to_string().contains(why), "{error}");
    assert!(error.is_discovery() && !error.is_denied());
    let elsewhere = consul.clone().datacenter("atlantis");
    let error = within(elsewhere.service("kv").endpoints())
        .await
        .unwrap_err();
    let told = format!("Consul at {at} answered {asked} with 500: No path to datacenter");
    assert_eq!(error.to_string(), told);
    let error = within(builder(&elsewhere, "kv").connect())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the client has no endpoints");
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), told);
}

async fn a_server_that_shuts_down_deregisters_and_one_that_is_killed_does_not(registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    let [one, other] = [cluster[0].address().clone(), cluster[1].address().clone()];
    cluster[0]
        .register(&consul, "kv")
        .ttl(Duration::from_millis(400))
        .await
        .unwrap();
    cluster[1].register(&consul, "kv").await.unwrap();
    let (_client, mut events) = connected(&consul, "kv").await;

    cluster[1].shutdown(Duration::from_secs(10)).await;
    assert_eq!(found(&consul, "kv").await, [one.clone()].into());
    removed(&mut events, &other).await;
    cluster[1].restart().await;
    added(&mut events, &other).await;

    cluster[0].kill().await;
    // It is still registered, and its check fails when the time has passed.
    let services = registry.ask("GET", "/v1/agent/services", "").await.json();
    assert!(services.get(id("kv", &one)).is_some(), "{services}");
    removed(&mut events, &one).await;
    let services = registry.ask("GET", "/v1/agent/services", "").await.json();
    assert!(services.get(id("kv", &one)).is_some(), "{services}");
    cluster[0].restart().await;
    added(&mut events, &one).await;
    assert_eq!(found(&consul, "kv").await, [one, other].into());
}

async fn an_agent_that_dies_and_forgets_everything_costs_no_call(mut registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    for server in &cluster {
        let second = Duration::from_secs(1);
        server.register(&consul, "kv").ttl(second).await.unwrap();
    }
    // The agent's index is far beyond that of a new one.
    for n in 0..40 {
        registry.put(&format!("/v1/kv/{n}"), "x").await;
    }
    let backoff = Backoff {
        max: Duration::from_millis(50),
        ..Default::default()
    };
    let service = consul
        .service("kv")
        .at_most_every(Duration::from_millis(1))
        .backoff(backoff);
    let builder = Client::builder()
        .discover(service)
        .strategy(Strategy::RoundRobin);
    let client = within(builder.connect()).await.unwrap();
    let mut events = client.events();

    registry.kill().await;
    let error = failure(&mut events).await;
    let at = &registry.url()["http://".len()..];
    assert_eq!(error.to_string(), format!("Consul at {at} cannot be asked"));
    for _ in 0..10 {
        get(&client).await.unwrap();
    }
    registry.restart().await;
    // The servers notice that they are not known there any more, and register again.
    let mut expected: Vec<_> = cluster.addresses();
    expected.sort_by_key(ToString::to_string);
    let stats = || client.stats().discovery.unwrap();
    eventually(|| stats().failing.is_none()).await;
    within(async {
        while found(&consul, "kv").await.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..10 {
        get(&client).await.unwrap();
    }
    // It follows the new agent.
    cluster[0].deregister().await.unwrap();
    removed(&mut events, cluster[0].address()).await;
    get(&client).await.unwrap();
}

async fn a_rolling_restart_costs_no_idempotent_call(registry: Registry) {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(5).await);
    for server in &cluster {
        server.register(&consul, "kv").await.unwrap();
    }
    let (client, mut events) = connected(&consul, "kv").await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (client, stopped) = (client.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut made = 0;
                while !*stopped.borrow() {
                    let call = client.call("Get", json!({})).idempotent();
                    within(call.into_future()).await?;
                    made += 1;
                }
                Ok::<u64, Error>(made)
            })
        })
        .collect();
    for server in &cluster {
        server.shutdown(Duration::from_secs(10)).await;
        removed(&mut events, server.address()).await;
        server.restart().await;
        added(&mut events, server.address()).await;
    }
    stop.send_replace(true);
    let mut made = 0;
    for caller in callers {
        made += within(caller).await.unwrap().expect("no call fails");
    }
    assert!(made > 100, "{made} calls");
    assert_eq!(client.endpoints().len(), 5);
}

async fn ten_thousand_instances_in_one_answer(registry: Registry) {
    const ALL: usize = 10_000;
    let consul = registry.consul();
    // All of 127.0.0.0/8 is this machine: one server has ten thousand addresses.
    let server = MockServer::builder().address("0.0.0.0:0").start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let Address::Tcp { port, .. } = *server.address() else {
        unreachable!("it listens on TCP");
    };
    registry.register_crowd("kv", ALL, port).await;
    let endpoints = within(consul.service("kv").endpoints()).await.unwrap();
    assert_eq!(endpoints.len(), ALL);
    let builder = builder(&consul, "kv").strategy(Strategy::First);
    let client = within(builder.connect()).await.unwrap();
    assert_eq!(client.endpoints(), endpoints);
    let mut events = client.events();
    get(&client).await.unwrap();
    // One less, in an answer that is as large.
    registry.deregister_of_crowd(7).await;
    removed(&mut events, &Address::tcp("127.1.0.7", port)).await;
    get(&client).await.unwrap();
    assert_eq!(client.endpoints().len(), ALL - 1);
}

/// An agent that accepts and says nothing.
async fn a_stalled_agent_costs_no_call_and_is_told(mut registry: Registry) {
    let consul = registry.consul().timeout(Duration::from_millis(50));
    let cluster = answering(MockCluster::start(2).await);
    let hour = Duration::from_secs(3600);
    let registering = cluster.register(&registry.consul(), "kv").ttl(hour);
    registering.await.unwrap();
    let wait = Duration::from_millis(50);
    let at_once = Backoff {
        max: Duration::ZERO,
        ..Backoff::default()
    };
    let service = consul.service("kv").wait(wait).backoff(at_once);
    let builder = Client::builder()
        .discover(service)
        .strategy(Strategy::RoundRobin);
    let client = within(builder.connect()).await.unwrap();
    let mut events = client.events();
    registry.stall();
    let told = failure(&mut events).await.to_string();
    let at = &registry.url()["http://".len()..];
    let expected = format!("Consul at {at} has not answered GET /v1/health/service/kv within ");
    assert!(told.starts_with(&expected), "{told}");
    get(&client).await.unwrap();

    registry.resume();
    cluster[0].deregister().await.unwrap();
    removed(&mut events, cluster[0].address()).await;
    get(&client).await.unwrap();
    assert_eq!(client.stats().discovery.unwrap().failing, None);
}

async fn failure(events: &mut Events) -> Error {
    let is_one = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    match within(events.wait_for(is_one)).await {
        Some(ClientEvent::DiscoveryFailed(error)) => error,
        other => panic!("{other:?}"),
    }
}
