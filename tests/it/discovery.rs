//! A client whose endpoints are discovered, and what it makes of the sets and failures of their source.

use crate::client_probe::{answering_cluster, connected, eventually, get, passing};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{
    ClientBuilder, ClientEvent, Events, Poll, Refresh, RetryPolicy, StaticList,
};
use rpcplugin_testkit::{Client, Endpoint, MockCluster, Strategy};
use std::{error, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnboundedReceiverStream};

pub(crate) type Told = Result<Vec<Endpoint>, Box<dyn error::Error + Send + Sync>>;

/// A source in the test's hands: what is sent is told.
pub(crate) fn source() -> (
    mpsc::UnboundedSender<Told>,
    impl rpcplugin_testkit::client::Discover,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let watch = move || {
        let mut receiver = receiver.lock().expect("nobody panics");
        let receiver = receiver.take().expect("it is watched once");
        UnboundedReceiverStream::new(receiver)
    };
    (sender, watch)
}

pub(crate) fn endpoints(cluster: &MockCluster) -> Vec<Endpoint> {
    cluster
        .addresses()
        .into_iter()
        .map(Endpoint::from)
        .collect()
}

pub(crate) fn builder() -> ClientBuilder {
    Client::builder()
        .strategy(Strategy::RoundRobin)
        .retry(RetryPolicy::default())
        .seed(7)
}

pub(crate) async fn next(
    events: &mut Events,
    wanted: impl FnMut(&ClientEvent) -> bool,
) -> ClientEvent {
    within(events.wait_for(wanted)).await.expect("a client")
}

#[tokio::test(start_paused = true)]
async fn a_client_has_what_its_source_tells_and_follows_each_change() {
    let cluster = answering_cluster(3).await;
    let all = endpoints(&cluster);
    let (sender, receiver) = watch::channel(all[..2].to_vec());
    let client = within(builder().discover(receiver).connect())
        .await
        .unwrap();
    assert_eq!(client.endpoints(), all[..2]);
    let mut events = client.events();

    let kept = cluster[1].connections();
    sender.send_replace(vec![all[1].clone().weight(3).tags(["b"]), all[2].clone()]);
    connected(&mut events, cluster[2].address()).await;
    assert_eq!(
        client.endpoints(),
        [all[1].clone().weight(3).tags(["b"]), all[2].clone()]
    );
    // The one that stays keeps its connection.
    assert_eq!(cluster[1].connections(), kept);
    eventually(|| cluster[0].connections() == 0).await;
    let before = cluster[0].calls().len();
    for _ in 0..10 {
        get(&client).await.unwrap();
    }
    assert_eq!(cluster[0].calls().len(), before);
    let told = client.stats().discovery.unwrap();
    assert_eq!(
        (told.source.as_str(), told.sets, told.failures),
        ("the channel of endpoints", 2, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_set_is_waited_for_by_connect_and_by_calls() {
    let cluster = answering_cluster(1).await;
    let (sender, source) = source();
    let client = builder().discover(source).connect_lazy().unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { get(&client).await }
    });
    passing(Duration::from_secs(1)).await;
    assert!(!call.is_finished());
    sender.send(Ok(endpoints(&cluster))).unwrap();
    within(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_always_ready_starves_nobody() {
    let cluster = answering_cluster(1).await;
    let all = endpoints(&cluster);
    let busy = move || {
        tokio_stream::iter(std::iter::repeat(())).map({
            let all = all.clone();
            move |()| -> Told { Ok(all.clone()) }
        })
    };
    let client = within(builder().discover(busy).connect()).await.unwrap();
    get(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_poll_is_asked_now_and_then_and_again_after_failures() {
    let cluster = answering_cluster(2).await;
    let all = endpoints(&cluster);
    let (told, mut asked) = mpsc::unbounded_channel();
    let looks = std::sync::atomic::AtomicUsize::new(0);
    let poll = Poll::every(Duration::from_secs(10), move || {
        let look = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        told.send(tokio::time::Instant::now()).expect("it is read");
        let all = all.clone();
        async move {
            match look {
                0 => Ok(all[..1].to_vec()),
                1 => Err("not now".into()),
                _ => Ok(all),
            }
        }
    });
    let client = within(builder().discover(poll).connect()).await.unwrap();
    eventually(|| client.endpoints().len() == 2).await;
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(within(asked.recv()).await.unwrap());
    }
    let waits: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(waits.iter().all(|wait| wait.as_secs() == 10), "{waits:?}");
}

/// A source that tells when it is asked to look again.
struct Asked(mpsc::UnboundedSender<()>, Vec<Endpoint>);

impl rpcplugin_testkit::client::Discover for Asked {
    fn watch(&self, refresh: Refresh) -> impl Stream<Item = Told> + Send + 'static {
        let asked = self.0.clone();
        tokio::spawn(async move {
            loop {
                refresh.asked().await;
                if asked.send(()).is_err() {
                    return;
                }
            }
        });
        tokio_stream::once(Ok(self.1.clone()))
    }

    fn name(&self) -> String {
        "the probe".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_and_a_failed_dial_ask_the_source_to_look_again() {
    let cluster = answering_cluster(2).await;
    let (sender, mut asked) = mpsc::unbounded_channel();
    let source = Asked(sender, endpoints(&cluster));
    let client = within(builder().discover(source).connect()).await.unwrap();
    let mut events = client.events();
    cluster[0].kill().await;
    next(&mut events, |event| {
        matches!(event, ClientEvent::Lost { .. })
    })
    .await;
    within(asked.recv()).await.unwrap();
    next(&mut events, |event| {
        matches!(event, ClientEvent::DialFailed { .. })
    })
    .await;
    within(asked.recv()).await.unwrap();
    assert_eq!(client.stats().discovery.unwrap().source, "the probe");
}

#[tokio::test(start_paused = true)]
async fn the_source_is_dropped_with_the_client_and_when_it_is_closed() {
    let cluster = answering_cluster(1).await;
    for closes in [false, true] {
        let (sender, source) = source();
        sender.send(Ok(endpoints(&cluster))).unwrap();
        let client = within(builder().discover(source).connect()).await.unwrap();
        if closes {
            client.close().await;
            within(sender.closed()).await;
        }
        drop(client);
        within(sender.closed()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_and_a_source_replace_each_other() {
    let cluster = answering_cluster(2).await;
    let addresses = cluster.addresses();
    let one = StaticList::new(&addresses[..1]).unwrap();
    let client = within(
        builder()
            .address(&addresses[1])
            .discover(one.clone())
            .connect(),
    );
    assert_eq!(client.await.unwrap().endpoints()[0].address, addresses[0]);
    let client = within(builder().discover(one).address(&addresses[1]).connect());
    assert_eq!(client.await.unwrap().endpoints()[0].address, addresses[1]);
}
