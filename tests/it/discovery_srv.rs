//! Clients whose endpoints are SRV records, answered by a name server of the test.

use crate::client_probe::{answering, eventually, get};
use crate::discovery::builder;
use crate::name_server::{NameServer, port};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientBuilder, Dns, DnsSrv};
use rpcplugin_testkit::{
    Authority, Client, ClientTls, Endpoint, MockCluster, MockServer, ServerTls, Stub, json,
};
use std::{net::Ipv4Addr, time::Duration};

const SERVICE: &str = "_grpc._tcp.kv.internal";
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn source(names: &NameServer) -> DnsSrv {
    let source = Dns::srv(SERVICE).expect("a name");
    source
        .nameserver(names.address)
        .at_most_every(Duration::ZERO)
}

async fn connected(builder: ClientBuilder) -> Client {
    within(builder.connect()).await.expect("it connects")
}

/// The text of the error that it does not connect by, with all its causes.
async fn refused(source: DnsSrv) -> String {
    let connecting = within(builder().discover(source).connect());
    format!("{:?}", connecting.await.expect_err("there is nobody"))
}

fn endpoint(server: &MockServer, priority: u32, weight: u32) -> Endpoint {
    let endpoint = Endpoint::new(server.address()).expect("an address");
    endpoint
        .priority(priority)
        .weight(weight)
        .tls_name("kv.internal")
}

#[tokio::test]
async fn records_are_endpoints_with_their_priorities_and_weights() {
    let (names, cluster) = (
        NameServer::start().await,
        answering(MockCluster::start(3).await),
    );
    let [first, second, third] = [0, 1, 2].map(|server| port(&cluster[server]));
    let records = [
        (20, 0, third, "b.internal."),
        (10, 60, second, "b.internal."),
        (10, 20, first, "a.internal."),
    ];
    names.service(SERVICE, &records);
    names.host("a.internal", &[HERE]);
    names.host("b.internal", &[HERE]);
    let client = connected(builder().discover(source(&names))).await;
    let expected = [
        endpoint(&cluster[0], 10, 20),
        endpoint(&cluster[1], 10, 60),
        endpoint(&cluster[2], 20, 1),
    ];
    assert_eq!(client.endpoints(), expected);
    for _ in 0..10 {
        get(&client).await.unwrap();
    }
    assert!(cluster[2].calls().is_empty());
    cluster[0].kill().await;
    cluster[1].kill().await;
    let lost = |server: usize| client.stats().endpoints[server].counts.lost == 1;
    eventually(|| lost(0) && lost(1)).await;
    get(&client).await.unwrap();
    assert!(!cluster[2].calls().is_empty());
}

#[tokio::test]
async fn a_lost_connection_has_the_records_asked_for_again() {
    let (names, cluster) = (
        NameServer::start().await,
        answering(MockCluster::start(2).await),
    );
    let [first, second] = [0, 1].map(|server| port(&cluster[server]));
    names.service(SERVICE, &[(0, 0, first, "a.internal.")]);
    names.host("a.internal", &[HERE]);
    let client = connected(builder().discover(source(&names))).await;
    names.service(SERVICE, &[(0, 0, second, "a.internal.")]);
    cluster[0].kill().await;
    let moved = [endpoint(&cluster[1], 0, 1)];
    eventually(|| client.endpoints() == moved).await;
    get(&client).await.unwrap();
}

#[tokio::test]
async fn a_target_that_cannot_be_looked_up_keeps_its_addresses_and_one_that_is_gone_does_not() {
    let (names, cluster) = (
        NameServer::start().await,
        answering(MockCluster::start(3).await),
    );
    let [first, second, third] = [0, 1, 2].map(|server| port(&cluster[server]));
    let records = [
        (0, 0, first, "a.internal."),
        (0, 0, second, "b.internal."),
        (0, 0, third, "c.internal."),
        (0, 0, 1, "nowhere.internal."),
    ];
    names.service(SERVICE, &records);
    for host in ["a.internal", "b.internal", "c.internal"] {
        names.host(host, &[HERE]);
    }
    let client = connected(builder().discover(source(&names))).await;
    let [one, two, three] = [0, 1, 2].map(|server| endpoint(&cluster[server], 0, 1));
    assert_eq!(client.endpoints(), [one.clone(), two.clone(), three]);
    names.fail("a.internal");
    names.host("c.internal", &[]);
    cluster[2].kill().await;
    eventually(|| client.endpoints() == [one.clone(), two.clone()]).await;
    get(&client).await.unwrap();
}

#[tokio::test]
async fn a_lone_dot_is_no_service_and_no_error() {
    let names = NameServer::start().await;
    names.service(SERVICE, &[(0, 0, 0, ".")]);
    let connecting = within(builder().discover(source(&names)).connect());
    assert_eq!(
        connecting.await.unwrap_err().to_string(),
        "the client has no endpoints: the service `_grpc._tcp.kv.internal` has none"
    );
}

#[tokio::test]
async fn what_is_not_answered_is_an_error_that_names_the_service() {
    let names = NameServer::start().await;
    let told = refused(source(&names)).await;
    let none = "caused by: there are no SRV records of `_grpc._tcp.kv.internal`\n";
    assert!(told.contains(none), "{told}");

    names.fail(SERVICE);
    let told = refused(source(&names)).await;
    let failed = "caused by: the SRV records of `_grpc._tcp.kv.internal` cannot be looked up\n";
    assert!(told.contains(failed), "{told}");

    names.service(SERVICE, &[(0, 0, 1, "nowhere.internal.")]);
    let told = refused(source(&names)).await;
    let nowhere = "caused by: no target of the SRV records of `_grpc._tcp.kv.internal` can be resolved, such as `nowhere.internal.`\n";
    assert!(told.contains(nowhere), "{told}");
}

#[tokio::test]
async fn the_certificate_is_for_the_domain_and_not_for_the_target() {
    let (names, authority) = (NameServer::start().await, Authority::new());
    let tls = ServerTls::new(authority.server(["kv.internal"]));
    let server = MockServer::builder().tls(tls).start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    names.host("a.internal", &[HERE]);
    names.service(SERVICE, &[(0, 0, port(&server), "a.internal.")]);
    let secure = || {
        let tls = ClientTls::new().roots(&authority);
        builder().tls(tls)
    };
    let https = Dns::srv(format!("https://{SERVICE}")).unwrap();
    let https = https.nameserver(names.address);
    let client = connected(secure().discover(https.clone())).await;
    get(&client).await.unwrap();
    assert!(client.endpoints()[0].address.wants_tls());

    let other = https.tls_name("a.internal");
    let refused = within(secure().discover(other).connect()).await;
    let told = format!("{:?}", refused.unwrap_err());
    assert!(told.contains("a.internal"), "{told}");
}
