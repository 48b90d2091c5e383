//! What only a real Consul agent does: asking mocks for their health, and its tokens.

use crate::client_probe::{answering, get};
use crate::registry::{Registry, Said};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{Backoff, ClientEvent, Events};
use rpcplugin_testkit::{Address, Client, Error, MockCluster, ServingStatus, json};
use std::time::Duration;

async fn changed(events: &mut Events, address: &Address, wants_added: bool) {
    let wanted = |event: &ClientEvent| match event {
        ClientEvent::EndpointAdded(one) => wants_added && one.address == *address,
        ClientEvent::EndpointRemoved(one) => !wants_added && one.address == *address,
        _ => false,
    };
    within(events.wait_for(wanted)).await.expect("a client");
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn an_agent_asks_the_health_service_of_a_server() {
    let registry = Registry::real().await;
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    let often = Duration::from_millis(100);
    cluster
        .register(&consul, "kv")
        .grpc_check(often)
        .await
        .unwrap();
    let client = within(consul.connect_to("kv")).await.unwrap();
    let mut events = client.events();
    let [killed, ill] = [cluster[0].address(), cluster[1].address()];

    cluster[0].kill().await;
    changed(&mut events, killed, false).await;
    cluster[0].restart().await;
    changed(&mut events, killed, true).await;

    cluster[1].set_health("", ServingStatus::NotServing);
    changed(&mut events, ill, false).await;
    cluster[1].set_health("", ServingStatus::Serving);
    changed(&mut events, ill, true).await;
    get(&client).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn an_agent_asks_a_server_that_speaks_tls() {
    let registry = Registry::real().await;
    let consul = registry.consul();
    let authority = rpcplugin_testkit::Authority::new();
    let builder = rpcplugin_testkit::MockServer::builder().tls(&authority);
    let server = builder.start().await;
    let often = Duration::from_millis(100);
    server
        .register(&consul, "kv")
        .grpc_check(often)
        .await
        .unwrap();
    let tls = rpcplugin_testkit::ClientTls::new().roots(&authority);
    let builder = Client::builder().discover(consul.service("kv")).tls(tls);
    let client = within(builder.connect()).await.unwrap();
    assert_eq!(client.endpoints()[0].address, *server.address());
    let mut events = client.events();
    server.set_health("", ServingStatus::NotServing);
    let is_empty = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryEmpty { .. });
    within(events.wait_for(is_empty)).await.unwrap();
}

/// A token that may see the service, and how it is taken back.
async fn token_for(registry: &Registry, service: &str) -> (String, String) {
    let rules = format!(
        "node_prefix \"\" {{ policy = \"read\" }} service \"{service}\" {{ policy = \"write\" }}"
    );
    let policy = json!({"Name": service, "Rules": rules}).to_string();
    registry.put("/v1/acl/policy", &policy).await;
    let token = json!({"Policies": [{"Name": service}]}).to_string();
    let said: Said = registry.ask("PUT", "/v1/acl/token", &token).await;
    let [secret, accessor] = ["SecretID", "AccessorID"].map(|name| said.json()[name].clone());
    let text = |value: rpcplugin_testkit::Value| value.as_str().expect("a text").to_owned();
    (text(secret), text(accessor))
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn a_token_lets_see_and_one_that_is_revoked_costs_no_call() {
    let registry = Registry::real_with_tokens().await;
    let (secret, accessor) = token_for(&registry, "kv").await;
    let consul = registry.consul().token(&secret);
    let cluster = answering(MockCluster::start(2).await);
    let hour = Duration::from_secs(3600);
    cluster.register(&consul, "kv").ttl(hour).await.unwrap();
    let backoff = Backoff {
        max: Duration::ZERO,
        ..Backoff::default()
    };
    let wait = Duration::from_millis(50);
    let service = consul.service("kv").wait(wait).backoff(backoff);
    let client = within(Client::builder().discover(service).connect())
        .await
        .unwrap();
    assert_eq!(client.endpoints().len(), 2);
    let mut events = client.events();

    let path = format!("/v1/acl/token/{accessor}");
    assert_eq!(registry.ask("DELETE", &path, "").await.code, 200);
    let is_one = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    let Some(ClientEvent::DiscoveryFailed(error)) = within(events.wait_for(is_one)).await else {
        unreachable!("it was looked for");
    };
    let at = &registry.url()["http://".len()..];
    let told = format!("Consul at {at} refuses GET /v1/health/service/kv: ACL not found");
    assert_eq!(error.to_string(), told);
    assert!(error.is_denied() && !format!("{error:?} {client:?} {consul:?}").contains(&secret));
    get(&client).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn who_may_not_register_is_told() {
    let registry = Registry::real_with_tokens().await;
    let (secret, _) = token_for(&registry, "kv").await;
    let consul = registry.consul().token(secret);
    let cluster = answering(MockCluster::start(1).await);
    let refused = cluster[0].register(&consul, "another").into_future();
    let error: Error = within(refused).await.unwrap_err();
    let at = &registry.url()["http://".len()..];
    let told = format!("Consul at {at} refuses PUT /v1/agent/service/register: Permission denied");
    assert!(error.to_string().starts_with(&told), "{error}");
    assert!(error.is_denied());
}
