//! Agents that die, forget, stall or have much to tell: the client goes on with what it knew, and follows.

use crate::client_probe::{answering, eventually, get};
use crate::consul_probe::{added, both, builder, connected, failure, found, removed};
use crate::registry::Registry;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::Backoff;
use rpcplugin_testkit::{Address, Client, Error, MockCluster, MockServer, Strategy, Stub, json};
use std::time::Duration;

both!(
    consul_failures:
    an_agent_that_dies_and_forgets_everything_costs_no_call,
    a_rolling_restart_costs_no_idempotent_call,
    ten_thousand_instances_in_one_answer,
    a_stalled_agent_costs_no_call_and_is_told,
);

pub(crate) async fn an_agent_that_dies_and_forgets_everything_costs_no_call(
    mut registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(2).await);
    for server in &cluster {
        let second = Duration::from_secs(1);
        server.register(&consul, "kv").ttl(second).await?;
    }
    // The agent's index is far beyond that of a new one.
    registry.raise_index().await;
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
    let client = within(builder.connect()).await?;
    let mut events = client.events();

    registry.kill().await;
    let error = failure(&mut events).await;
    let at = &registry.url()["http://".len()..];
    assert_eq!(error.to_string(), format!("Consul at {at} cannot be asked"));
    for _ in 0..10 {
        get(&client).await?;
    }
    registry.restart().await;
    // The servers notice that they are not known there any more, and register again.
    let mut expected: Vec<_> = cluster.addresses();
    expected.sort_by_key(ToString::to_string);
    let stats = || client.stats().discovery.expect("it is discovered");
    eventually(|| stats().failing.is_none()).await;
    within(async {
        while found(&consul, "kv").await.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..10 {
        get(&client).await?;
    }
    // It follows the new agent.
    cluster[0].deregister().await?;
    removed(&mut events, cluster[0].address()).await;
    get(&client).await?;
    Ok(())
}

pub(crate) async fn a_rolling_restart_costs_no_idempotent_call(
    registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul();
    let cluster = answering(MockCluster::start(5).await);
    for server in &cluster {
        server.register(&consul, "kv").await?;
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
        made += within(caller).await.expect("no panic")?;
    }
    assert!(made > 100, "{made} calls");
    assert_eq!(client.endpoints().len(), 5);
    Ok(())
}

pub(crate) async fn ten_thousand_instances_in_one_answer(registry: Registry) -> Result<(), Error> {
    const ALL: usize = 10_000;
    let consul = registry.consul();
    // All of 127.0.0.0/8 is this machine: one server has ten thousand addresses.
    let server = MockServer::builder().address("0.0.0.0:0").start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let Address::Tcp { port, .. } = *server.address() else {
        unreachable!("it listens on TCP");
    };
    registry.register_crowd("kv", ALL, port).await;
    let endpoints = within(consul.service("kv").endpoints()).await?;
    assert_eq!(endpoints.len(), ALL);
    let builder = builder(&consul, "kv").strategy(Strategy::First);
    let client = within(builder.connect()).await?;
    assert_eq!(client.endpoints(), endpoints);
    let mut events = client.events();
    get(&client).await?;
    // One less, in an answer that is as large.
    registry.deregister_of_crowd(7).await;
    removed(&mut events, &Address::tcp("127.1.0.7", port)).await;
    get(&client).await?;
    assert_eq!(client.endpoints().len(), ALL - 1);
    Ok(())
}

pub(crate) async fn a_stalled_agent_costs_no_call_and_is_told(
    mut registry: Registry,
) -> Result<(), Error> {
    let consul = registry.consul().timeout(Duration::from_millis(50));
    let cluster = answering(MockCluster::start(2).await);
    let hour = Duration::from_secs(3600);
    let registering = cluster.register(&registry.consul(), "kv").ttl(hour);
    registering.await?;
    let wait = Duration::from_millis(50);
    let at_once = Backoff {
        max: Duration::ZERO,
        ..Backoff::default()
    };
    let service = consul.service("kv").wait(wait).backoff(at_once);
    let builder = Client::builder()
        .discover(service)
        .strategy(Strategy::RoundRobin);
    let client = within(builder.connect()).await?;
    let mut events = client.events();
    registry.stall();
    let told = failure(&mut events).await.to_string();
    let at = &registry.url()["http://".len()..];
    let expected = format!("Consul at {at} has not answered GET /v1/health/service/kv within ");
    assert!(told.starts_with(&expected), "{told}");
    get(&client).await?;

    registry.resume();
    cluster[0].deregister().await?;
    removed(&mut events, cluster[0].address()).await;
    get(&client).await?;
    assert_eq!(
        client.stats().discovery.expect("it is discovered").failing,
        None
    );
    Ok(())
}
