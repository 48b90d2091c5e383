//! The "Service Discovery" section of pyvider's guide to direct connections, in Rust, and the faults that its class has: it asks
//! once and for ever, sends everybody to the first instance, takes an empty address for one, and knows no weights.

use crate::client_probe::{answering, get};
use crate::consul_probe::{added, both, removed};
use crate::registry::Registry;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Client, Consul, Endpoint, Error, MockCluster, json};
use std::time::Duration;

both!(
    seed_discovery:
    service_discovery,
    an_instance_that_is_dead_is_passed_over,
    no_healthy_instances_found,
    it_is_not_asked_once_and_for_ever,
    not_everybody_goes_to_the_first_instance,
    an_empty_address_is_that_of_the_node,
);

/// `discover_service` and `connect_to_service`.
pub(crate) async fn service_discovery(registry: Registry) -> Result<(), Error> {
    let cluster = answering(MockCluster::start(2).await);
    cluster
        .register(&registry.consul(), "payment-processor")
        .await?;

    let discovery = Consul::new(registry.url());
    let endpoints = discovery.service("payment-processor").endpoints().await?;
    let mut expected = cluster.addresses();
    expected.sort_by_key(ToString::to_string);
    let mut found: Vec<_> = endpoints.into_iter().map(|one| one.address).collect();
    found.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);

    let client = within(discovery.connect_to("payment-processor")).await?;
    let result = client.call("Process", json!({"amount": 100})).await?;
    assert_eq!(result, json!({}));
    client.close().await;
    Ok(())
}

/// "Connect to first available".
pub(crate) async fn an_instance_that_is_dead_is_passed_over(
    registry: Registry,
) -> Result<(), Error> {
    let cluster = answering(MockCluster::start(3).await);
    // Nobody notices that they die.
    let registering = cluster.register(&registry.consul(), "kv").no_check();
    registering.await?;
    cluster[0].kill().await;
    cluster[1].kill().await;
    let client = within(registry.consul().connect_to("kv")).await?;
    for _ in 0..10 {
        get(&client).await?;
    }
    assert_eq!(cluster.counts(), [0, 0, 10]);
    Ok(())
}

/// "No healthy … instances found".
pub(crate) async fn no_healthy_instances_found(registry: Registry) -> Result<(), Error> {
    let connecting = registry.consul();
    let error = within(connecting.connect_to("payment-processor"))
        .await
        .expect_err("there are none");
    let at = &registry.url()["http://".len()..];
    let told = format!(
        "the client has no endpoints: service `payment-processor` of Consul at {at} has none"
    );
    assert_eq!(error.to_string(), told);
    Ok(())
}

pub(crate) async fn it_is_not_asked_once_and_for_ever(registry: Registry) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    cluster[0].register(&consul, "kv").await?;
    let client = within(consul.connect_to("kv")).await?;
    let mut events = client.events();
    cluster[1].register(&consul, "kv").await?;
    added(&mut events, cluster[1].address()).await;
    cluster[0].shutdown(Duration::from_secs(1)).await;
    removed(&mut events, cluster[0].address()).await;
    get(&client).await?;
    assert_eq!(cluster[1].calls().len(), 1);
    Ok(())
}

pub(crate) async fn not_everybody_goes_to_the_first_instance(
    registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    cluster[0].register(&consul, "kv").weight(3).await?;
    cluster[1].register(&consul, "kv").weight(1).await?;
    let client = within(consul.connect_to("kv")).await?;
    crate::client_probe::eventually(|| {
        let endpoints = client.stats().endpoints;
        endpoints
            .iter()
            .all(|one| one.state == rpcplugin_testkit::ConnectionState::Ready)
    })
    .await;
    get(&client).await?;
    let before = cluster.counts();
    for _ in 0..40 {
        get(&client).await?;
    }
    let taken: Vec<_> = cluster
        .counts()
        .iter()
        .zip(before)
        .map(|(now, before)| now - before)
        .collect();
    assert_eq!(taken, [30, 10]);
    Ok(())
}

pub(crate) async fn an_empty_address_is_that_of_the_node(registry: Registry) -> Result<(), Error> {
    let cluster = answering(MockCluster::start(1).await);
    let rpcplugin_testkit::Address::Tcp { port, .. } = cluster[0].address() else {
        unreachable!("it listens on TCP");
    };
    let body = json!({"Name": "kv", "Port": port});
    registry
        .put("/v1/agent/service/register", &body.to_string())
        .await;
    let endpoints = registry.consul().service("kv").endpoints().await?;
    assert_eq!(endpoints, [Endpoint::new(format!("127.0.0.1:{port}"))?]);
    let client: Client = within(registry.consul().connect_to("kv")).await?;
    get(&client).await?;
    Ok(())
}
