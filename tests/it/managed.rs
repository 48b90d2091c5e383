//! What a host does with its plugin beside calling it: ping it, read what it writes, tell it to end.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::plugin::OnShutdown;
use rpcplugin_testkit::proto::plugin::{StdioData, grpc_stdio_client::GrpcStdioClient};
use rpcplugin_testkit::{
    Client, Code, Fault, MockCluster, MockServer, Outcome, ServingStatus, Status, Stub, json,
};
use std::time::Duration;
use tonic::Streaming;

const SHUTDOWN: &str = "plugin.GRPCController/Shutdown";
const BEHAVIOURS: [OnShutdown; 3] = [OnShutdown::Obey, OnShutdown::Ignore, OnShutdown::Die];

/// Waits until the server is down.
async fn down(server: &MockServer) {
    within(async {
        while server.is_up() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_that_says_shutdown_is_obeyed_ignored_or_finds_its_plugin_dying() {
    for transport in Transport::ALL {
        for mutual in [false, true] {
            for behaviour in BEHAVIOURS {
                let case = format!("{transport:?} {mutual} {behaviour:?}");
                let server = transport.secured(mutual).start().await;
                server.on_shutdown(behaviour);
                server.mount(Stub::method("Get").reply(json!({"value": 1})).times(0..));
                let client = server.client().await;
                within(client.shutdown_server()).await.expect(&case);

                let calls = server.calls_to(SHUTDOWN);
                assert_eq!(calls.len(), 1, "{case}");
                let ended = within(calls[0].ended()).await;
                if behaviour == OnShutdown::Ignore {
                    assert!(server.is_up(), "{case}");
                    client.call("Get", json!({})).await.expect(&case);
                } else {
                    down(&server).await;
                    assert!(client.ping().await.is_err(), "{case}");
                    server.restart().await;
                    let again = server.client().await;
                    again.call("Get", json!({})).await.expect(&case);
                }
                match behaviour {
                    OnShutdown::Die => assert_ne!(ended, Outcome::Ok, "{case}"),
                    _ => assert_eq!(ended, Outcome::Ok, "{case}"),
                }
            }
        }
    }
}

/// As a plugin of go-plugin, which stops its server within the call. One that is no plugin says so.
#[tokio::test]
async fn what_is_no_plugin_cannot_be_shut_down() {
    let server = MockServer::memory().await;
    let client = server.client().await;
    let refusing = Fault::status(Status::unimplemented("no such service")).method(SHUTDOWN);
    let refused = server.inject_scoped(refusing);
    let error = client.shutdown_server().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unimplemented));
    drop(refused);
    assert!(server.is_up());

    server.kill().await;
    let error = client.shutdown_server().await.unwrap_err();
    assert!(error.is_connect(), "{error:?}");
}

#[tokio::test]
async fn a_client_of_several_servers_shuts_none_down() {
    let cluster = MockCluster::memory(2).await;
    let client = Client::builder()
        .endpoints(cluster.addresses())
        .connect()
        .await
        .unwrap();
    let error = client.shutdown_server().await.unwrap_err();
    assert!(error.is_config());
    assert_eq!(
        error.to_string(),
        "a client of 2 servers cannot tell which of them is to shut down: connect another client to the one that is meant"
    );
    client.close().await;
    for server in &cluster {
        assert!(server.is_up());
        assert!(server.calls_to(SHUTDOWN).is_empty());
    }
}

/// Nothing that ends a client ends its server.
#[tokio::test]
async fn closing_and_dropping_a_client_shut_no_server_down() {
    let server = MockServer::memory().await;
    let closed = server.client().await;
    closed.close().await;
    let drained = server.client().await;
    drained.drain(Duration::from_secs(1)).await;
    drop(server.client().await);
    assert!(server.is_up());
    assert!(server.calls_to(SHUTDOWN).is_empty());
}

#[tokio::test]
async fn a_ping_asks_whether_the_plugin_is_there() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let client = server.client().await;
        client.ping().await.unwrap();
        // One that is not serving is there.
        server.set_health("plugin", ServingStatus::NotServing);
        client.ping().await.unwrap();
        assert_eq!(
            server.calls_to("grpc.health.v1.Health/Check"),
            [
                ("Check", json!({"service": "plugin"})),
                ("Check", json!({"service": "plugin"}))
            ]
        );
        let _gone = server
            .inject_scoped(Fault::status(Status::unimplemented("no such service")).method("Check"));
        let error = client.ping().await.unwrap_err();
        assert_eq!(error.code(), Some(Code::Unimplemented));
    }
}

/// The stream of a stock tonic client over ours.
async fn written(client: &Client) -> Streaming<StdioData> {
    let mut stdio = GrpcStdioClient::new(client.clone());
    let streaming = within(stdio.stream_stdio(()));
    streaming.await.expect("it streams").into_inner()
}

async fn next(written: &mut Streaming<StdioData>) -> (i32, Vec<u8>) {
    let data = within(written.message()).await.expect("no error");
    let StdioData { channel, data } = data.expect("no end");
    (channel, data)
}

#[tokio::test]
async fn what_a_plugin_writes_goes_to_one_caller_in_order() {
    for transport in Transport::ALL {
        for mutual in [false, true] {
            let server = transport.secured(mutual).start().await;
            server.stdout("before anybody asks\n");
            server.stderr([0xff, 0x00]);
            let client = server.client().await;
            let mut first = written(&client).await;
            assert_eq!(
                next(&mut first).await,
                (1, b"before anybody asks\n".to_vec())
            );
            assert_eq!(next(&mut first).await, (2, vec![0xff, 0x00]));
            // Who comes second waits until the first has gone.
            let mut second = written(&client).await;
            server.stdout("to the first");
            assert_eq!(next(&mut first).await, (1, b"to the first".to_vec()));
            drop(first);
            within(server.wait_until(|journal| {
                journal.to("StreamStdio").ended(Outcome::Cancelled).len() == 1
            }))
            .await;
            server.stdout("to the second");
            assert_eq!(next(&mut second).await, (1, b"to the second".to_vec()));

            // It ends with its server, which does not wait for it.
            let shutdown = within(server.shutdown(Duration::MAX));
            let (end, ()) = tokio::join!(within(second.message()), shutdown);
            assert!(end.unwrap().is_none());
        }
    }
}

#[tokio::test]
async fn what_was_written_before_the_end_is_still_told() {
    let server = MockServer::memory().await;
    let client = server.client().await;
    let mut written = written(&client).await;
    for n in 0..100 {
        server.stdout(format!("{n}\n"));
    }
    let shutdown = tokio::spawn(async move {
        server.shutdown(Duration::MAX).await;
        server
    });
    for n in 0..100 {
        assert_eq!(next(&mut written).await, (1, format!("{n}\n").into_bytes()));
    }
    assert!(within(written.message()).await.unwrap().is_none());
    drop(within(shutdown).await.unwrap());
}
