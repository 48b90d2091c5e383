//! Distortions on a clock that runs: what falls due between two polls of a connection is not forgotten.

use crate::support::within;
use rpcplugin_testkit::{Client, Delay, Fault, MockServer, Stub, json};
use std::time::Duration;

const MICROSECOND: Duration = Duration::from_micros(1);

fn jitter(most: u32) -> Delay {
    Delay::uniform(Duration::ZERO..=most * MICROSECOND)
}

/// Hundreds of calls, each on a connection of its own or all on one.
async fn all_calls_end(fault: Fault, each_on_its_own: bool) {
    let server = MockServer::builder().seed(7).start().await;
    server.mount(Stub::method("Get").reply(json!({"text": "x".repeat(10)})));
    server.inject(fault);
    let mut client = within(Client::connect(server.address()))
        .await
        .expect("it listens");
    for _ in 0..150 {
        if each_on_its_own {
            client = within(Client::connect(server.address()))
                .await
                .expect("it listens");
        }
        within(client.call("Get", json!({})).into_future())
            .await
            .expect("it is answered");
    }
}

#[tokio::test]
async fn calls_end_under_jitter_of_what_comes_in() {
    all_calls_end(Fault::latency(jitter(50)).incoming(), false).await;
    all_calls_end(Fault::latency(jitter(300)).incoming(), true).await;
}

#[tokio::test]
async fn calls_end_under_jitter_of_what_goes_out() {
    all_calls_end(Fault::latency(jitter(300)).outgoing(), true).await;
}

#[tokio::test]
async fn calls_end_in_slices_and_at_a_trickle() {
    all_calls_end(Fault::slices(7, 20 * MICROSECOND), true).await;
    all_calls_end(Fault::bandwidth(3 << 20), true).await;
}
