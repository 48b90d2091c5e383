//! A file with the endpoints of a service, which is replaced while calls are made.
//!
//! ```console
//! cargo run --example discovery
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::client::{ClientEvent, EndpointFile, RetryPolicy};
use rpcplugin_testkit::{Client, MockCluster, Stub, Value, json};
use std::{error::Error, fs, path::Path, time::Duration};

/// By a rename, so that nobody reads half of it.
fn deploy(path: &Path, endpoints: &Value) -> std::io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, endpoints.to_string())?;
    fs::rename(&new, path)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = MockCluster::start(3).await;
    cluster.mount(Stub::method("Process").reply(json!({"ok": true})));
    let [first, second, third] = [0, 1, 2].map(|server| cluster[server].address().to_string());

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("endpoints.json");
    deploy(&path, &json!([first, second]))?;
    let client = Client::builder()
        .discover(EndpointFile::new(&path).every(Duration::from_millis(20)))
        .retry(RetryPolicy::default())
        .connect()
        .await?;
    let mut events = client.events();

    // Calls go on while servers come and go.
    let load = tokio::spawn({
        let client = client.clone();
        async move {
            for n in 0..1000 {
                client.call("Process", json!({"n": n})).idempotent().await?;
            }
            Ok::<_, rpcplugin_testkit::Error>(())
        }
    });
    // The first goes, the third comes and takes three of four calls.
    deploy(&path, &json!([second, {"address": third, "weight": 3}]))?;
    events
        .wait_for(|event| matches!(event, ClientEvent::Connected(to) if to == cluster[2].address()))
        .await;
    load.await??;
    println!("1000 calls, and the endpoints changed: none failed");

    let before = cluster[2].calls().len();
    for n in 0..100 {
        client.call("Process", json!({"n": n})).await?;
    }
    let taken = cluster[2].calls().len() - before;
    println!("the new server takes {taken} of 100 calls");
    assert_eq!(taken, 75);

    // Somebody mistypes a key: the line is told, and the last good set is used.
    fs::write(&path, "[\n  {\"adress\": \"localhost:50051\"}\n]")?;
    let failed = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    if let Some(ClientEvent::DiscoveryFailed(error)) = events.wait_for(failed).await {
        println!("{error}");
        assert!(
            error
                .to_string()
                .contains("line 2 column 11: unknown field `adress`")
        );
    }
    client.call("Process", json!({})).await?;

    // An empty list is believed after a grace only.
    deploy(&path, &json!([]))?;
    let emptied = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryEmpty { .. });
    events.wait_for(emptied).await;
    client.call("Process", json!({})).await?;
    assert_eq!(client.endpoints().len(), 2);
    println!("the list is empty: {:?}", client.stats().discovery);
    Ok(())
}
