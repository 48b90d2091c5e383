//! Groups of clients, and servers that they are cut off from.

use crate::cluster::{clusters, dial, get};
use crate::process::alone;
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::ClientGroup;
use rpcplugin_testkit::{
    Address, Client, Code, MockCluster, MockServer, Outcome, Reply, Stub, Value, json,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use tokio::{runtime::Handle, task::JoinHandle};

/// A client of this group, which dials again at once.
async fn member(cluster: &MockCluster, group: &ClientGroup, server: usize) -> Client {
    let address = &group.addresses()[server];
    within(dial(&cluster[server], address)).await.unwrap()
}

/// One that dials in its own time.
fn dialling(cluster: &MockCluster, group: &ClientGroup, server: usize) -> JoinHandle<Client> {
    let (address, tls) = (
        group.addresses()[server].clone(),
        cluster[server].client_tls(),
    );
    let builder = Client::builder()
        .address(address)
        .connect_timeout(Duration::MAX);
    let builder = tls
        .into_iter()
        .fold(builder, rpcplugin_testkit::client::ClientBuilder::tls);
    tokio::spawn(async move { builder.connect().await.unwrap() })
}

fn calling(client: &Client, method: &str) -> JoinHandle<Value> {
    let call = client.call(method, json!({})).timeout(Duration::MAX);
    tokio::spawn(async move { call.await.unwrap() })
}

/// Gives everything that could go on the time to. What is awaited here has gone through the servers and back.
async fn others_go_on(cluster: &MockCluster, others: &[Client]) {
    for _ in 0..20 {
        for client in others {
            get(client).await.unwrap();
        }
    }
    for server in cluster {
        assert!(server.is_up());
    }
}

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
        assert_eq!(client.address(), &east.addresses()[1]);
        assert_eq!(cluster[1].connections(), 1);
        if cluster[0].authority().is_some() {
            assert_eq!(journal.from_client("test client").len(), 4);
        }
    }
}

#[tokio::test]
async fn a_partition_holds_up_everything_and_closes_nothing() {
    for cluster in clusters().await {
        let (reply, gate) = Reply::gate(json!({"held": true}));
        cluster.mount(Stub::method("Held").reply(reply));
        cluster.mount(Stub::method("Get").reply(json!({"value": 1})));
        let (east, west) = (cluster.group("east"), cluster.group("west"));
        let cut = member(&cluster, &east, 0).await;
        let mut others = vec![
            member(&cluster, &east, 1).await,
            member(&cluster, &west, 0).await,
        ];
        others.push(
            within(dial(&cluster[0], cluster[0].address()))
                .await
                .unwrap(),
        );
        let in_flight = calling(&cut, "Held");
        within(gate.arrived(1)).await;

        let partition = cluster.partition(&east, [0, 2]);
        assert_eq!(partition.servers().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(partition.group().name(), "east");
        // Answered, and the answer does not get through.
        gate.release(1);
        within(cluster[0].wait_until(|journal| journal.to("Held").ended(Outcome::Ok).len() == 1))
            .await;
        let new = calling(&cut, "Get");
        let dialled = [0, 2].map(|server| dialling(&cluster, &east, server));
        others_go_on(&cluster, &others).await;
        assert!(!in_flight.is_finished() && !new.is_finished());
        assert!(dialled.iter().all(|dialled| !dialled.is_finished()));
        let from_east = cluster.journal().to("Get").from_group("east");
        assert_eq!(from_east.on_server(cluster[0].address()).len(), 0);
        assert_eq!([0, 2].map(|number| cluster[number].connections()), [3, 0]);

        partition.heal();
        assert_eq!(within(in_flight).await.unwrap(), json!({"held": true}));
        assert_eq!(within(new).await.unwrap(), json!({"value": 1}));
        for dialled in dialled {
            get(&within(dialled).await.unwrap()).await.unwrap();
        }
        // The same connection: nothing was closed.
        let calls = from_east.on_server(cluster[0].address()).calls();
        assert_eq!(
            calls[0].connection_id(),
            cluster.calls_to("Held")[0].connection_id()
        );
    }
}

#[tokio::test]
async fn a_stream_stands_still_both_ways() {
    for cluster in clusters().await {
        let (reply, mut streams) = Reply::channel();
        cluster.mount(Stub::method("Talk").reply(reply));
        cluster.mount(Stub::method("Get").reply(json!({})));
        let east = cluster.group("east");
        let client = member(&cluster, &east, 1).await;
        let other = within(dial(&cluster[1], cluster[1].address()))
            .await
            .unwrap();
        let mut replies = client
            .call_server_stream("Talk", json!({}))
            .timeout(Duration::MAX)
            .await
            .unwrap();
        let mut stream = within(streams.accept()).await;
        stream.send(json!({"n": 1})).await.unwrap();
        assert_eq!(
            within(replies.message()).await.unwrap(),
            Some(json!({"n": 1}))
        );

        let partition = cluster.partition_all(&east);
        stream.send(json!({"n": 2})).await.unwrap();
        let next = tokio::spawn(async move { (replies.message().await.unwrap(), replies) });
        others_go_on(&cluster, std::slice::from_ref(&other)).await;
        assert!(!next.is_finished());
        drop(partition);
        let (second, replies) = within(next).await.unwrap();
        assert_eq!(second, Some(json!({"n": 2})));

        // The client gives up behind a partition: the server learns of it afterwards.
        let partition = cluster.partition_all(&east);
        drop(replies);
        others_go_on(&cluster, &[other]).await;
        assert_eq!(cluster.calls_to("Talk")[0].outcome(), None);
        partition.heal();
        let talk = &cluster.calls_to("Talk")[0];
        assert_eq!(within(talk.ended()).await, Outcome::Cancelled);
    }
}

#[tokio::test]
async fn partitions_nest_and_those_of_others_are_their_own() {
    for cluster in clusters().await {
        cluster.mount(Stub::method("Get").reply(json!({})));
        let (east, west) = (cluster.group("east"), cluster.group("west"));
        let eastern = [
            member(&cluster, &east, 0).await,
            member(&cluster, &east, 1).await,
        ];
        let western = member(&cluster, &west, 0).await;
        let own = within(dial(&cluster[0], cluster[0].address()))
            .await
            .unwrap();

        // A server that is named twice is cut off once.
        let some = cluster.partition(&east, [0, 0]);
        let all = cluster.partition_all(&east);
        let others = cluster.partition(&west, [0]);
        let calls = eastern.each_ref().map(|client| calling(client, "Get"));
        let western = calling(&western, "Get");
        others_go_on(&cluster, std::slice::from_ref(&own)).await;
        assert!(calls.iter().all(|call| !call.is_finished()) && !western.is_finished());

        all.heal();
        let [first, second] = calls;
        within(second).await.unwrap();
        others_go_on(&cluster, std::slice::from_ref(&own)).await;
        assert!(!first.is_finished() && !western.is_finished());

        drop(some);
        within(first).await.unwrap();
        others_go_on(&cluster, &[own]).await;
        assert!(!western.is_finished());
        drop(others);
        within(western).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_dies_behind_a_partition_comes_back_behind_it() {
    for cluster in clusters().await {
        let held = cluster.mount(Stub::method("Held").reply(Reply::never()));
        cluster.mount(Stub::method("Get").reply(json!({})));
        let east = cluster.group("east");
        let client = member(&cluster, &east, 1).await;
        let own = within(dial(&cluster[1], cluster[1].address()))
            .await
            .unwrap();
        let in_flight = tokio::spawn(client.call("Held", json!({})).into_future());
        within(cluster.wait_for_calls(1)).await;

        let partition = cluster.partition(&east, [1]);
        within(cluster[1].kill().into_future()).await;
        assert_eq!(cluster[1].connections(), 0);
        let error = within(in_flight).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable));
        held.unmount();
        // Nobody else gets an address of a server that is down.
        for address in [cluster[1].address(), &east.addresses()[1]] {
            let plain = address.to_string().replace("https://", "");
            let squatter = MockServer::builder().address(&plain).try_start().await;
            assert!(squatter.unwrap_err().is_bind());
            let refused = within(Client::connect(&plain)).await.unwrap_err();
            assert!(refused.is_connect(), "{refused:?}");
        }

        within(cluster[1].restart()).await;
        let new = tokio::spawn(
            client
                .call("Get", json!({}))
                .wait_for_ready()
                .timeout(Duration::MAX)
                .into_future(),
        );
        let dialled = dialling(&cluster, &east, 1);
        within(own.call("Get", json!({})).wait_for_ready().into_future())
            .await
            .unwrap();
        others_go_on(&cluster, &[own]).await;
        assert!(!new.is_finished() && !dialled.is_finished());
        partition.heal();
        within(new).await.unwrap().unwrap();
        get(&within(dialled).await.unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn a_pause_holds_up_all_doors_and_a_partition_its_own() {
    for cluster in clusters().await {
        cluster.mount(Stub::method("Get").reply(json!({})));
        let east = cluster.group("east");
        let eastern = member(&cluster, &east, 0).await;
        let own = within(dial(&cluster[0], cluster[0].address()))
            .await
            .unwrap();
        let elsewhere = [within(dial(&cluster[1], cluster[1].address()))
            .await
            .unwrap()];

        // Paused twice is paused.
        cluster[0].pause();
        cluster[0].pause();
        let partition = cluster.partition(&east, [0]);
        let calls = [&eastern, &own].map(|client| calling(client, "Get"));
        others_go_on(&cluster, &elsewhere).await;
        assert!(calls.iter().all(|call| !call.is_finished()));
        cluster[0].resume();
        let [behind, before] = calls;
        within(before).await.unwrap();
        others_go_on(&cluster, &[own.clone()]).await;
        assert!(!behind.is_finished());

        cluster.pause_all();
        partition.heal();
        let before = calling(&own, "Get");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!behind.is_finished() && !before.is_finished());
        // A door that opens meanwhile is held up like the others.
        let late = cluster.group("late");
        let dialled = dialling(&cluster, &late, 0);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!dialled.is_finished());
        // One that is resumed and was not paused stays as it is.
        cluster.resume_all();
        cluster.resume_all();
        within(behind).await.unwrap();
        within(before).await.unwrap();
        get(&within(dialled).await.unwrap()).await.unwrap();
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

#[tokio::test]
async fn a_partition_is_of_its_own_cluster() {
    let (cluster, other) = (MockCluster::memory(2).await, MockCluster::memory(2).await);
    let (group, foreign) = (cluster.group("east"), other.group("east"));
    let panic = catch_unwind(AssertUnwindSafe(|| cluster.partition_all(&foreign))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert_eq!(text, "the client group \"east\" is not of this cluster");
    let panic = catch_unwind(AssertUnwindSafe(|| cluster.partition(&group, [0, 2]))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert_eq!(text, "there is no server 2 in a cluster of 2");
    // What was refused holds up nothing.
    within(group.client(0)).await;
    drop(other);
    let gone = tokio::spawn(async move { foreign.client(0).await });
    assert!(within(gone).await.unwrap_err().is_panic());
    // One may outlive its cluster.
    let partition = cluster.partition_all(&group);
    drop(cluster);
    drop((partition, group));
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

async fn settle(tasks: usize) {
    let metrics = Handle::current().metrics();
    for _ in 0..100_000 {
        if metrics.num_alive_tasks() <= tasks {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!(
        "{} tasks are alive, expected {tasks}",
        metrics.num_alive_tasks()
    );
}

#[test]
fn clusters_leave_nothing_behind() {
    // Open files are counted, which all tests of a process share.
    alone("partitions::many_clusters", &[]);
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
