//! Groups of clients, and the doors that servers have for them.

use crate::cluster::{clusters, dial, get};
use crate::partitions::{calling, dialling, member};
use crate::process::{alone, open_files, settle};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Address, MockCluster, MockServer, Outcome, Reply, Stub, json};
use std::time::Duration;
use tokio::runtime::Handle;

#[tokio::test]
async fn a_group_is_known_by_the_addresses_that_it_dials() {
    for cluster in clusters().await {
        cluster.mount(Stub::any().reply(json!({})));
        let (east, west) = (cluster.group("east"), cluster.group("west"));
        assert_eq!((east.name(), west.name()), ("east", "west"));
        assert_eq!(cluster.group("east").addresses(), east.addresses());
        let mut addresses = [cluster.addresses(), east.addresses(), west.addresses()].concat();
        addresses.sort_by_key(ToString::to_string);
        addresses.dedup();
        assert_eq!(addresses.len(), 9);

        for (number, group) in [(0, &east), (2, &west), (0, &west)] {
            get(&within(group.client(number)).await).await.unwrap();
        }
        get(&within(cluster.client(0)).await).await.unwrap();
        let calls = cluster.calls();
        let groups: Vec<_> = calls.iter().map(rpcplugin_testkit::Call::group).collect();
        assert_eq!(groups, [Some("east"), Some("west"), Some("west"), None]);
        let journal = cluster.journal();
        assert_eq!(journal.from_group("east").len(), 1);
        let west_to_first = journal.from_group("west").on_server(cluster[0].address());
        assert_eq!(west_to_first.len(), 1);
        assert_eq!(cluster.counts(), [3, 0, 1]);
        // They have what the servers have.
        let client = member(&cluster, &east, 1).await;
        within(client.health_check()).await.unwrap();
        assert_eq!(client.endpoints()[0].address, east.addresses()[1]);
        assert_eq!(cluster[1].connections(), 1);
        if cluster[0].authority().is_some() {
            assert_eq!(journal.from_client("test client").len(), 4);
        }
    }
}

#[tokio::test]
async fn a_door_of_a_server_that_is_down_opens_when_it_comes_back() {
    for cluster in clusters().await {
        cluster.mount(Stub::method("Get").reply(json!({})));
        within(cluster[2].kill().into_future()).await;
        let late = cluster.group("late");
        let address = &late.addresses()[2];
        let refused = within(dial(&cluster[2], address)).await.unwrap_err();
        assert!(refused.is_connect(), "{refused:?}");
        get(&member(&cluster, &late, 0).await).await.unwrap();
        within(cluster[2].restart()).await;
        get(&member(&cluster, &late, 2).await).await.unwrap();
        assert_eq!(cluster.counts(), [1, 0, 1]);
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_the_calls_of_all_doors() {
    for cluster in clusters().await {
        let (reply, gate) = Reply::gate(json!({}));
        cluster.mount(Stub::method("Held").reply(reply));
        let east = cluster.group("east");
        let eastern = member(&cluster, &east, 0).await;
        let own = within(dial(&cluster[0], cluster[0].address()))
            .await
            .unwrap();
        let calls = [calling(&eastern, "Held"), calling(&own, "Held")];
        within(gate.arrived(2)).await;
        assert_eq!(cluster[0].connections(), 2);
        let down = within(cluster[0].shutdown(Duration::from_secs(60)));
        let release = async {
            // It listens nowhere before it waits for anything.
            while cluster[0].is_up() {
                tokio::task::yield_now().await;
            }
            for address in [cluster[0].address(), &east.addresses()[0]] {
                assert!(
                    within(dial(&cluster[0], address))
                        .await
                        .unwrap_err()
                        .is_connect()
                );
            }
            gate.release(2);
        };
        tokio::join!(down, release);
        for call in calls {
            within(call).await.unwrap();
        }
        assert_eq!(cluster[0].connections(), 0);
        assert_eq!(cluster.journal().ended(Outcome::Ok).len(), 2);
    }
}

#[test]
fn clusters_leave_nothing_behind() {
    // Open files are counted, which all tests of a process share.
    alone("client_groups::many_clusters", &[]);
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn many_clusters() {
    // What is opened once for all, such as the signal pipe.
    drop(MockCluster::unix(1).await);
    let (tasks, files) = (Handle::current().metrics().num_alive_tasks(), open_files());
    for round in 0..30 {
        for transport in Transport::ALL {
            let cluster = match transport {
                Transport::Memory => MockCluster::memory(3).await,
                Transport::Tcp => MockCluster::start(3).await,
                Transport::Unix => MockCluster::unix(3).await,
            };
            cluster.mount(Stub::method("Get").reply(json!({})));
            cluster.mount(Stub::method("Never").reply(Reply::never()));
            let east = cluster.group("east");
            let client = member(&cluster, &east, 0).await;
            get(&client).await.unwrap();
            let never = tokio::spawn(client.call("Never", json!({})).into_future());
            within(cluster.wait_for_calls(2)).await;
            let partition = cluster.partition_all(&east);
            let lost = dialling(&cluster, &east, 1);
            match round % 3 {
                0 => within(cluster[0].kill().into_future()).await,
                1 => within(cluster.restart_all()).await,
                _ => {}
            }
            let addresses = [cluster.addresses(), east.addresses()].concat();
            drop(cluster);
            drop(partition);
            let _ = within(never).await.unwrap();
            let _ = within(lost).await;
            drop(client);
            for address in addresses {
                match address {
                    Address::Unix(path) => {
                        assert!(!path.exists() && !path.parent().unwrap().exists())
                    }
                    free => drop(
                        MockServer::builder()
                            .address(free)
                            .try_start()
                            .await
                            .unwrap(),
                    ),
                }
            }
        }
        settle(tasks).await;
    }
    let left = open_files();
    assert!(left <= files, "{left} files are open, and {files} were");
}
