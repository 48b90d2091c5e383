//! Servers that register themselves with Consul, and a client that follows them there: with the agent that the environment tells
//! of (`CONSUL_HTTP_ADDR` and the like), or with a mock of one where none is running.
//!
//! ```console
//! cargo run --example consul
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::client::{ClientEvent, RetryPolicy};
use rpcplugin_testkit::{Client, Consul, Error, MockCluster, MockConsul, Strategy, Stub, json};
use std::time::Duration;

const SERVICE: &str = "rpcplugin-testkit-example";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut consul = Consul::from_env()?;
    // An agent that answers, or else ours, which lives as long as this variable.
    let _mock = match consul.service("consul").endpoints().await {
        Ok(_) => None,
        Err(error) => {
            println!("{error}: a mock takes its place");
            let mock = MockConsul::start().await;
            consul = mock.agent();
            Some(mock)
        }
    };
    println!("{consul}");

    let cluster = MockCluster::start(3).await;
    cluster.mount(Stub::method("Pay").reply(json!({"paid": true})));
    // Each tells the agent that it is well, until it is killed.
    let ttl = Duration::from_secs(2);
    cluster
        .register(&consul, SERVICE)
        .ttl(ttl)
        .tags(["v2"])
        .await?;

    let client = Client::builder()
        .discover(consul.service(SERVICE).tag("v2"))
        .strategy(Strategy::RoundRobin)
        .retry(RetryPolicy::default())
        .connect()
        .await?;
    let mut events = client.events();
    for _ in 0..9 {
        client.call("Pay", json!({"amount": 1})).await?;
    }
    println!("nine calls went to {:?}", cluster.counts());

    // One leaves in good order: it deregisters, says good-bye, and the client follows.
    cluster[0].shutdown(Duration::from_secs(1)).await;
    let gone = |event: &ClientEvent| matches!(event, ClientEvent::EndpointRemoved(_));
    events.wait_for(gone).await;
    println!("one has left, {} are known", client.endpoints().len());

    // Another crashes: it stays registered until its check runs out, and no call fails meanwhile.
    cluster[1].kill().await;
    for _ in 0..10 {
        client
            .call("Pay", json!({"amount": 1}))
            .idempotent()
            .await?;
    }
    events.wait_for(gone).await;
    println!("one has died, {} is known", client.endpoints().len());

    // Both come back, and register again.
    let before = client.endpoints().len();
    cluster[0].restart().await;
    cluster[1].restart().await;
    let come = |event: &ClientEvent| matches!(event, ClientEvent::EndpointAdded(_));
    while client.endpoints().len() < before + 2 {
        events.wait_for(come).await;
    }
    client.call("Pay", json!({"amount": 1})).await?;
    println!("both are back: {:?}", client.stats().discovery);
    client.close().await;
    cluster.deregister().await
}
