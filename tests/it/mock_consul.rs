//! Our mock of a Consul agent: what waits and what wakes it, its checks and tokens, its life, and the clusters that it follows.

use crate::client_probe::{answering, answering_cluster, eventually, get, passing};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, Events};
use rpcplugin_testkit::mock::{CheckStatus, ServiceInstance};
use rpcplugin_testkit::{Address, Client, Consul, Endpoint, MockCluster, MockConsul, MockServer};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

fn instance(id: &str) -> ServiceInstance {
    ServiceInstance::new("kv", format!("10.0.0.1:{}", 1000 + id.len())).id(id)
}

/// What a blocking query of the client asks for, as it was seen: the index, if it has one.
fn indices(registry: &MockConsul) -> Vec<Option<u64>> {
    let index = |index: &str| index.parse().expect("it is a number");
    let requests = registry.requests();
    requests
        .iter()
        .map(|one| one.parameter("index").map(index))
        .collect()
}

fn following(registry: &MockConsul) -> Client {
    let source = registry.agent().service("kv").seed(7);
    let builder = Client::builder().discover(source).wait_for_endpoints();
    builder.connect_lazy().expect("nothing is wrong")
}

#[tokio::test(start_paused = true)]
async fn a_query_waits_for_a_change_of_its_service_and_no_other() {
    let registry = MockConsul::memory().await;
    registry.register(instance("a"));
    let client = following(&registry);
    registry.wait_for_waiting(1).await;
    assert_eq!(indices(&registry), [None, Some(11)]);
    registry.register(ServiceInstance::new("other", "10.0.0.9:1"));
    passing(Duration::from_secs(60)).await;
    assert_eq!(registry.requests().len(), 2);

    registry.register(instance("bb"));
    eventually(|| client.endpoints().len() == 2).await;
    registry.wait_for_waiting(1).await;
    assert_eq!(indices(&registry), [None, Some(11), Some(13)]);
    // It may be woken without a change.
    registry.wake();
    registry.wait_for_requests(4).await;
    assert_eq!(indices(&registry)[3], Some(13));
    assert_eq!(client.stats().discovery.unwrap().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_sees_no_change_is_answered_when_its_wait_is_over() {
    let registry = MockConsul::memory().await;
    registry.register(instance("a"));
    let source = registry.agent().service("kv").wait(Duration::from_secs(30));
    let _client = Client::builder().discover(source).connect_lazy().unwrap();
    passing(Duration::from_secs(61)).await;
    registry.wait_for_requests(4).await;
    let times: Vec<_> = registry.requests().iter().map(|one| one.at).collect();
    let waits: Vec<_> = times
        .windows(2)
        .map(|two| (two[1] - two[0]).as_secs())
        .collect();
    assert_eq!(waits, [0, 30, 30]);
    let asked = registry.requests();
    assert_eq!(asked[1].parameter("wait"), Some("30000ms"));
    assert_eq!(
        format!("{:?}", asked[0]),
        "GET /v1/health/service/kv?passing=true"
    );
}

#[tokio::test(start_paused = true)]
async fn all_that_a_question_is_told_is_asked() {
    let registry = MockConsul::memory().await;
    let consul = registry
        .agent()
        .namespace("team")
        .partition("part")
        .datacenter("dc1");
    let service = consul
        .service("k/v")
        .tag("a")
        .filter("Service.Port != 1 or Service.Port == 1");
    service
        .near("_agent")
        .stale()
        .warning_too()
        .endpoints()
        .await
        .unwrap();
    let asked = &registry.requests()[0];
    assert_eq!(asked.path, "/v1/health/service/k/v");
    let parameters: Vec<_> = asked
        .query
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("stale", "true"),
        (
            "filter",
            "(Service.Tags contains \"a\") and (Service.Port != 1 or Service.Port == 1)",
        ),
        ("near", "_agent"),
        ("dc", "dc1"),
        ("ns", "team"),
        ("partition", "part"),
    ];
    assert_eq!(parameters, expected);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_rounds_to_nothing_is_a_millisecond() {
    let registry = MockConsul::memory().await;
    let source = registry.agent().service("kv").wait(Duration::from_nanos(1));
    let _client = Client::builder().discover(source).connect_lazy().unwrap();
    registry.wait_for_requests(2).await;
    assert_eq!(registry.requests()[1].parameter("wait"), Some("1ms"));
}

#[tokio::test(start_paused = true)]
async fn changes_in_a_row_are_not_asked_for_more_often_than_allowed() {
    let registry = MockConsul::memory().await;
    let client = following(&registry);
    registry.wait_for_waiting(1).await;
    let began = Instant::now();
    // A registry in which something changes all the time.
    while began.elapsed() < Duration::from_secs(30) {
        registry.register(instance("a"));
        passing(Duration::from_millis(10)).await;
    }
    let asked = registry.requests().len();
    assert!((30..=33).contains(&asked), "{asked} requests in 30 s");
    eventually(|| client.endpoints().len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_ttl_check_runs_out_and_the_instance_is_forgotten_later() {
    let registry = MockConsul::memory().await;
    let server = MockServer::memory().await;
    let registering = server
        .register(&registry.agent(), "kv")
        .ttl(Duration::from_secs(10));
    registering
        .deregister_after(Duration::from_secs(5))
        .await
        .unwrap();
    let status = || registry.instances().first().map(|one| one.status);
    passing(Duration::from_secs(100)).await;
    assert_eq!(status(), Some(CheckStatus::Passing));
    let beats = registry.requests().len();
    assert!((20..=21).contains(&beats), "{beats} requests in 100 s");

    // It was told five seconds ago, or less.
    server.pause();
    passing(Duration::from_millis(4900)).await;
    assert_eq!(status(), Some(CheckStatus::Passing));
    passing(Duration::from_millis(5200)).await;
    assert_eq!(status(), Some(CheckStatus::Critical));
    server.resume();
    eventually(|| status() == Some(CheckStatus::Passing)).await;

    server.kill().await;
    passing(Duration::from_millis(10_100)).await;
    assert_eq!(status(), Some(CheckStatus::Critical));
    // A minute is the least.
    passing(Duration::from_secs(59)).await;
    assert_eq!(status(), Some(CheckStatus::Critical));
    passing(Duration::from_secs(1)).await;
    assert_eq!(status(), None);
    server.restart().await;
    eventually(|| status() == Some(CheckStatus::Passing)).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_lets_see_and_change_what_it_is_allowed_to() {
    let registry = MockConsul::memory().await;
    registry.register(instance("a"));
    registry.require_tokens();
    registry.allow("the-token", "kv");
    registry.allow("weak", "another");
    let at = registry.address();
    let ask = async |consul: Consul, service: &str| consul.service(service).endpoints().await;

    // Who has no token is told of none, and not that there are any.
    assert_eq!(ask(registry.agent(), "kv").await.unwrap(), []);
    let weak = registry.agent().token("weak");
    let error = ask(weak, "kv").await.unwrap_err();
    let hidden =
        "hides instances of `kv`: the token has to have `service:read` for it and `node:read`";
    assert_eq!(error.to_string(), format!("Consul at {at} {hidden}"));
    assert!(error.is_denied());
    let error = ask(registry.agent().token("unknown"), "kv")
        .await
        .unwrap_err();
    let refused = "refuses GET /v1/health/service/kv: ACL not found";
    assert_eq!(error.to_string(), format!("Consul at {at} {refused}"));
    let good = registry.agent().token("the-token");
    assert_eq!(ask(good.clone(), "kv").await.unwrap().len(), 1);
    assert_eq!(
        ask(good.clone(), "other").await.unwrap(),
        [] as [Endpoint; 0]
    );

    let requests = registry.requests();
    let last = requests.last().unwrap();
    assert!(last.has_token() && last.token_is("the-token") && !last.token_is("another"));
    assert!(!requests[0].has_token());
    assert!(!format!("{requests:?} {registry:?} {good:?}").contains("the-token"));

    let server = MockServer::memory().await;
    server.register(&good, "kv").await.unwrap();
    let error = server.register(&good, "other").await.unwrap_err();
    let refused =
        "refuses PUT /v1/agent/service/register: Permission denied: Missing service:write on other";
    assert_eq!(error.to_string(), format!("Consul at {at} {refused}"));
    registry.revoke("the-token");
    assert!(ask(good.clone(), "kv").await.unwrap_err().is_denied());
    registry.allow_all("the-token");
    server.register(&good, "other").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_node_can_be_ill_for_all() {
    let registry = MockConsul::memory().await;
    let consul = registry.agent();
    let kv = consul.service("kv");
    registry.register(instance("a").tags(["x"]).weight(7).warning_weight(2));
    registry.register(instance("bb").at_its_node());
    let endpoints = kv.endpoints().await.unwrap();
    let a = Endpoint::new("10.0.0.1:1001")
        .unwrap()
        .weight(7)
        .tags(["x"]);
    assert_eq!(endpoints, [a, Endpoint::new("127.0.0.1:1002").unwrap()]);
    registry.set_node_status(CheckStatus::Warning);
    assert_eq!(kv.endpoints().await.unwrap(), []);
    let weights: Vec<_> = kv.clone().warning_too().endpoints().await.unwrap();
    let weights: Vec<_> = weights.iter().map(|one| one.weight).collect();
    assert_eq!(weights, [2, 1]);
    registry.set_node_status(CheckStatus::Critical);
    assert_eq!(kv.clone().warning_too().endpoints().await.unwrap(), []);
}

#[tokio::test]
#[should_panic(expected = "no instance has the id `nobody`")]
async fn a_status_is_of_an_instance() {
    MockConsul::memory()
        .await
        .set_status("nobody", CheckStatus::Critical);
}

/// Waits until these have come and those have gone, in whatever order.
async fn changed(events: &mut Events, come: &[&MockServer], gone: &[&MockServer]) {
    let mut wanted: HashSet<(bool, Address)> = HashSet::new();
    wanted.extend(come.iter().map(|server| (true, server.address().clone())));
    wanted.extend(gone.iter().map(|server| (false, server.address().clone())));
    while !wanted.is_empty() {
        match within(events.next()).await.expect("a client") {
            ClientEvent::EndpointAdded(one) => wanted.remove(&(true, one.address)),
            ClientEvent::EndpointRemoved(one) => wanted.remove(&(false, one.address)),
            _ => false,
        };
    }
}

async fn in_step(cluster: MockCluster) {
    let cluster = answering(cluster);
    let registry = cluster.consul("kv").await;
    let statuses = || -> Vec<_> {
        let all = registry.instances();
        let status = |server: &MockServer| {
            let one = all
                .iter()
                .find(|one| one.id == format!("kv-{}", server.address()));
            one.map(|one| one.status)
        };
        cluster.iter().map(status).collect()
    };
    let builder = registry.agent().service("kv");
    let builder = Client::builder().discover(builder.at_most_every(Duration::from_millis(1)));
    let builder = match cluster[0].client_tls() {
        Some(tls) => builder.tls(tls),
        None => builder,
    };
    let client = within(builder.connect()).await.expect("it connects");
    let mut events = client.events();
    let [up, down] = [Some(CheckStatus::Passing), Some(CheckStatus::Critical)];

    cluster[0].kill().await;
    cluster[1].pause();
    assert_eq!(statuses(), [down, down, up]);
    changed(&mut events, &[], &[&cluster[0], &cluster[1]]).await;
    get(&client).await.expect("the third is up");

    cluster[0].restart().await;
    cluster[1].resume();
    cluster[2].shutdown(Duration::ZERO).await;
    assert_eq!(statuses(), [up, up, None]);
    changed(&mut events, &[&cluster[0], &cluster[1]], &[&cluster[2]]).await;
    get(&client).await.expect("two are up");

    cluster[2].restart().await;
    changed(&mut events, &[&cluster[2]], &[]).await;
    assert_eq!(statuses(), [up, up, up]);
    drop(cluster);
    let all = registry.instances();
    assert!(
        all.iter().all(|one| one.status == CheckStatus::Critical),
        "{all:?}"
    );
}

#[tokio::test]
async fn a_registry_is_in_step_with_its_cluster_on_every_transport() {
    in_step(MockCluster::start(3).await).await;
    in_step(MockCluster::unix(3).await).await;
    in_step(MockCluster::memory(3).await).await;
    in_step(
        MockServer::builder()
            .mtls()
            .verify_on_drop(false)
            .start_cluster(3)
            .await,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_dies_and_comes_back_where_it_was_with_a_lower_index() {
    let registry = MockConsul::memory().await;
    let cluster = answering_cluster(2).await;
    registry.set_index(1000);
    registry.register(ServiceInstance::new("kv", cluster[0].address()));
    let client = following(&registry);
    registry.wait_for_waiting(1).await;
    assert_eq!(indices(&registry), [None, Some(1001)]);
    let mut events = client.events();
    registry.kill().await;
    let is_failure = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    within(events.wait_for(is_failure)).await.unwrap();
    assert!(registry.agent().service("kv").endpoints().await.is_err());
    get(&client).await.unwrap();

    registry.restart().await;
    registry.wait_for_waiting(1).await;
    assert_eq!(indices(&registry), [None, Some(1001), None, Some(10)]);
    registry.register(ServiceInstance::new("kv", cluster[1].address()));
    changed(&mut events, &[&cluster[1]], &[]).await;
    registry.restart().await;
    get(&client).await.unwrap();
}

#[tokio::test]
async fn a_dropped_agent_leaves_nothing_behind() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let tasks = metrics.num_alive_tasks();
    let registry = MockConsul::start().await;
    registry.register(instance("a"));
    let (address, consul) = (registry.address().clone(), registry.agent());
    let waiting = tokio::spawn(async move {
        let source = consul.service("kv");
        let client = Client::builder().discover(source).connect_lazy();
        std::future::pending::<()>().await;
        drop(client);
    });
    registry.wait_for_waiting(1).await;
    drop(registry);
    std::net::TcpListener::bind(address.to_string()).expect("the port is free");
    waiting.abort();
    eventually(|| metrics.num_alive_tasks() <= tasks).await;
}
