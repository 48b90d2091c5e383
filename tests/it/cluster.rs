//! Several servers as one: stubs, counts, order, verdict and lifecycle.

use crate::support::{Transport, echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::Backoff;
use rpcplugin_testkit::{
    Address, Call, Client, Code, Delay, Error, MockCluster, MockServer, Outcome, Reply, Sequence,
    Stub, json,
};
use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// Three servers, on all transports, in plaintext and in mutual TLS.
pub(crate) async fn clusters() -> Vec<MockCluster> {
    let mut clusters = Vec::new();
    for transport in Transport::ALL {
        for secure in [false, true] {
            let builder = match transport {
                Transport::Memory => MockServer::builder().memory(),
                Transport::Tcp => MockServer::builder(),
                Transport::Unix => MockServer::builder().unix(),
            };
            let builder = if secure { builder.mtls() } else { builder };
            clusters.push(builder.start_cluster(3).await);
        }
    }
    clusters
}

/// A client of this address of a server, which dials again at once.
pub(crate) async fn dial(server: &MockServer, address: &Address) -> Result<Client, Error> {
    let backoff = Backoff {
        initial: Duration::from_millis(1),
        max: Duration::from_millis(1),
        ..Backoff::default()
    };
    let builder = Client::builder().address(address).backoff(backoff);
    let tls = server.client_tls();
    let builder = tls
        .into_iter()
        .fold(builder, rpcplugin_testkit::client::ClientBuilder::tls);
    builder.connect().await
}

pub(crate) async fn get(client: &Client) -> Result<rpcplugin_testkit::Value, Error> {
    within(client.call("Get", json!({})).into_future()).await
}

/// A client of each server.
async fn clients(cluster: &MockCluster) -> Vec<Client> {
    let mut clients = Vec::new();
    for server in cluster {
        clients.push(within(dial(server, server.address())).await.unwrap());
    }
    clients
}

fn servers_of(cluster: &MockCluster, calls: &[Call]) -> Vec<usize> {
    let addresses = cluster.addresses();
    let place = |call: &Call| {
        let mut addresses = addresses.iter();
        addresses.position(|address| address == call.server_address())
    };
    calls.iter().map(|call| place(call).unwrap()).collect()
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
async fn times_are_for_the_cluster_as_a_whole() {
    let builder = MockServer::builder().memory().verify_on_drop(false);
    for (calls, problem) in [
        (5, Some("expected exactly 6 calls and got 5")),
        (6, None),
        (7, Some("expected exactly 6 calls and got 7")),
    ] {
        let cluster = builder.clone().start_cluster(3).await;
        let line = line!() + 1;
        cluster.mount(Stub::method("Get").reply(json!({"value": 1})).times(6));
        let clients = clients(&cluster).await;
        for number in 0..calls {
            get(&clients[number % 3]).await.unwrap();
        }
        let verdict = within(cluster.verify()).await;
        let Some(problem) = problem else {
            verdict.unwrap();
            continue;
        };
        let lines = (0..calls).map(|number| {
            let (server, address) = (number % 3, cluster[number % 3].address());
            format!(
                "\n  {number}: server {server}: (\"Get\", {{}}) from {address} → OK {{\"value\":1}}"
            )
        });
        let lines: String = lines.collect();
        assert_eq!(
            verdict.unwrap_err().to_string(),
            format!(
                "the mock cluster did not get what it expects\n\
                 1. Stub::method(\"Get\") ({}:{line}:17) {problem}\n\
                 all calls:{lines}",
                file!()
            )
        );
    }
}

#[tokio::test]
async fn a_report_names_the_server_of_each_problem() {
    let builder = MockServer::builder().memory().verify_on_drop(false);
    let cluster = builder.start_cluster(2).await;
    cluster.mount(Stub::method("Put").named("put").reply(json!({})).times(1));
    cluster[1].mount(Stub::method("Get").named("get").reply(json!({})).times(2));
    let (one, other) = (cluster.client(0).await, cluster.client(1).await);
    get(&other).await.unwrap();
    get(&one).await.unwrap_err();

    let report = within(cluster.verify()).await.unwrap_err();
    let [first, second] = [0, 1].map(|number| cluster[number].address());
    let starts = [
        "`put` (".to_owned(),
        format!("server 0 at {first}: unmatched call: (\"Get\", {{}}) from {first} → "),
        format!("server 1 at {second}: `get` ("),
    ];
    assert_eq!(report.problems().len(), starts.len(), "{report}");
    for (problem, start) in report.problems().iter().zip(starts) {
        assert!(problem.starts_with(&start), "{report}");
    }
    assert_eq!(report.unmatched(), [("Get", json!({}))]);
    // The stub of the cluster is not asked of each of its servers.
    within(cluster[0].verify()).await.unwrap_err();
    let own = within(cluster[1].verify()).await.unwrap_err();
    assert_eq!(own.problems().len(), 1, "{own}");
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
async fn a_scoped_stub_is_verified_by_the_calls_of_all_servers() {
    let cluster = MockCluster::memory(2).await;
    let scoped = cluster.mount_scoped(Stub::method("Get").named("get").reply(json!({})).times(2));
    get(&cluster.client(1).await).await.unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(scoped))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(
        text.contains("expected exactly 2 calls and got 1\n  0: server 1: "),
        "{text}"
    );
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
async fn dropping_a_cluster_panics_once_with_one_report() {
    for transport in Transport::ALL {
        let cluster = match transport {
            Transport::Memory => MockCluster::memory(3).await,
            Transport::Tcp => MockCluster::start(3).await,
            Transport::Unix => MockCluster::unix(3).await,
        };
        cluster.mount(Stub::method("Get").reply(json!({})).times(1));
        cluster[0].mount(Stub::method("Put").reply(json!({})).times(1));
        cluster[2].mount(Stub::method("Put").reply(json!({})).times(1));
        let addresses = cluster.addresses();
        let panic = catch_unwind(AssertUnwindSafe(|| drop(cluster))).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(
            text.starts_with(
                "the mock cluster did not get what it expects\n1. Stub::method(\"Get\") ("
            ),
            "{text}"
        );
        assert_eq!(
            text.matches("expected exactly 1 call and got 0").count(),
            3,
            "{text}"
        );
        assert!(
            text.contains("\n(verified when the cluster was dropped; "),
            "{text}"
        );
        for address in addresses {
            assert!(
                within(Client::connect(&address))
                    .await
                    .unwrap_err()
                    .is_connect()
            );
        }
    }
}

#[tokio::test]
async fn a_cluster_is_dropped_in_silence_when_it_is_to_be() {
    let unmet = || Stub::method("Get").reply(json!({})).times(1);
    let silent = MockServer::builder().memory().verify_on_drop(false);
    silent.start_cluster(2).await.mount(unmet());

    let cluster = MockCluster::memory(2).await;
    cluster.mount(unmet());
    within(cluster.verify()).await.unwrap_err();
    drop(cluster);

    // A second panic would end the process.
    let cluster = MockCluster::memory(2).await;
    cluster.mount(unmet());
    cluster[0].mount(unmet());
    let panic = catch_unwind(AssertUnwindSafe(move || {
        let _cluster = cluster;
        panic!("the test's own");
    }));
    assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"the test's own"));

    let cluster = MockServer::builder()
        .memory()
        .allow_unmatched()
        .start_cluster(2)
        .await;
    get(&cluster.client(1).await).await.unwrap_err();
}

#[tokio::test]
async fn verify_waits_for_the_calls_of_all_servers() {
    let cluster = MockCluster::memory(2).await;
    let (reply, gate) = Reply::gate(json!({}));
    cluster.mount(Stub::method("Get").reply(reply).times(2));
    let clients = clients(&cluster).await;
    let calls = async { tokio::join!(get(&clients[0]), get(&clients[1])) };
    let verify = async {
        within(gate.arrived(2)).await;
        let release = async { gate.release(2) };
        let (verdict, ()) = tokio::join!(within(cluster.verify()), release);
        verdict.unwrap();
    };
    let ((one, other), ()) = tokio::join!(calls, verify);
    one.unwrap();
    other.unwrap();
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
async fn one_server_dies_and_comes_back_while_the_others_go_on() {
    for cluster in clusters().await {
        let (reply, gate) = Reply::gate(json!({}));
        cluster.mount(Stub::method("Held").reply(reply));
        cluster.mount(Stub::method("Get").reply(json!({})));
        let clients = clients(&cluster).await;
        let held = [1, 2]
            .map(|server| tokio::spawn(clients[server].call("Held", json!({})).into_future()));
        within(gate.arrived(2)).await;

        within(cluster[1].kill().into_future()).await;
        assert_eq!(
            [0, 1, 2].map(|number| cluster[number].is_up()),
            [true, false, true]
        );
        let error = get(&clients[1]).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable));
        get(&clients[0]).await.unwrap();
        within(cluster[1].restart()).await;
        within(
            clients[1]
                .call("Get", json!({}))
                .wait_for_ready()
                .into_future(),
        )
        .await
        .unwrap();
        gate.release(1);
        let [lost, kept] = held;
        within(lost).await.unwrap().unwrap_err();
        within(kept).await.unwrap().unwrap();
        assert_eq!(cluster.counts_to("Get"), [1, 1, 0]);
    }
}

#[tokio::test]
async fn all_servers_die_and_come_back_at_once() {
    for cluster in clusters().await {
        let never = cluster.mount(Stub::method("Get").reply(Reply::never()));
        let clients = clients(&cluster).await;
        let calls: Vec<_> = clients
            .iter()
            .map(|client| tokio::spawn(client.call("Get", json!({})).into_future()))
            .collect();
        within(cluster.wait_for_calls(3)).await;
        within(cluster.kill_all()).await;
        for (server, call) in cluster.iter().zip(calls) {
            assert!(!server.is_up() && server.connections() == 0);
            assert_eq!(
                within(call).await.unwrap().unwrap_err().code(),
                Some(Code::Unavailable)
            );
        }
        assert_eq!(cluster.journal().ended(Outcome::Dropped).len(), 3);
        never.unmount();
        cluster.mount(Stub::method("Get").reply(json!({})));
        let before = cluster.addresses();
        // Of those that are up none stays.
        for _ in 0..2 {
            within(cluster.restart_all()).await;
            assert!(cluster.iter().all(MockServer::is_up));
        }
        assert_eq!(cluster.addresses(), before);
        for client in &clients {
            within(client.call("Get", json!({})).wait_for_ready().into_future())
                .await
                .unwrap();
        }
    }
}

/// Who is killed, restarted and paused.
async fn victims(seed: u64) -> Vec<usize> {
    let builder = MockServer::builder().memory().seed(seed);
    let cluster = builder.start_cluster(5).await;
    let mut victims = Vec::new();
    for _ in 0..5 {
        victims.push(within(cluster.kill_any()).await);
    }
    assert_eq!(victims.iter().collect::<HashSet<_>>().len(), 5);
    assert!(!cluster.iter().any(MockServer::is_up));
    for _ in 0..5 {
        victims.push(within(cluster.restart_any()).await);
    }
    assert!(cluster.iter().all(MockServer::is_up));
    for _ in 0..5 {
        victims.push(cluster.pause_any());
    }
    assert!(cluster.iter().all(MockServer::is_paused));
    cluster.resume_all();
    assert!(!cluster.iter().any(MockServer::is_paused));
    victims
}

#[tokio::test]
async fn a_seed_chooses_the_same_servers_again() {
    let chosen = victims(7).await;
    assert_eq!(chosen, victims(7).await);
    let mut others = Vec::new();
    for seed in 8..12 {
        others.push(victims(seed).await);
    }
    assert!(others.iter().all(|other| *other != chosen), "{others:?}");
}

#[tokio::test]
async fn choosing_needs_a_choice() {
    let cluster = MockCluster::memory(1).await;
    let text = async |choosing: std::pin::Pin<Box<dyn Future<Output = usize> + Send>>| {
        let panic = tokio::spawn(choosing).await.unwrap_err().into_panic();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    let cluster: &'static MockCluster = Box::leak(Box::new(cluster));
    let none = text(Box::pin(cluster.restart_any())).await;
    assert!(
        none.starts_with("no server of the cluster is down at "),
        "{none}"
    );
    cluster.pause_any();
    let none = text(Box::pin(async { cluster.pause_any() })).await;
    assert!(
        none.starts_with("no server of the cluster is up and not paused at "),
        "{none}"
    );
    within(cluster.kill_any()).await;
    let line = line!() + 1;
    let none = text(Box::pin(cluster.kill_any())).await;
    let place = format!("{}:{line}:", file!());
    assert!(
        none.starts_with(&format!("no server of the cluster is up at {place}")),
        "{none}"
    );
    let panic = catch_unwind(AssertUnwindSafe(|| &cluster[1])).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert_eq!(text, "there is no server 1 in a cluster of 1");
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_the_seed_once_when_it_was_used() {
    let random = Reply::json(json!({})).delay(Delay::uniform(
        Duration::from_millis(1)..=Duration::from_millis(9),
    ));
    let told = |what: &str| {
        format!("\n{what} were drawn from a seed: RPCPLUGIN_TESTKIT_SEED=42 repeats them")
    };
    for (kills, delays, what) in [
        (false, false, None),
        (true, false, Some("choices of servers")),
        (false, true, Some("delays")),
        (true, true, Some("delays and choices of servers")),
    ] {
        let builder = MockServer::builder()
            .memory()
            .seed(42)
            .verify_on_drop(false);
        let cluster = builder.start_cluster(2).await;
        cluster.mount(Stub::method("Put").reply(json!({})).times(1));
        cluster.mount(Stub::method("Get").reply(random.clone()));
        if delays {
            get(&cluster.client(1).await).await.unwrap();
        }
        if kills {
            cluster.kill_any().await;
        }
        let report = within(cluster.verify()).await.unwrap_err().to_string();
        match what {
            Some(what) => assert!(report.ends_with(&told(what)), "{report}"),
            None => assert!(!report.contains("seed"), "{report}"),
        }
    }
}
