//! Three servers and one client: one server dies while calls are made, and comes back.
//!
//! ```console
//! cargo run --example failover
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::client::{Backoff, ClientEvent, RetryPolicy};
use rpcplugin_testkit::{Client, Endpoint, Error, MockCluster, Strategy, Stub, json};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let cluster = MockCluster::start(3).await;
    cluster.mount(Stub::method("Process").reply(json!({"ok": true})));

    // The first gets half of the calls, as long as it can take them.
    let endpoints = [
        Endpoint::new(cluster[0].address())?.weight(2),
        Endpoint::new(cluster[1].address())?,
        Endpoint::new(cluster[2].address())?,
    ];
    let backoff = Backoff {
        initial: Duration::from_millis(10),
        ..Backoff::default()
    };
    let client = Client::builder()
        .endpoints(endpoints)
        .strategy(Strategy::Weighted)
        .backoff(backoff)
        .retry(RetryPolicy::default().attempts(3))
        .connect()
        .await?;
    let mut events = client.events();

    // A call that may have reached the server that dies is made again only because it says that it may be.
    for n in 0..100 {
        if n == 50 {
            cluster[0].kill().await;
        }
        client.call("Process", json!({"n": n})).idempotent().await?;
    }
    println!("100 calls, and a server died: none failed");

    let first = cluster[0].address().clone();
    cluster[0].restart().await;
    events
        .wait_for(|event| matches!(event, ClientEvent::Connected(address) if *address == first))
        .await;
    let before = cluster[0].calls().len();
    for n in 0..100 {
        client.call("Process", json!({"n": n})).await?;
    }
    let taken = cluster[0].calls().len() - before;
    println!("it came back, and took {taken} of 100 calls");
    assert_eq!(taken, 50);

    for server in &cluster {
        server.kill().await;
    }
    let failed = client.call("Process", json!({})).await;
    let error = failed.expect_err("there is no server");
    println!("all of them died: {error}");
    assert!(error.is_connect());
    Ok(())
}
