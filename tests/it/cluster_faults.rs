//! One fault for all servers of a cluster: what it counts is counted once.

use crate::cluster::{clients, clusters, dial, get};
use crate::judges::request;
use crate::support::echo::{EchoReply, echo_client::EchoClient};
use crate::support::{echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Address, Client, Code, Fault, MockCluster, MockServer, Reason, Status, Stub, json,
};
use std::{
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use tokio::net::{TcpStream, UnixStream};

fn down() -> Fault {
    Fault::status(Status::unavailable("down"))
}

/// Which of these calls fail, by the servers that they go to.
async fn failures(clients: &[Client], servers: &[usize]) -> Vec<usize> {
    let mut failed = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        match get(&clients[*server]).await {
            Ok(_) => {}
            Err(error) if error.to_string().contains("down") => failed.push(number),
            Err(error) => panic!("call {number}: {error}"),
        }
    }
    failed
}

#[tokio::test]
async fn conditions_count_the_calls_of_all_servers_together() {
    const SERVERS: [usize; 9] = [0, 1, 1, 2, 0, 2, 1, 0, 0];
    for cluster in clusters().await {
        cluster.mount(Stub::any().reply(json!({})));
        let clients = clients(&cluster).await;
        let cases: [(&str, Fault, &[usize]); 6] = [
            ("all", down(), &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
            ("nth call", down().nth_call(4), &[3]),
            ("later calls", down().nth_call(8..), &[7, 8]),
            ("at most", down().at_most(2), &[0, 1]),
            // Each server's connection has the number 1, and the second call of each is another one.
            (
                "on connection",
                down().nth_call_on_connection(2),
                &[2, 4, 5],
            ),
            ("connection", down().connection(2), &[]),
        ];
        for (name, fault, failed) in cases {
            let fault = cluster.inject(fault);
            assert_eq!(failures(&clients, &SERVERS).await, failed, "{name}");
            assert_eq!(fault.hits(), failed.len() as u64, "{name}");
            fault.remove();
            assert!(failures(&clients, &SERVERS).await.is_empty(), "{name}");
            assert_eq!(fault.hits(), failed.len() as u64, "{name}");
        }
        // The second connection of each.
        let second = cluster.inject(down().connection(2));
        let others = crate::cluster::clients(&cluster).await;
        assert_eq!(failures(&others, &[0, 1, 2]).await, [0, 1, 2]);
        assert_eq!(failures(&clients, &[0, 1, 2]).await, [0; 0]);
        assert_eq!(second.hits(), 3);
        within(cluster.verify()).await.unwrap();
    }
}

/// On connections that come again: what was counted for the old ones is forgotten, and for no other server's.
#[tokio::test]
async fn a_connection_that_ends_is_forgotten_on_its_server_only() {
    for cluster in clusters().await {
        cluster.mount(Stub::any().reply(json!({})));
        let clients = clients(&cluster).await;
        let fault = cluster.inject(down().method("Get").nth_call_on_connection(3));
        assert!(failures(&clients, &[0, 0, 1, 1]).await.is_empty());
        within(cluster[0].restart()).await;
        let again = within(dial(&cluster[0], cluster[0].address())).await;
        let clients = [again.unwrap(), clients[1].clone()];
        assert_eq!(failures(&clients, &[0, 0, 1, 0]).await, [2, 3]);
        assert_eq!(fault.hits(), 2);
    }
}

/// Which of a hundred calls on three servers fail by chance.
async fn by_chance(seed: u64) -> Vec<usize> {
    let builder = MockServer::builder().memory().seed(seed);
    let cluster = builder.start_cluster(3).await;
    cluster.mount(Stub::any().reply(json!({})));
    cluster.inject(down().probability(0.3));
    let servers: Vec<_> = (0..100).map(|number| number * 7 % 3).collect();
    failures(&clients(&cluster).await, &servers).await
}

#[tokio::test]
async fn the_dice_are_thrown_for_the_cluster_and_fall_again_by_the_seed() {
    let hit = by_chance(7).await;
    assert!((15..=45).contains(&hit.len()), "{hit:?}");
    assert_eq!(by_chance(7).await, hit);
    assert_ne!(by_chance(8).await, hit);
}

/// A stock tonic client of each server.
async fn stock(cluster: &MockCluster) -> Vec<EchoClient<tonic::transport::Channel>> {
    let mut stubs = Vec::new();
    for address in cluster.addresses() {
        let uri = match &address {
            Address::Unix(path) => format!("unix://{}", path.display()),
            other => other.uri(),
        };
        let endpoint = tonic::transport::Endpoint::from_shared(uri).expect("a URI");
        let channel = within(endpoint.connect()).await.expect("a connection");
        stubs.push(EchoClient::new(channel));
    }
    stubs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_clients_share_the_limit_while_they_call_at_once() {
    for builder in [MockServer::builder(), MockServer::builder().unix()] {
        let cluster = builder.schema(echo_schema()).start_cluster(3).await;
        cluster.mount(Stub::method("Echo/Say").reply(json!({"message": "said"})));
        let fault = cluster.inject(
            Fault::reset(Reason::ENHANCE_YOUR_CALM)
                .method("Echo/Say")
                .at_most(7)
                .times(7),
        );
        let mut calls = Vec::new();
        for stub in stock(&cluster).await {
            for _ in 0..10 {
                let mut stub = stub.clone();
                calls.push(tokio::spawn(
                    async move { stub.say(request("hello")).await },
                ));
            }
        }
        let (mut said, mut reset) = (0, 0);
        for call in calls {
            match within(call).await.unwrap() {
                Ok(reply) => {
                    let EchoReply { message, .. } = reply.into_inner();
                    assert_eq!(message, "said");
                    said += 1;
                }
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    reset += 1;
                }
            }
        }
        assert_eq!((said, reset, fault.hits()), (23, 7, 7));
        within(cluster.verify()).await.unwrap();
    }
}

/// The kind of error that a bare socket gets.
async fn refused(address: &Address) -> Option<ErrorKind> {
    let error = match address {
        Address::Tcp { host, port, .. } => TcpStream::connect((host.as_str(), *port)).await.err(),
        Address::Unix(path) => UnixStream::connect(path).await.err(),
        memory => {
            let error = within(Client::connect(memory)).await.err()?;
            assert!(error.is_connect(), "{error}");
            return Some(ErrorKind::ConnectionRefused);
        }
    };
    error.map(|error| error.kind())
}

#[tokio::test]
async fn all_servers_refuse_until_it_is_taken_away() {
    for cluster in clusters().await {
        if cluster[0].client_tls().is_some() {
            continue;
        }
        cluster.mount(Stub::any().reply(json!({})));
        let clients = clients(&cluster).await;
        let refusal = cluster.inject(Fault::refuse().times(3));
        // Each server is one hit, and what is open goes on.
        assert_eq!(refusal.hits(), 3);
        assert!(failures(&clients, &[0, 1, 2]).await.is_empty());
        for address in cluster.addresses() {
            assert_eq!(refused(&address).await, Some(ErrorKind::ConnectionRefused));
        }
        // One that dies and comes back refuses still.
        within(cluster[1].restart()).await;
        assert_eq!(
            refused(cluster[1].address()).await,
            Some(ErrorKind::ConnectionRefused)
        );
        within(cluster.verify()).await.unwrap();
        refusal.remove();
        refusal.remove();
        for address in cluster.addresses() {
            assert_eq!(refused(&address).await, None);
        }
        let scoped = cluster.inject_scoped(Fault::refuse());
        assert_eq!(
            refused(cluster[2].address()).await,
            Some(ErrorKind::ConnectionRefused)
        );
        drop(scoped);
        assert_eq!(refused(cluster[2].address()).await, None);
    }
}

#[tokio::test]
async fn open_connections_of_all_servers_are_struck_up_to_the_limit() {
    for cluster in clusters().await {
        cluster.mount(Stub::any().reply(json!({})));
        let clients = clients(&cluster).await;
        assert!(failures(&clients, &[0, 1, 2]).await.is_empty());
        let stall = cluster.inject(Fault::stall().at_most(2));
        // Those of the first two servers.
        let calls =
            [0, 1].map(|server| tokio::spawn(clients[server].call("Get", json!({})).into_future()));
        get(&clients[2]).await.unwrap();
        within(stall.wait_for_hits(2)).await;
        stall.remove();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        assert_eq!(stall.hits(), 2);
    }
}

#[tokio::test]
async fn calls_on_different_servers_are_held_and_let_go_by_one_handle() {
    for cluster in clusters().await {
        cluster.mount(Stub::any().reply(json!({})));
        let clients = clients(&cluster).await;
        let fault = cluster.inject(down().method("Get").held());
        let calls: Vec<_> = clients
            .iter()
            .map(|client| tokio::spawn(client.call("Get", json!({})).into_future()))
            .collect();
        for _ in 0..3 {
            within(fault.hit()).await;
        }
        assert_eq!((fault.held(), fault.active()), (3, 3));
        fault.release(2);
        within(cluster.wait_until(|journal| journal.ended(Code::Unavailable.into()).len() == 2))
            .await;
        // What is held when it is taken away is answered as if it had not been.
        fault.remove();
        let mut failed = 0;
        for call in calls {
            failed += usize::from(within(call).await.unwrap().is_err());
        }
        assert_eq!((failed, fault.hits()), (2, 3));
    }
}

#[tokio::test]
async fn its_times_are_judged_once_by_the_cluster() {
    let builder = MockServer::builder().memory().verify_on_drop(false);
    for (calls, expected) in [
        (1, Some("expected exactly 2 hits and got 1")),
        (2, None),
        (3, Some("expected exactly 2 hits and got 3")),
    ] {
        let cluster = builder.clone().start_cluster(3).await;
        cluster.mount(Stub::any().reply(json!({})));
        let line = line!() + 1;
        cluster.inject(down().times(2));
        let clients = clients(&cluster).await;
        assert_eq!(failures(&clients, &[2, 0, 1][..calls]).await.len(), calls);
        // It is none of theirs.
        for server in &cluster {
            within(server.verify()).await.unwrap();
        }
        let verdict = within(cluster.verify()).await;
        let Some(expected) = expected else {
            verdict.unwrap();
            continue;
        };
        let report = verdict.unwrap_err();
        let label = format!("Fault::status(UNAVAILABLE) ({}:{line}:17)", file!());
        assert_eq!(report.problems(), [format!("{label} {expected}")]);
    }
    // A server's own is told as such, and one that was taken away not at all.
    let cluster = builder.start_cluster(2).await;
    cluster[1].inject(down().times(1));
    cluster.inject(down().times(1)).remove();
    let report = within(cluster.verify()).await.unwrap_err();
    let [problem] = report.problems() else {
        panic!("{report}");
    };
    let start = format!("server 1 at {}: Fault::status(", cluster[1].address());
    assert!(problem.starts_with(&start), "{report}");
    assert!(
        problem.ends_with(") expected exactly 1 hit and got 0"),
        "{report}"
    );
}

#[tokio::test]
async fn a_scoped_fault_is_judged_by_the_hits_on_all_servers() {
    let cluster = MockCluster::memory(2).await;
    cluster.mount(Stub::any().reply(json!({})));
    let clients = clients(&cluster).await;
    {
        let _down = cluster.inject_scoped(down().times(2));
        assert_eq!(failures(&clients, &[1, 0]).await, [0, 1]);
    }
    assert!(failures(&clients, &[1, 0]).await.is_empty());
    let line = line!() + 1;
    let scoped = cluster.inject_scoped(Fault::hold().times(1..));
    let panic = catch_unwind(AssertUnwindSafe(|| drop(scoped))).unwrap_err();
    assert_eq!(
        panic.downcast_ref(),
        Some(&format!(
            "Fault::hold ({}:{line}:26) expected at least 1 hit and got 0",
            file!()
        ))
    );
}

#[tokio::test]
async fn what_cannot_be_injected_is_told_where_it_is_said() {
    let builder = MockServer::builder().memory().schema(echo_schema());
    let cluster = builder.start_cluster(2).await;
    for (fault, text) in [
        (
            Fault::tls_failure(),
            "cannot inject Fault::tls_failure: the server speaks no TLS: build it with `.tls(..)` or `.mtls()`",
        ),
        (
            Fault::close_on_accept().nth_call(1),
            "cannot inject Fault::close_on_accept: it happens before any call comes and any byte passes, so it has no \
             condition about those",
        ),
    ] {
        let inject = AssertUnwindSafe(|| cluster.inject(fault));
        let panic = catch_unwind(inject).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), text);
    }
    let handle = cluster.inject(Fault::latency(Duration::from_millis(1)));
    drop(cluster);
    // Nothing is left to take it from.
    handle.remove();
}
