//! What a plugin writes, told by `tracing` on the client's side.

use crate::client_probe::eventually;
use crate::support::{Transport, within};
use crate::telemetry::Told;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Code, Fault, MockServer, Outcome, Status};
use std::time::Duration;

const STREAM: &str = "plugin.GRPCStdio/StreamStdio";

/// The lines of the plugin among what was told.
fn lines(told: &Told, server: &MockServer) -> Vec<String> {
    let server = format!(" server={}", server.address());
    let told = told.take().into_iter();
    let mirrored = told.filter(|line| line.contains(" stream="));
    mirrored
        .map(|line| {
            assert!(line.contains(&server), "{line}");
            line.replace(&server, "")
        })
        .collect()
}

#[tokio::test]
async fn what_a_plugin_writes_is_told_line_by_line() {
    for transport in Transport::ALL {
        let told = Told::default();
        let _guard = told.listen();
        let server = transport.start().await;
        let client = server.client().await;
        server.stdout("one\ntwo\r\nthr");
        server.stderr("[WARN] low\n");
        server.stdout("ee\n\nlast");
        server.stdout([b' ', 0xff]);
        let mut mirror = client.mirror_stdio();
        within(server.wait_until(|journal| {
            let calls = journal.to(STREAM).calls();
            calls.iter().any(|call| call.replies().len() == 4)
        }))
        .await;
        // What was begun is told at the end.
        within(server.shutdown(Duration::MAX)).await;
        within(mirror.ended()).await.unwrap();
        assert_eq!(
            lines(&told, &server),
            [
                "INFO one stream=\"stdout\"",
                "INFO two stream=\"stdout\"",
                "INFO [WARN] low stream=\"stderr\"",
                "INFO three stream=\"stdout\"",
                "INFO  stream=\"stdout\"",
                "INFO last \u{fffd} stream=\"stdout\"",
            ]
        );
    }
}

#[tokio::test]
async fn a_line_without_an_end_is_told_in_pieces() {
    let told = Told::default();
    let _guard = told.listen();
    let server = MockServer::memory().await;
    server.stdout("x".repeat(100 << 10));
    server.stdout("y".repeat(100 << 10));
    let client = server.client().await;
    let mut mirror = client.mirror_stdio();
    within(server.wait_until(|journal| {
        let calls = journal.to(STREAM).calls();
        calls.iter().any(|call| call.replies().len() == 2)
    }))
    .await;
    within(server.shutdown(Duration::MAX)).await;
    within(mirror.ended()).await.unwrap();
    let told = lines(&told, &server);
    let lengths: Vec<_> = told.iter().map(String::len).collect();
    let around = "INFO  stream=\"stdout\"".len();
    assert_eq!(lengths, [around + (100 << 10), around + (100 << 10)]);
}

/// Of a plugin that has no such service, or ends, there is nothing to mirror.
#[tokio::test]
async fn a_plugin_that_tells_nothing_is_no_error() {
    for code in [Code::Unimplemented, Code::Unavailable, Code::Cancelled] {
        let server = MockServer::memory().await;
        let client = server.client().await;
        let fault = Fault::status(Status::new(code, "no")).method(STREAM);
        let _fault = server.inject_scoped(fault);
        within(client.mirror_stdio().ended()).await.unwrap();
    }
    let server = MockServer::memory().await;
    let client = server.client().await;
    let mut mirror = client.mirror_stdio();
    let answering = |journal: &rpcplugin_testkit::Journal| journal.to(STREAM).len() == 1;
    within(server.wait_until(answering)).await;
    server.kill().await;
    within(mirror.ended()).await.unwrap();
}

#[tokio::test]
async fn a_plugin_that_refuses_to_tell_is_an_error() {
    let server = MockServer::memory().await;
    let client = server.client().await;
    let fault = Fault::status(Status::permission_denied("not you")).method(STREAM);
    let _fault = server.inject_scoped(fault);
    let error = within(client.mirror_stdio().ended()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::PermissionDenied));
}

/// It takes nothing away from who comes after it.
#[tokio::test]
async fn a_dropped_mirror_leaves_the_rest_to_the_next() {
    let told = Told::default();
    let _guard = told.listen();
    let server = MockServer::memory().await;
    let client = server.client().await;
    let mirror = client.mirror_stdio();
    let asked = |journal: &rpcplugin_testkit::Journal| journal.to(STREAM).len() == 1;
    within(server.wait_until(asked)).await;
    drop(mirror);
    let gone = |journal: &rpcplugin_testkit::Journal| {
        journal.to(STREAM).ended(Outcome::Cancelled).len() == 1
    };
    within(server.wait_until(gone)).await;
    server.stdout("for the next\n");
    let _mirror = client.mirror_stdio();
    eventually(|| lines(&told, &server) == ["INFO for the next stream=\"stdout\""]).await;
}
