//! Some servers of several that die, come back and hold their breath.

use crate::cluster::{clients, clusters, get};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Code, MockCluster, MockServer, Outcome, Reply, Stub, json};
use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

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

/// Whoever kills a server while another restarts it leaves one that serves, or one that is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_restarted_at_once_is_up_or_down() {
    let cluster: Arc<MockCluster> = MockCluster::memory(1).await.into();
    let east = cluster.group("east");
    for _ in 0..200 {
        let ends = [0, 1, 2].map(|what| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move {
                match what {
                    0 => cluster.kill_all().await,
                    1 => cluster.restart_all().await,
                    _ => cluster[0].shutdown(Duration::ZERO).await,
                }
            })
        });
        for end in ends {
            within(end).await.unwrap();
        }
        if cluster[0].is_up() {
            for client in [cluster.client(0).await, east.client(0).await] {
                within(client.health_check()).await.unwrap();
            }
        } else {
            within(cluster.restart_any()).await;
        }
    }
}
