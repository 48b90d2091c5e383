//! Clients whose endpoints stand in a file, while it is written, replaced, broken and removed.
//!
//! The clock is paused: a look at a file holds it up, so that each is followed by the next at once.

use crate::client_probe::{answering_cluster, eventually, get, passing};
use crate::discovery::{builder, next};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, EndpointFile, Events};
use rpcplugin_testkit::{Address, Client, Endpoint, Error, MockCluster, Strategy, Value, json};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// A file that a deployment writes.
struct Deployed {
    directory: TempDir,
    path: PathBuf,
}

impl Deployed {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("endpoints.json");
        Self { directory, path }
    }

    fn source(&self) -> EndpointFile {
        EndpointFile::new(&self.path)
    }

    /// In place.
    fn write(&self, text: &impl ToString) {
        fs::write(&self.path, text.to_string()).expect("it can be written");
    }

    /// By a rename.
    fn replace(&self, text: &Value) {
        let new = self.directory.path().join("new");
        fs::write(&new, text.to_string()).expect("it can be written");
        fs::rename(new, &self.path).expect("it can be renamed");
    }

    fn remove(&self) {
        fs::remove_file(&self.path).expect("it is there");
    }

    fn named(&self) -> String {
        format!("the endpoint file `{}`", self.path.display())
    }
}

fn address(cluster: &MockCluster, server: usize) -> String {
    cluster[server].address().to_string()
}

/// A client of the first of two servers, by a file.
async fn following(file: &Deployed, cluster: &MockCluster) -> (Client, Events) {
    file.write(&json!([address(cluster, 0)]));
    let client = within(builder().discover(file.source()).connect()).await;
    let client = client.expect("it connects");
    let events = client.events();
    (client, events)
}

/// Waits until the file's new endpoint is one of the client's. (One that is alone is dialled by the first call.)
async fn added(events: &mut Events, at: &Address) {
    let wanted = |event: &ClientEvent| matches!(event, ClientEvent::EndpointAdded(new) if new.address == *at);
    next(events, wanted).await;
}

async fn failure(events: &mut Events) -> Error {
    let is_one = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    match next(events, is_one).await {
        ClientEvent::DiscoveryFailed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_replaced_or_rewritten_is_followed() {
    let (file, cluster) = (Deployed::new(), answering_cluster(3).await);
    let (client, mut events) = following(&file, &cluster).await;
    file.replace(&json!({"endpoints": [address(&cluster, 1)]}));
    added(&mut events, cluster[1].address()).await;
    assert_eq!(
        client.endpoints(),
        [Endpoint::new(cluster[1].address()).unwrap()]
    );
    eventually(|| cluster[0].connections() == 0).await;
    get(&client).await.unwrap();

    file.write(&json!([address(&cluster, 2)]));
    added(&mut events, cluster[2].address()).await;
    let calls = cluster[2].calls().len();
    get(&client).await.unwrap();
    assert_eq!(cluster[2].calls().len(), calls + 1);
    let told = client.stats().discovery.unwrap();
    assert_eq!(
        (told.source, told.sets, told.failures),
        (file.named(), 3, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn weights_tags_and_priorities_change_without_a_new_connection() {
    let (file, cluster) = (Deployed::new(), answering_cluster(2).await);
    let (first, second) = (address(&cluster, 0), address(&cluster, 1));
    file.write(&json!([first, second]));
    let builder = builder().strategy(Strategy::Weighted);
    let client = within(builder.discover(file.source()).connect());
    let client = client.await.unwrap();
    eventually(|| cluster[1].connections() == 1).await;
    file.replace(&json!([{"address": first, "weight": 3, "tags": ["big"]}, second]));
    eventually(|| client.endpoints()[0].weight == 3).await;
    assert_eq!(client.endpoints()[0].tags, ["big"]);
    let before = cluster[0].calls().len();
    for _ in 0..8 {
        get(&client).await.unwrap();
    }
    assert_eq!(cluster[0].calls().len() - before, 6);

    file.replace(&json!([{"address": first, "priority": 1}, second]));
    eventually(|| client.endpoints()[0].priority == 1).await;
    let before = cluster[0].calls().len();
    get(&client).await.unwrap();
    assert_eq!(cluster[0].calls().len(), before);
    let accepted = client.stats().endpoints;
    let connected: Vec<_> = accepted.iter().map(|one| one.counts.connected).collect();
    assert_eq!(connected, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_mistake_is_told_once_with_its_line_and_the_last_good_set_serves() {
    let (file, cluster) = (Deployed::new(), answering_cluster(2).await);
    let (client, mut events) = following(&file, &cluster).await;
    let named = file.named();
    file.write(&"[\n  {\"address\": \"a:1\", \"wieght\": 3}\n]");
    let told = format!(
        "{named}, line 2 column 29: unknown field `wieght`, expected one of `address`, `weight`, `priority`, `tags`, `tls_name`"
    );
    assert_eq!(failure(&mut events).await.to_string(), told);
    get(&client).await.unwrap();
    passing(Duration::from_secs(60)).await;
    let discovery = client.stats().discovery.unwrap();
    assert_eq!((discovery.failures, discovery.failing), (1, Some(told)));

    // Half of a file, and then all of it.
    let whole = json!([address(&cluster, 0), address(&cluster, 1)]).to_string();
    file.write(&&whole[..4]);
    let told = failure(&mut events).await;
    let half = format!("{named}, line 1 column 4: EOF while parsing a string");
    assert_eq!(told.to_string(), half);
    assert!(told.is_discovery());
    get(&client).await.unwrap();
    file.write(&whole);
    added(&mut events, cluster[1].address()).await;
    let discovery = client.stats().discovery.unwrap();
    assert_eq!((discovery.failures, discovery.failing), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_removed_leaves_its_endpoints_until_it_is_back() {
    let (file, cluster) = (Deployed::new(), answering_cluster(2).await);
    let (client, mut events) = following(&file, &cluster).await;
    file.remove();
    let told = failure(&mut events).await.to_string();
    assert_eq!(told, format!("{} is not there", file.named()));
    passing(Duration::from_secs(3600)).await;
    get(&client).await.unwrap();
    // As it was: nothing has changed, and nothing fails any more.
    file.write(&json!([address(&cluster, 0)]));
    eventually(|| client.stats().discovery.unwrap().failing.is_none()).await;
    assert_eq!(cluster[0].connections(), 1);
    file.remove();
    failure(&mut events).await;
    file.write(&json!([address(&cluster, 1)]));
    added(&mut events, cluster[1].address()).await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_array_is_a_set_that_has_its_grace() {
    let (file, cluster) = (Deployed::new(), answering_cluster(1).await);
    let (client, mut events) = following(&file, &cluster).await;
    file.replace(&json!([]));
    let is_empty = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryEmpty { .. });
    next(&mut events, is_empty).await;
    passing(Duration::from_secs(25)).await;
    get(&client).await.unwrap();
    passing(Duration::from_secs(10)).await;
    assert!(client.endpoints().is_empty());
    file.replace(&json!([address(&cluster, 0)]));
    added(&mut events, cluster[0].address()).await;
    get(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_fails_by_a_file_that_is_not_there_and_works_once_it_is() {
    let (file, cluster) = (Deployed::new(), answering_cluster(1).await);
    let error = within(builder().discover(file.source()).connect()).await;
    let told = format!("{:?}", error.unwrap_err());
    let missing = format!("caused by: {} is not there\n", file.named());
    assert!(told.contains(&missing), "{told}");
    let client = builder().discover(file.source()).connect_lazy().unwrap();
    get(&client).await.unwrap_err();
    file.write(&json!([address(&cluster, 0)]));
    eventually(|| !client.endpoints().is_empty()).await;
    get(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_has_the_file_looked_at_at_once() {
    let (file, cluster) = (Deployed::new(), answering_cluster(2).await);
    file.write(&json!([address(&cluster, 0)]));
    let source = file.source().every(Duration::MAX);
    let client = within(builder().discover(source).connect()).await.unwrap();
    let mut events = client.events();
    file.replace(&json!([address(&cluster, 1)]));
    passing(Duration::from_secs(86_400)).await;
    assert_eq!(client.endpoints()[0].address, *cluster[0].address());
    cluster[0].kill().await;
    added(&mut events, cluster[1].address()).await;
    get(&client).await.unwrap();
}
