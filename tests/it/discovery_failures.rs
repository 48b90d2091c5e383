//! Sources of endpoints that fail, are empty, say nothing or tell what cannot be called.

use crate::client_probe::{answering_cluster, eventually, get, passing};
use crate::discovery::{Told, builder, endpoints, next, source};
use crate::support::{chain, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, Events, StaticList};
use rpcplugin_testkit::{Endpoint, Error, TokenAuth};
use std::time::Duration;
use tokio_stream::StreamExt as _;

async fn failure(events: &mut Events) -> Error {
    let is_one = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryFailed(_));
    match next(events, is_one).await {
        ClientEvent::DiscoveryFailed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_tells_nothing_holds_up_connect_for_its_timeout_and_a_call_for_its_deadline()
{
    let (_sender, silent) = source();
    let limit = Duration::from_secs(3);
    let connecting = builder().discover(silent).connect_timeout(limit).connect();
    let error = within(connecting).await.unwrap_err();
    let told = "the client has no endpoints: the discovery has told none so far";
    assert_eq!(error.to_string(), told);

    let (_sender, silent) = source();
    let client = builder()
        .discover(silent)
        .timeout(limit)
        .connect_lazy()
        .unwrap();
    let error = get(&client).await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let told = chain(&error);
    assert!(
        told.ends_with("the client has no endpoints: the discovery has told none so far"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn connect_fails_with_what_the_source_fails_with_and_a_later_set_is_used() {
    let cluster = answering_cluster(1).await;
    let (sender, source) = source();
    sender.send(Err("the registry burns".into())).unwrap();
    let client = builder().discover(source).connect_lazy().unwrap();
    let mut events = client.events();
    assert_eq!(
        chain(&failure(&mut events).await),
        "the discovery failed: the registry burns"
    );
    let error = get(&client).await.unwrap_err();
    let told = "rpcplugin.v1.Plugin/Call cannot be called: the client has no endpoints: the discovery failed: the registry burns";
    assert!(
        chain(&error)
            .contains("the client has no endpoints: the discovery failed: the registry burns"),
        "{} / {told}",
        chain(&error)
    );
    sender.send(Ok(endpoints(&cluster))).unwrap();
    eventually(|| !client.endpoints().is_empty()).await;
    get(&client).await.unwrap();

    let failing = || tokio_stream::once(Err("no".into()));
    let error = within(builder().discover(failing).connect())
        .await
        .unwrap_err();
    assert_eq!(
        chain(&error),
        "the client has no endpoints: the discovery failed: no"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_leaves_the_last_good_set_in_use() {
    let cluster = answering_cluster(2).await;
    let (sender, source) = source();
    sender.send(Ok(endpoints(&cluster))).unwrap();
    let client = within(builder().discover(source).connect()).await.unwrap();
    let mut events = client.events();
    for n in 0..3 {
        sender.send(Err(format!("failure {n}").into())).unwrap();
        failure(&mut events).await;
        get(&client).await.unwrap();
    }
    let told = client.stats().discovery.unwrap();
    assert_eq!((told.sets, told.failures), (1, 3));
    assert_eq!(
        told.failing.as_deref(),
        Some("the discovery failed: failure 2")
    );
    sender.send(Ok(endpoints(&cluster))).unwrap();
    eventually(|| client.stats().discovery.unwrap().failing.is_none()).await;
    drop(sender);
    // The end of the source changes nothing either.
    passing(Duration::from_secs(600)).await;
    get(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_empty_set_is_used_after_its_grace() {
    let cluster = answering_cluster(1).await;
    let (sender, source) = source();
    sender.send(Ok(endpoints(&cluster))).unwrap();
    let client = within(builder().discover(source).connect()).await.unwrap();
    let mut events = client.events();
    sender.send(Ok(Vec::new())).unwrap();
    let is_empty = |event: &ClientEvent| matches!(event, ClientEvent::DiscoveryEmpty { .. });
    let ClientEvent::DiscoveryEmpty { kept_for } = next(&mut events, is_empty).await else {
        unreachable!("it was looked for");
    };
    assert_eq!(kept_for, Duration::from_secs(30));
    passing(Duration::from_secs(29)).await;
    get(&client).await.unwrap();
    passing(Duration::from_secs(2)).await;
    let error = get(&client).await.unwrap_err();
    assert!(
        chain(&error).contains("the client has no endpoints: the discovery has none"),
        "{error:?}"
    );
    sender.send(Ok(endpoints(&cluster))).unwrap();
    eventually(|| !client.endpoints().is_empty()).await;
    get(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_grace_of_an_empty_set_is_what_it_is_told_to_be() {
    for (grace, stays) in [(Duration::ZERO, false), (Duration::MAX, true)] {
        let cluster = answering_cluster(1).await;
        let (sender, source) = source();
        sender.send(Ok(endpoints(&cluster))).unwrap();
        let builder = builder().discover(source).empty_grace(grace);
        let client = within(builder.connect()).await.unwrap();
        sender.send(Ok(Vec::new())).unwrap();
        let sets = || client.stats().discovery.unwrap().sets;
        eventually(|| sets() == 2).await;
        passing(Duration::from_secs(86_400)).await;
        assert_eq!(!client.endpoints().is_empty(), stays, "{grace:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_first_set_fails_calls_or_lets_them_wait_as_configured() {
    let cluster = answering_cluster(1).await;
    let empty = || StaticList::new(Vec::<Endpoint>::new()).unwrap();
    let error = within(builder().discover(empty()).connect())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the client has no endpoints: the list of endpoints has none"
    );

    let (sender, source) = source();
    sender.send(Ok(Vec::new())).unwrap();
    let waiting = builder().discover(source).wait_for_endpoints();
    let client = within(waiting.connect()).await.unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { get(&client).await }
    });
    passing(Duration::from_secs(5)).await;
    assert!(!call.is_finished());
    sender.send(Ok(endpoints(&cluster))).unwrap();
    within(call).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_called_is_left_out_and_told() {
    let cluster = answering_cluster(1).await;
    let (sender, source) = source();
    let good = endpoints(&cluster);
    let remote = Endpoint::new("192.0.2.1:1").unwrap();
    sender
        .send(Ok(vec![remote.clone(), good[0].clone(), good[0].clone()]))
        .unwrap();
    let builder = builder().discover(source).auth(TokenAuth::bearer("t"));
    let client = builder.connect_lazy().unwrap();
    let mut events = client.events();
    let mut unusable = Vec::new();
    while unusable.len() < 2 {
        let event = within(events.next()).await.unwrap();
        if let ClientEvent::EndpointUnusable { endpoint, error } = event {
            unusable.push((endpoint, error.to_string()));
        }
    }
    let plaintext = "a token would go to 192.0.2.1:1 in plaintext: use `.tls(..)`, or `TokenAuth::allow_plaintext()`";
    let twice = format!("{} is given as an endpoint twice", good[0].address);
    assert_eq!(
        unusable,
        [
            (remote.clone(), plaintext.to_owned()),
            (good[0].clone(), twice)
        ]
    );
    assert_eq!(client.endpoints(), good);
    get(&client).await.unwrap();

    // A set of which nothing is left is a failure, and the one before goes on.
    sender.send(Ok(vec![remote])).unwrap();
    let told = format!("none of the endpoints of the discovery can be used: {plaintext}");
    assert_eq!(chain(&failure(&mut events).await), told);
    get(&client).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_or_panics_before_its_first_set_is_not_waited_for() {
    let error = within(builder().discover(tokio_stream::empty).connect())
        .await
        .unwrap_err();
    let told = "the client has no endpoints: the discovery has ended, and has told no endpoints";
    assert_eq!(chain(&error), told);
    let panics = || tokio_stream::once(()).map(|()| -> Told { panic!("a source of ill will") });
    let error = within(builder().discover(panics).connect())
        .await
        .unwrap_err();
    assert_eq!(chain(&error), told);
}
