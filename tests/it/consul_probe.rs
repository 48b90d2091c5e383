//! What the tests of services in Consul share.

use crate::registry::Registry;
use crate::support::within;
use rpcplugin_testkit::client::{ClientBuilder, ClientEvent, Events, RetryPolicy};
use rpcplugin_testkit::{Address, Client, Consul, Error, Strategy};
use std::{collections::HashSet, time::Duration};

/// Makes each of these two tests: against our mock, and against a real agent, which is ignored where there is none.
macro_rules! both {
    ($here:ident: $($name:ident),* $(,)?) => {
        mod mock {
            use crate::registry::Registry;

            $(
                #[tokio::test]
                async fn $name() {
                    crate::$here::$name(Registry::mock().await).await.unwrap();
                }
            )*
        }

        mod real {
            use crate::registry::Registry;

            $(
                #[tokio::test]
                #[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
                async fn $name() {
                    crate::$here::$name(Registry::real().await).await.unwrap();
                }
            )*
        }
    };
}

pub(crate) use both;

pub(crate) fn builder(consul: &Consul, service: &str) -> ClientBuilder {
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

pub(crate) async fn connected(consul: &Consul, service: &str) -> (Client, Events) {
    let client = within(builder(consul, service).connect()).await;
    let client = client.expect("it connects");
    let events = client.events();
    (client, events)
}

pub(crate) async fn added(events: &mut Events, address: &Address) {
    let wanted = |event: &ClientEvent| matches!(event, ClientEvent::EndpointAdded(one) if one.address == *address);
    within(events.wait_for(wanted)).await.expect("a client");
}

pub(crate) async fn removed(events: &mut Events, address: &Address) {
    let wanted = |event: &ClientEvent| matches!(event, ClientEvent::EndpointRemoved(one) if one.address == *address);
    within(events.wait_for(wanted)).await.expect("a client");
}

pub(crate) async fn found(consul: &Consul, service: &str) -> HashSet<Address> {
    let endpoints = within(consul.service(service).endpoints()).await;
    let endpoints = endpoints.expect("the agent is up");
    endpoints.into_iter().map(|one| one.address).collect()
}

pub(crate) fn id(service: &str, address: &Address) -> String {
    format!("{service}-{}", address.to_string().replace([':', '/'], "-"))
}

pub(crate) async fn set_check(registry: &Registry, verb: &str, address: &Address) {
    let path = format!("/v1/agent/check/{verb}/service:{}", id("kv", address));
    registry.put(&path, "").await;
}

pub(crate) async fn failure(events: &mut Events) -> Error {
    let is_one = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    match within(events.wait_for(is_one)).await {
        Some(ClientEvent::DiscoveryFailed(error)) => error,
        other => panic!("{other:?}"),
    }
}
