//! Clients of many endpoints close, and go; and where their token goes.

use crate::removal::{all_ready, connect, quick, until};
use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::HealthPolicy;
use rpcplugin_testkit::{
    Authority, Client, ClientTls, Code, ConnectionState, Endpoint, MockCluster, Outcome, Reply,
    Strategy, Stub, TokenAuth, json,
};
use std::time::Duration;
use tokio::{runtime::Handle, time::Instant};

const MINUTES: Duration = Duration::from_secs(600);

#[tokio::test]
async fn close_waits_for_the_calls_on_all_endpoints_also_on_those_that_are_removed() {
    for transport in Transport::ALL {
        let cluster = transport.builder().start_cluster(5).await;
        let (held, gate) = Reply::gate(json!({}));
        cluster.mount(Stub::any().reply(held));
        let builder = Client::builder().endpoints(cluster.addresses());
        let client = connect(builder.strategy(Strategy::RoundRobin).close_grace(MINUTES)).await;
        all_ready(&client).await;
        let calls = (0..10).map(|n| {
            let call = client.call("Process", json!({"n": n}));
            tokio::spawn(call.into_future())
        });
        let calls: Vec<_> = calls.collect();
        within(gate.arrived(10)).await;
        assert!(cluster.counts().iter().all(|calls| *calls == 2));
        client.remove_endpoint(cluster[4].address()).unwrap();
        let closing = tokio::spawn({
            let client = client.clone();
            async move { client.close().await }
        });
        let mut state = client.state();
        let shut = state.wait_for(|state| *state == ConnectionState::Shutdown);
        within(shut).await.unwrap();
        let error = within(client.call("Late", json!({})).into_future())
            .await
            .unwrap_err();
        assert!(error.is_closed());
        let first = cluster[0].address();
        let text = format!("the client of 4 endpoints ({first}, ..) is closed");
        assert_eq!(error.to_string(), text);
        for refused in [
            client.add_endpoint(cluster[4].address()).unwrap_err(),
            client.remove_endpoint(first).unwrap_err(),
            client.set_endpoints([first]).unwrap_err(),
        ] {
            assert!(
                refused.is_closed() && refused.to_string() == text,
                "{refused}"
            );
        }
        assert!(!closing.is_finished());
        gate.open();
        for call in calls {
            assert_eq!(within(call).await.unwrap().unwrap(), json!({}));
        }
        within(closing).await.unwrap();
        for server in &cluster {
            until(|| server.connections() == 0).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn drain_cuts_what_is_left_on_every_endpoint_after_its_own_grace() {
    let cluster = Transport::Memory.builder().start_cluster(5).await;
    cluster.mount(Stub::method("Process").reply(Reply::never()));
    let (stream, mut streams) = Reply::channel();
    cluster.mount(Stub::method("Watch").reply(stream));
    let builder = Client::builder().endpoints(cluster.addresses());
    let client = connect(builder.strategy(Strategy::RoundRobin).no_timeout()).await;
    all_ready(&client).await;
    let call = || tokio::spawn(client.call("Process", json!({})).into_future());
    let calls: Vec<_> = (0..5).map(|_| call()).collect();
    within(cluster.wait_for_calls(5)).await;
    let replies = client.call_server_stream("Watch", json!({}));
    let mut replies = within(replies.into_future()).await.unwrap();
    let feed = within(streams.accept()).await;
    client
        .remove_endpoint(feed.call().server_address())
        .unwrap();

    let began = Instant::now();
    // The second waits for the first.
    tokio::join!(
        client.drain(Duration::from_secs(7)),
        client.drain(Duration::from_secs(1)),
    );
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    for call in calls {
        let error = within(call).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
    }
    let error = within(replies.message()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
    for call in cluster.journal().calls() {
        assert_eq!(within(call.ended()).await, Outcome::Dropped);
    }
    for server in &cluster {
        until(|| server.connections() == 0).await;
    }
}

/// Some are connected and watched, one is dead and dialled again and again, one accepts and says nothing, one is removed.
#[tokio::test]
async fn the_last_handle_that_is_dropped_takes_all_connections_and_tasks_with_it() {
    for health in [None, Some(HealthPolicy::new())] {
        for transport in Transport::ALL {
            let cluster = transport.builder().start_cluster(5).await;
            cluster.mount(Stub::any().reply(json!({})));
            cluster[3].kill().await;
            let silent = cluster[4].inject(rpcplugin_testkit::Fault::silence());
            let tasks = || Handle::current().metrics().num_alive_tasks();
            let before = tasks();
            let builder = Client::builder().endpoints(cluster.addresses());
            let client = connect(builder.health(health.clone())).await;
            let three = || {
                let endpoints = client.stats().endpoints;
                let ready = endpoints.iter().take(3);
                ready
                    .filter(|one| one.state == ConnectionState::Ready)
                    .count()
                    == 3
            };
            until(three).await;
            within(silent.hit()).await;
            client.remove_endpoint(cluster[2].address()).unwrap();
            let clone = client.idempotent();
            drop(client);
            within(clone.call("Process", json!({})).into_future())
                .await
                .unwrap();
            assert!(tasks() > before);
            let mut events = clone.events();
            let state = clone.state();
            drop(clone);
            assert!(
                state.has_changed().is_err(),
                "nobody tells the state any more"
            );
            while within(events.next()).await.is_some() {}
            for server in cluster.iter().take(3) {
                until(|| server.connections() == 0).await;
            }
            silent.remove();
            until(|| tasks() <= before).await;
        }
    }
}

#[tokio::test]
async fn no_endpoint_is_added_that_a_token_would_go_to_in_plaintext() {
    let cluster = MockCluster::start(2).await;
    cluster.mount(Stub::any().reply(json!({})));
    let near = Client::builder().endpoints(cluster.addresses());
    let near = connect(near.auth(TokenAuth::bearer("SECRET"))).await;
    let before = near.endpoints();
    let heavy = Endpoint::new(cluster[0].address()).unwrap().weight(9);
    let mut events = near.events();
    for far in ["10.0.0.1:50051", "db.internal:50051", "[2001:db8::1]:1"] {
        let address = cluster[0].address().to_string();
        for error in [
            near.add_endpoint(far).unwrap_err(),
            near.set_endpoints([far]).unwrap_err(),
            near.set_endpoints([address.as_str(), far]).unwrap_err(),
            near.set_endpoints([heavy.clone(), Endpoint::new(far).unwrap()])
                .unwrap_err(),
        ] {
            let text = format!(
                "a token would go to {far} in plaintext: use `.tls(..)`, or `TokenAuth::allow_plaintext()`"
            );
            assert_eq!(error.to_string(), text);
            assert!(error.is_config() && !format!("{error:?}").contains("SECRET"));
        }
        assert_eq!(near.endpoints(), before);
    }
    // The next event is of what was allowed.
    near.remove_endpoint(cluster[1].address()).unwrap();
    let next = within(events.next()).await.unwrap();
    assert!(
        format!("{next:?}").starts_with("EndpointRemoved"),
        "{next:?}"
    );
    near.add_endpoint(cluster[1].address()).unwrap();

    let none: [&str; 0] = [];
    let lazily = |auth| quick(Client::builder().endpoints(none).auth(auth));
    let allowed = lazily(TokenAuth::bearer("t").allow_plaintext()).connect_lazy();
    allowed.unwrap().add_endpoint("10.0.0.1:50051").unwrap();
    let secure = lazily(TokenAuth::bearer("t")).tls(ClientTls::new().roots(Authority::shared()));
    secure
        .connect_lazy()
        .unwrap()
        .add_endpoint("10.0.0.1:50051")
        .unwrap();
}
