//! Services that are found in Consul, and followed there: the same for a real agent as for ours.

use crate::client_probe::{answering, get};
use crate::consul_probe::{added, both, builder, connected, found, id, removed, set_check};
use crate::registry::Registry;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, ConsulService};
use rpcplugin_testkit::{Endpoint, Error, MockCluster};
use std::{collections::HashSet, time::Duration};

both!(
    consul:
    instances_are_found_with_all_that_is_known_of_them,
    a_client_follows_instances_as_they_come_and_go,
    an_instance_whose_check_fails_gets_no_calls_until_it_passes_again,
    those_that_warn_are_taken_by_their_own_weight,
    tags_and_filters_choose,
    nobody_is_told_as_such,
    what_an_agent_refuses_is_told,
    a_server_that_shuts_down_deregisters_and_one_that_is_killed_does_not,
);

pub(crate) async fn instances_are_found_with_all_that_is_known_of_them(
    registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    let registering = cluster[0]
        .register(&consul, "kv")
        .weight(3)
        .tags(["v2", "a \"quoted\" one"]);
    registering.meta("zone", "eu").await?;
    cluster[1]
        .register(&consul, "kv")
        .id("the second")
        .no_check()
        .await?;
    let endpoints = consul.service("kv").endpoints().await?;
    let first = Endpoint::new(cluster[0].address())?.weight(3);
    let expected = [
        first.tags(["v2", "a \"quoted\" one"]),
        Endpoint::new(cluster[1].address())?,
    ];
    assert_eq!(endpoints, expected);
    Ok(())
}

pub(crate) async fn a_client_follows_instances_as_they_come_and_go(
    registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(3).await);
    let addresses = cluster.addresses();
    cluster[0].register(&consul, "kv").await?;
    let (client, mut events) = connected(&consul, "kv").await;
    get(&client).await?;

    cluster[1].register(&consul, "kv").await?;
    added(&mut events, &addresses[1]).await;
    cluster[2].register(&consul, "kv").await?;
    added(&mut events, &addresses[2]).await;
    cluster[0].deregister().await?;
    removed(&mut events, &addresses[0]).await;
    let before = cluster[0].calls().len();
    for _ in 0..10 {
        get(&client).await?;
    }
    assert_eq!(cluster[0].calls().len(), before);
    let told = client.stats().discovery.expect("it is discovered");
    assert_eq!((told.failures, told.failing), (0, None));
    Ok(())
}

pub(crate) async fn an_instance_whose_check_fails_gets_no_calls_until_it_passes_again(
    registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    // Its own heartbeats are no part of this.
    let hour = Duration::from_secs(3600);
    for server in &cluster {
        server.register(&consul, "kv").ttl(hour).await?;
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
    within(events.wait_for(is_empty)).await.expect("a client");
    get(&client).await?;
    Ok(())
}

pub(crate) async fn those_that_warn_are_taken_by_their_own_weight(
    registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(3).await);
    let hour = Duration::from_secs(3600);
    for server in &cluster {
        server.register(&consul, "kv").ttl(hour).weight(10).await?;
    }
    set_check(&registry, "warn", cluster[0].address()).await;
    set_check(&registry, "fail", cluster[1].address()).await;
    let weights = async |service: ConsulService| {
        let endpoints = within(service.endpoints()).await.expect("the agent is up");
        let mut weights: Vec<_> = endpoints.into_iter().map(|one| one.weight).collect();
        weights.sort_unstable();
        weights
    };
    assert_eq!(weights(consul.service("kv")).await, [10]);
    assert_eq!(weights(consul.service("kv").warning_too()).await, [1, 10]);
    Ok(())
}

pub(crate) async fn tags_and_filters_choose(registry: Registry) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(3).await);
    let tags: [&[&str]; 3] = [&["v1"], &["v2", "odd \"one\""], &["v2"]];
    for (server, tags) in cluster.iter().zip(tags) {
        let zone = if tags.len() > 1 { "eu" } else { "us" };
        let registering = server.register(&consul, "kv").tags(tags.iter().copied());
        registering.meta("zone", zone).await?;
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
    Ok(())
}

pub(crate) async fn nobody_is_told_as_such(registry: Registry) -> Result<(), Error> {
    let consul = registry.consul();
    assert_eq!(found(&consul, "kv").await, HashSet::new());
    let error = within(consul.connect_to("kv")).await.expect_err("it fails");
    let at = &registry.url()["http://".len()..];
    let told = format!("the client has no endpoints: service `kv` of Consul at {at} has none");
    assert_eq!(error.to_string(), told);
    // One that comes later is found by a client that waits.
    let waiting = builder(&consul, "kv").wait_for_endpoints();
    let client = within(waiting.connect()).await?;
    let call = tokio::spawn({
        let client = client.clone();
        async move { get(&client).await }
    });
    let cluster = answering(MockCluster::start(1).await);
    cluster[0].register(&consul, "kv").await?;
    within(call).await.expect("no panic")?;
    Ok(())
}

pub(crate) async fn what_an_agent_refuses_is_told(registry: Registry) -> Result<(), Error> {
    let consul = registry.consul();
    let at = &registry.url()["http://".len()..];
    let asked = "GET /v1/health/service/kv";
    let mistaken = consul.service("kv").filter("Service.Tags like x");
    let error: Error = within(mistaken.endpoints()).await.expect_err("it fails");
    // 400 with newer agents.
    let told = format!("Consul at {at} answered {asked} with ");
    assert!(error.to_string().starts_with(&told), "{error}");
    let why = ": Failed to create boolean expression evaluator: 1:14 (13): no match found";
    assert!(error.to_string().contains(why), "{error}");
    assert!(error.is_discovery() && !error.is_denied());
    let elsewhere = consul.clone().datacenter("atlantis");
    let error = within(elsewhere.service("kv").endpoints())
        .await
        .expect_err("it fails");
    let told = format!("Consul at {at} answered {asked} with 500: No path to datacenter");
    assert_eq!(error.to_string(), told);
    let error = within(builder(&elsewhere, "kv").connect())
        .await
        .expect_err("it fails");
    assert_eq!(error.to_string(), "the client has no endpoints");
    let cause = std::error::Error::source(&error).expect("it has one");
    assert_eq!(cause.to_string(), told);
    Ok(())
}

pub(crate) async fn a_server_that_shuts_down_deregisters_and_one_that_is_killed_does_not(
    registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    let [one, other] = [cluster[0].address().clone(), cluster[1].address().clone()];
    cluster[0]
        .register(&consul, "kv")
        .ttl(Duration::from_millis(400))
        .await?;
    cluster[1].register(&consul, "kv").await?;
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
    Ok(())
}
