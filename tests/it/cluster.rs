//! Several servers as one: their stubs, counts and order.

use crate::services::Real;
use crate::support::echo::echo_server::EchoServer;
use crate::support::{Transport, echo_schema, redialling, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Address, Call, Client, Error, MockCluster, MockServer, Outcome, Sequence, Stub, json,
};
use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Three servers, on all transports, in plaintext and in mutual TLS.
pub(crate) async fn clusters() -> Vec<MockCluster> {
    let mut clusters = Vec::new();
    for transport in Transport::ALL {
        for secure in [false, true] {
            let builder = transport.secured(secure);
            clusters.push(builder.start_cluster(3).await);
        }
    }
    clusters
}

/// A client of this address of a server, which dials again at once.
pub(crate) async fn dial(server: &MockServer, address: &Address) -> Result<Client, Error> {
    redialling(server, address).connect().await
}

pub(crate) async fn get(client: &Client) -> Result<rpcplugin_testkit::Value, Error> {
    within(client.call("Get", json!({})).into_future()).await
}

/// A client of each server.
pub(crate) async fn clients(cluster: &MockCluster) -> Vec<Client> {
    let mut clients = Vec::new();
    for server in cluster {
        let client = within(dial(server, server.address())).await;
        clients.push(client.expect("it listens"));
    }
    clients
}

fn servers_of(cluster: &MockCluster, calls: &[Call]) -> Vec<usize> {
    let addresses = cluster.addresses();
    let place = |call: &Call| {
        let mut addresses = addresses.iter();
        addresses.position(|address| address == call.server_address())
    };
    calls
        .iter()
        .map(|call| place(call).expect("a server of the cluster"))
        .collect()
}

#[tokio::test]
async fn calls_are_spread_and_counted_and_in_order() {
    for cluster in clusters().await {
        let stub = cluster.mount(Stub::any().reply(json!({})).times(8));
        let addresses: HashSet<_> = cluster.addresses().into_iter().collect();
        assert_eq!((cluster.len(), addresses.len()), (3, 3));
        let clients = clients(&cluster).await;
        let order = [2, 0, 2, 1, 1, 2, 0];
        for (number, server) in order.into_iter().enumerate() {
            let method = if number < 5 { "Get" } else { "Put" };
            let call = clients[server].call(method, json!({"n": number}));
            within(call.into_future()).await.unwrap();
        }

        let calls = cluster.calls();
        assert_eq!(servers_of(&cluster, &calls), order);
        let numbers: Vec<_> = calls
            .iter()
            .map(|call| call.request()["n"].clone())
            .collect();
        assert_eq!(json!(numbers), json!([0, 1, 2, 3, 4, 5, 6]));
        assert_eq!(cluster.counts(), [2, 2, 3]);
        assert_eq!(cluster.counts_to("Put"), [1, 0, 1]);
        assert_eq!(cluster.calls_to("Get").len(), 5);
        assert_eq!((stub.count(), stub.calls().len()), (7, 7));
        assert_eq!(calls[0].group(), None);

        let journal = cluster.journal();
        let second = journal.to("Put").on_server(cluster[2].address());
        assert_eq!(second.calls(), [("Put", json!({"n": 5}))]);
        assert_eq!(
            cluster[0].calls(),
            [("Get", json!({"n": 1})), ("Put", json!({"n": 6}))]
        );
        assert_eq!(journal.ended(Outcome::Ok).len(), 7);
        assert_eq!(journal.filter(|call| call.is("Put")).len(), 2);

        // Whichever server has the news wakes who waits.
        let last = async {
            within(clients[2].call("Last", json!({})).into_future())
                .await
                .unwrap();
        };
        let waiting = async {
            assert_eq!(within(cluster.wait_for_calls(8)).await.len(), 8);
            within(stub.satisfied()).await;
            within(cluster.wait_until(|journal| journal.to("Last").ended(Outcome::Ok).len() == 1))
                .await;
        };
        tokio::join!(waiting, last);
        within(cluster.verify()).await.unwrap();
    }
}

/// On a paused clock all calls come at the same instant.
#[tokio::test(start_paused = true)]
async fn the_order_needs_no_clock() {
    let cluster = MockCluster::memory(4).await;
    cluster.mount(Stub::any().reply(json!({})));
    let clients = clients(&cluster).await;
    let order: Vec<_> = (0..200).map(|number| number * 7 % 4).collect();
    for server in &order {
        get(&clients[*server]).await.unwrap();
    }
    let calls = cluster.calls();
    assert_eq!(servers_of(&cluster, &calls), order);
    assert_eq!(calls[0].received_at(), calls[199].received_at());
}

/// Each call on a log of its own, and too many for the journals: which are gone is told by each server.
#[tokio::test]
async fn a_cluster_has_the_journals_limits() {
    let builder = MockServer::builder().memory().journal_limit(8 << 10);
    let cluster = builder.start_cluster(2).await;
    cluster.mount(Stub::any().reply(json!({})));
    let client = cluster.client(1).await;
    for _ in 0..20 {
        get(&client).await.unwrap();
    }
    let journal = cluster.journal();
    let dropped = journal.dropped();
    assert!(dropped > 0 && journal.len() == 20 - dropped, "{journal}");
    assert_eq!(cluster.counts(), [0, 20]);
    let told = format!(
        "(server 1: of {dropped} earlier calls there was no room in the journal's 8192 bytes)"
    );
    assert!(journal.to_string().contains(&told), "{journal}");
}

#[tokio::test]
async fn limits_replies_and_sequences_are_for_the_cluster_as_a_whole() {
    for cluster in clusters().await {
        let clients = clients(&cluster).await;
        cluster.mount(Stub::method("Get").reply(json!({"from": "rest"})));
        cluster.mount(
            Stub::method("Get")
                .reply(json!({"from": "few"}))
                .at_most(2)
                .times(2),
        );
        let pages = Stub::method("Next")
            .then(json!({"page": 1}))
            .then(json!({"page": 2}));
        cluster.mount(pages);
        let login = Sequence::new();
        cluster.mount(Stub::method("Hello").in_sequence(&login).reply(json!({})));
        cluster.mount(Stub::method("Login").in_sequence(&login).reply(json!({})));

        let mut from = Vec::new();
        for client in &clients {
            from.push(get(client).await.unwrap()["from"].clone());
        }
        assert_eq!(json!(from), json!(["few", "few", "rest"]));
        let mut pages = Vec::new();
        for client in &clients {
            let page = within(client.call("Next", json!({})).into_future())
                .await
                .unwrap();
            pages.push(page["page"].clone());
        }
        assert_eq!(json!(pages), json!([1, 2, 2]));
        within(clients[2].call("Hello", json!({})).into_future())
            .await
            .unwrap();
        within(clients[0].call("Login", json!({})).into_future())
            .await
            .unwrap();
    }
}

/// Counts are exact whatever runs at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_when_all_servers_are_called_at_once() {
    let cluster = MockCluster::memory(3).await;
    cluster.mount(Stub::method("Get").reply(json!({"from": "rest"})).times(50));
    let few = cluster.mount(
        Stub::method("Get")
            .reply(json!({"from": "few"}))
            .at_most(10),
    );
    let clients = clients(&cluster).await;
    let calls: Vec<_> = (0..60)
        .map(|number| tokio::spawn(clients[number % 3].call("Get", json!({})).into_future()))
        .collect();
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
    assert_eq!(few.count(), 10);
    assert_eq!(cluster.counts(), [20, 20, 20]);
    within(cluster.verify()).await.unwrap();
}

#[tokio::test]
async fn one_server_has_stubs_of_its_own() {
    let cluster = MockCluster::start(2).await;
    let clients = clients(&cluster).await;
    let from = async || {
        let mut from = Vec::new();
        for client in &clients {
            from.push(get(client).await.unwrap()["from"].clone());
        }
        json!(from)
    };
    cluster[0].mount(Stub::method("Get").reply(json!({"from": "old"})));
    cluster.mount(Stub::method("Get").reply(json!({"from": "all"})));
    assert_eq!(from().await, json!(["all", "all"]));
    let own = cluster[1].mount(Stub::method("Get").reply(json!({"from": "one"})).times(1));
    assert_eq!(from().await, json!(["all", "one"]));
    own.unmount();
    {
        let scoped = Stub::method("Get")
            .reply(json!({"from": "scoped"}))
            .times(2);
        let scoped = cluster.mount_scoped(scoped);
        assert_eq!(from().await, json!(["scoped", "scoped"]));
        assert_eq!(scoped.calls().len(), 2);
    }
    assert_eq!(from().await, json!(["all", "all"]));

    // Forgotten by one, and by one only.
    cluster[0].reset();
    get(&clients[0]).await.unwrap_err();
    assert_eq!(get(&clients[1]).await.unwrap()["from"], "all");
    assert_eq!(cluster.counts(), [1, 5]);
    cluster.reset();
    assert_eq!(cluster.counts(), [0, 0]);
    get(&clients[1]).await.unwrap_err();
    cluster.reset();
    within(cluster.verify()).await.unwrap();
}

#[tokio::test]
async fn a_stub_is_checked_by_the_schema_that_all_have() {
    let builder = MockServer::builder().memory().schema(echo_schema());
    let cluster = builder.start_cluster(2).await;
    let unknown = Stub::method("echo.v1.Echo/Nothing").reply(json!({}));
    let panic = catch_unwind(AssertUnwindSafe(|| cluster.mount(unknown))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("Nothing"), "{text}");
}

#[tokio::test]
async fn a_cluster_is_refused_that_cannot_be() {
    let fixed = MockServer::builder().address("127.0.0.1:4000");
    let error = fixed.clone().try_start_cluster(2).await.unwrap_err();
    assert!(error.is_config());
    let text = "the servers of a cluster cannot share 127.0.0.1:4000: use `.tcp()`, `.unix()` or `.memory()`";
    assert_eq!(error.to_string(), text);
    let error = MockServer::builder()
        .try_start_cluster(0)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "a cluster has one server at least");
    let refused = tokio::spawn(async move { fixed.start_cluster(2).await });
    let panic = refused.await.unwrap_err().into_panic();
    let panic = panic.downcast_ref::<String>().unwrap();
    assert!(
        panic.starts_with("the mock cluster does not start at ") && panic.contains(text),
        "{panic}"
    );
}

/// One certificate fits all.
#[tokio::test]
async fn one_client_certificate_fits_all_servers() {
    let cluster = MockServer::builder().mtls().start_cluster(3).await;
    cluster.mount(Stub::any().reply(json!({})));
    let tls = cluster[0].client_tls().unwrap();
    for address in cluster.addresses() {
        let client = Client::builder()
            .address(address)
            .tls(tls.clone())
            .connect();
        get(&within(client).await.unwrap()).await.unwrap();
    }
    assert_eq!(cluster.journal().from_client("test client").len(), 3);
}

#[tokio::test]
async fn a_service_stands_behind_all_servers() {
    let builder = MockServer::builder().memory().schema(echo_schema());
    let cluster = builder.start_cluster(2).await;
    cluster.mount_service(EchoServer::new(Real));
    cluster.mount(
        Stub::method("echo.v1.Echo/Say")
            .reply(json!({"message": "stubbed"}))
            .at_most(1),
    );
    let mut said = Vec::new();
    for client in clients_with_schema(&cluster).await {
        let call = client.call("echo.v1.Echo/Say", json!({"message": "hello"}));
        let reply = within(call.into_future()).await.unwrap();
        said.push(reply["message"] == "stubbed");
    }
    assert_eq!(said, [true, false]);
    assert_eq!(cluster.counts_to("Say"), [1, 1]);
    assert!(cluster.journal().unmatched().is_empty());
}

async fn clients_with_schema(cluster: &MockCluster) -> [Client; 2] {
    [cluster.client(0).await, cluster.client(1).await]
}
