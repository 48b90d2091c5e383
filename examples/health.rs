//! Two servers, one of which says that it is not serving: it gets no calls until it says that it is.
//!
//! ```console
//! cargo run --example health
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::client::{ClientEvent, Events, Health, HealthPolicy};
use rpcplugin_testkit::{
    Client, ConnectionState, Error, MockCluster, ServingStatus, Strategy, Stub, json,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let cluster = MockCluster::start(2).await;
    cluster.mount(Stub::method("Process").reply(json!({"ok": true})));
    // The name that go-plugin's servers have.
    for server in &cluster {
        server.set_health("plugin", ServingStatus::Serving);
    }

    let client = Client::builder()
        .endpoints(cluster.addresses())
        .strategy(Strategy::RoundRobin)
        .health(HealthPolicy::new().service("plugin"))
        .connect_lazy()?;
    let mut events = client.events();
    for _ in &cluster {
        becomes(&mut events, Health::Serving).await;
    }
    assert_eq!(*client.state().borrow(), ConnectionState::Ready);

    cluster[0].set_health("plugin", ServingStatus::NotServing);
    becomes(&mut events, Health::NotServing).await;
    for _ in 0..10 {
        client.call("Process", json!({})).await?;
    }
    println!(
        "one is not serving: {} and {} calls",
        cluster[0].calls().len(),
        cluster[1].calls().len()
    );
    assert_eq!(cluster[0].calls().len(), 0);

    cluster[0].set_health("plugin", ServingStatus::Serving);
    becomes(&mut events, Health::Serving).await;
    for _ in 0..10 {
        client.call("Process", json!({})).await?;
    }
    println!(
        "it is again: {} and {} calls",
        cluster[0].calls().len(),
        cluster[1].calls().len()
    );
    assert_eq!(cluster[0].calls().len(), 5);
    client.close().await;
    Ok(())
}

async fn becomes(events: &mut Events, wanted: Health) {
    events
        .wait_for(
            |event| matches!(event, ClientEvent::HealthChanged { health, .. } if *health == wanted),
        )
        .await;
}
