//! One verdict for several servers.

use crate::cluster::{clients, get};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Client, Delay, MockCluster, MockServer, Reply, Stub, json};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

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
        (false, true, Some("delays and faults")),
        (true, true, Some("delays, faults and choices of servers")),
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
