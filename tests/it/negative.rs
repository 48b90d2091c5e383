//! The example `http2_interop_server`, judged by the clients of other gRPC implementations.

#[path = "../../examples/http2_interop_server.rs"]
#[expect(dead_code, reason = "an example has a `main`")]
mod server;

use crate::process::Running;
use crate::python;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Address, MockServer, Value, json};
use server::{CASES, RESPONSE, serve};
use std::{env, process::Command};

/// What one call of a case is to come to, and how many there are.
fn expected(case: &str, failure: &str) -> Value {
    let (calls, result) = match case {
        "goaway" => (2, json!(RESPONSE)),
        "max_streams" => (11, json!(RESPONSE)),
        "rst_after_data" | "rst_after_header" | "rst_during_data" => (1, json!(failure)),
        _ => (1, json!(RESPONSE)),
    };
    vec![result; calls].into()
}

async fn play(server: &MockServer, mut client: Running) -> Value {
    let told = client.told().await;
    client.finish().await;
    assert!(!server.calls().is_empty());
    told
}

fn authority(server: &MockServer) -> String {
    match server.address() {
        Address::Tcp { host, port, .. } => format!("{host}:{port}"),
        other => panic!("{other} is not TCP"),
    }
}

/// What the example does when it is run without a port.
#[tokio::test]
async fn our_own_client_comes_through_all_cases() {
    server::play_all().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_stock_grpcio_comes_through_the_negative_cases() {
    for case in CASES {
        let server = serve(case, 0).await.unwrap();
        let client = python::start("negative", &[&authority(&server), case]);
        let expected = match case {
            // The C core takes no padded DATA, and its own interop runs leave this case out.
            "data_frame_padding" => json!(["INTERNAL"]),
            _ => expected(case, "INTERNAL"),
        };
        assert_eq!(play(&server, client).await, expected, "{case}");
    }
}

#[tokio::test]
#[ignore = "needs the judge of tests/go, built: see .ci/run"]
async fn a_stock_grpc_go_comes_through_the_negative_cases() {
    let judge = env::var_os("TESTKIT_GO_NEGATIVE").unwrap();
    for case in CASES {
        let server = serve(case, 0).await.unwrap();
        let mut command = Command::new(&judge);
        let client = Running::start(command.args([&authority(&server), case]));
        let expected = expected(case, "Internal");
        assert_eq!(play(&server, client).await, expected, "{case}");
    }
}
