//! Groups of clients that are cut off from servers.

use crate::cluster::{clusters, dial, get};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::ClientGroup;
use rpcplugin_testkit::{Client, Code, MockCluster, MockServer, Outcome, Reply, Stub, Value, json};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use tokio::task::JoinHandle;

/// A client of this group, which dials again at once.
pub(crate) async fn member(cluster: &MockCluster, group: &ClientGroup, server: usize) -> Client {
    let address = &group.addresses()[server];
    within(dial(&cluster[server], address))
        .await
        .expect("it listens")
}

/// One that dials in its own time.
pub(crate) fn dialling(
    cluster: &MockCluster,
    group: &ClientGroup,
    server: usize,
) -> JoinHandle<Client> {
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
    tokio::spawn(async move { builder.connect().await.expect("a connection") })
}

pub(crate) fn calling(client: &Client, method: &str) -> JoinHandle<Value> {
    let call = client.call(method, json!({})).timeout(Duration::MAX);
    tokio::spawn(async move { call.await.expect("an answer") })
}

/// Gives everything that could go on the time to. What is awaited here has gone through the servers and back.
async fn others_go_on(cluster: &MockCluster, others: &[Client]) {
    for _ in 0..20 {
        for client in others {
            get(client).await.expect("an answer");
        }
    }
    for server in cluster {
        assert!(server.is_up());
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
        others_go_on(&cluster, std::slice::from_ref(&own)).await;
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
