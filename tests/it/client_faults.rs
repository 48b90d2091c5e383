//! The faults of pyvider's balancing, monitored and failing-over clients, one test for each: what its code did, and what
//! ours does instead. The faults have the numbers of the list that they were collected in.
//!
//! Here are 10 to 14; in `client_faults_calls.rs` 15, 22 and 23; in `client_faults_servers.rs` 16 to 18. The others: 1 to 9 (the pool) in
//! `pool_faults.rs`, 19 (discovery) in `seed_discovery.rs`, 20 (tokens) in `auth.rs`, 21 (the environment) in `config.rs`, 24 (certificates)
//! in `certificates.rs` and `tls.rs`.

use crate::client_probe::{
    STRATEGIES, answering_cluster, balanced, connect, failures, get, lost, passing, ready,
};
use crate::faults_probe::until;
use crate::pool_probe::answering;
use crate::support::{Transport, redialling, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::{ClientEvent, Events, Health, HealthPolicy};
use rpcplugin_testkit::mock::GoAway;
use rpcplugin_testkit::{
    Address, Call, Client, ClientConfig, Code, Endpoint, Fault, MockServer, ServingStatus, Status,
    Strategy, json,
};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

const CHECK: &str = "grpc.health.v1.Health/Check";
const WATCH: &str = "grpc.health.v1.Health/Watch";
const SECOND: Duration = Duration::from_secs(1);

/// The connections that calls came over.
fn connections(calls: &[Call]) -> HashSet<u64> {
    calls.iter().map(Call::connection_id).collect()
}

async fn told_health(events: &mut Events, of: &Address) -> (Health, String) {
    let wanted = |event: &ClientEvent| matches!(event, ClientEvent::HealthChanged { address, .. } if address == of);
    match within(events.wait_for(wanted)).await {
        Some(ClientEvent::HealthChanged { health, why, .. }) => (health, why),
        other => panic!("{other:?}"),
    }
}

/// 10: the status, a number, was compared with a text. No server was ever healthy, and every call reconnected.
#[tokio::test]
async fn a_server_that_serves_is_healthy_and_no_call_reconnects() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        answering(&server);
        let builder = redialling(&server, server.address());
        let client = connect(builder.clone().health(HealthPolicy::new())).await;
        let asking = connect(builder).await;
        let mut events = client.events();
        for _ in 0..20 {
            get(&client).await.unwrap();
            asking.health_check().await.unwrap();
        }
        let statuses = [
            ServingStatus::NotServing,
            ServingStatus::Serving,
            ServingStatus::Unknown,
            ServingStatus::Serving,
        ];
        for status in statuses {
            server.set_health("", status);
            assert_eq!(within(asking.health("")).await.unwrap(), status);
            let serves = status == ServingStatus::Serving;
            assert_eq!(asking.health_check().await.is_ok(), serves);
            let (health, _) = told_health(&mut events, server.address()).await;
            assert_eq!(health == Health::Serving, serves, "{status}");
            assert_eq!(get(&client).await.is_ok(), serves, "{status}");
        }
        assert_eq!(connections(&server.calls()).len(), 1, "{transport:?}");
        assert_eq!(server.connections(), 2);
        let counts = client.stats().endpoints[0].counts;
        assert_eq!((counts.connected, counts.lost), (1, 0));
    }
}

/// 11: a check had no deadline and was part of a call, so that a server that hung held up the call.
#[tokio::test(start_paused = true)]
async fn a_health_check_that_hangs_has_a_deadline_and_holds_up_no_call() {
    let cluster = answering_cluster(2).await;
    let hanging = cluster[0].inject(Fault::hold().method(WATCH));
    let began = Instant::now();
    let client = connect(balanced(&cluster).health(HealthPolicy::new())).await;
    let mut events = client.events();
    within(hanging.hit()).await;
    for _ in 0..64 {
        get(&client).await.unwrap();
    }
    assert_eq!(cluster.counts(), [0, 64]);
    assert_eq!(began.elapsed(), Duration::ZERO);
    let (health, why) = told_health(&mut events, cluster[0].address()).await;
    assert_eq!(health, Health::NotServing);
    assert_eq!(why, "no answer to Health/Watch within 3s");
    assert_eq!(began.elapsed(), 3 * SECOND);

    // Nor does a client with that server alone wait longer.
    let began = Instant::now();
    let address = cluster[0].address();
    let alone = Client::builder()
        .address(address)
        .health(HealthPolicy::new());
    let error = within(alone.connect()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no endpoint takes calls:\n  {address}: no answer to Health/Watch within 3s (0.0ns ago)"
        )
    );
    assert_eq!(began.elapsed(), 3 * SECOND);

    // A check that somebody asks for has the deadline of a call.
    let began = Instant::now();
    let server = &cluster[1];
    let hanging = server.inject(Fault::hold().method(CHECK));
    let client = connect(redialling(server, server.address())).await;
    let check = tokio::spawn({
        let client = client.clone();
        async move { client.health_check().await }
    });
    within(hanging.hit()).await;
    for _ in 0..64 {
        get(&client).await.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(within(check).await.unwrap().unwrap_err().is_timeout());
    assert_eq!(began.elapsed(), 30 * SECOND);
}

/// 11: a check that failed with another code than `UNAVAILABLE` left the health as it was, and nobody asked but calls.
#[tokio::test(start_paused = true)]
async fn a_check_that_fails_changes_the_health_whatever_the_code_and_without_a_call() {
    for code in failures() {
        let server = MockServer::memory().await;
        answering(&server);
        // Checks, instead of a watch.
        server.inject(Fault::status(Status::unimplemented("")).method(WATCH));
        let builder = redialling(&server, server.address());
        let client = connect(builder.health(HealthPolicy::new())).await;
        let mut events = client.events();
        get(&client).await.unwrap();
        let began = Instant::now();
        let failing = server.inject(Fault::status(Status::new(code, "why")).method(CHECK));
        let is_closed = matches!(
            code,
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied
        );
        if is_closed {
            // It lets nobody ask, and serves.
            passing(100 * SECOND).await;
            assert_eq!(failing.hits(), 1, "{code:?}");
            assert_eq!(client.stats().endpoints[0].health, Health::Serving);
            get(&client).await.unwrap();
            continue;
        }
        let (health, why) = told_health(&mut events, server.address()).await;
        assert_eq!(health, Health::NotServing, "{code:?}");
        // Two polls, of 11 s at most.
        assert!(began.elapsed() <= 22 * SECOND, "{:?}", began.elapsed());
        let expected = match code {
            Code::NotFound => "its health service does not know the server as a whole (\"\")",
            _ => why
                .strip_prefix("Health/Check failed: ")
                .filter(|why| why.ends_with(": why"))
                .map_or("another text", |_| &why),
        };
        assert_eq!(why, expected);
        let error = get(&client).await.unwrap_err();
        assert!(error.to_string().contains(&why), "{error}");
        assert_eq!(server.calls().len(), 1);

        failing.remove();
        let (health, _) = told_health(&mut events, server.address()).await;
        assert_eq!(health, Health::Serving, "{code:?}");
        get(&client).await.unwrap();
        assert_eq!(connections(&server.calls()).len(), 1);
    }
}

/// 12: nothing guarded the reconnection. Each of the concurrent calls reconnected.
#[tokio::test]
async fn calls_that_find_the_connection_lost_dial_once_together() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        answering(&server);
        let client = connect(redialling(&server, server.address())).await;
        get(&client).await.unwrap();
        let mut events = client.events();
        server.kill().await;
        server.restart().await;
        lost(&mut events, server.address()).await;
        let silence = server.inject(Fault::silence());
        let before = client.stats().calls;
        let calls: Vec<_> = (0..64)
            .map(|_| tokio::spawn(client.call("Get", json!({})).into_future()))
            .collect();
        within(silence.hit()).await;
        until(|| client.stats().endpoints[0].in_flight == 64).await;
        assert_eq!((client.stats().calls - before, silence.hits()), (64, 1));
        silence.remove();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        assert_eq!(connections(&server.calls()[1..]).len(), 1, "{transport:?}");
        let counts = client.stats().endpoints[0].counts;
        assert_eq!((counts.connected, counts.dials_failed), (2, 0));
        assert_eq!(server.connections(), 1);
    }
}

/// 12: whoever reconnected closed the channel that the others' calls were on.
#[tokio::test]
async fn nobodys_call_is_cut_when_another_reconnects() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        answering(&server);
        let client = connect(redialling(&server, server.address())).await;
        get(&client).await.unwrap();
        let mut events = client.events();
        let held = server.inject(Fault::hold().method("Long"));
        let calls: Vec<_> = (0..32)
            .map(|_| tokio::spawn(client.call("Long", json!({})).into_future()))
            .collect();
        within(held.wait_for_hits(32)).await;
        server.inject(Fault::go_away(GoAway::graceful()).method("Get").once());
        for _ in 0..2 {
            get(&client).await.unwrap();
        }
        lost(&mut events, server.address()).await;
        for _ in 0..32 {
            get(&client).await.unwrap();
        }
        held.open();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        assert_eq!(connections(&server.calls_to("Long")).len(), 1);
        assert_eq!(client.stats().endpoints[0].counts.connected, 2);
    }
}

/// 13: the clients were rotated, and their weights were not: the heaviest was another server with every call.
#[tokio::test(start_paused = true)]
async fn weights_stay_with_their_servers_when_the_rotation_moves() {
    let cluster = answering_cluster(3).await;
    let weighted = |order: [usize; 3]| {
        order.map(|at| {
            let weight = [3, 2, 1][at];
            Endpoint::new(cluster[at].address()).unwrap().weight(weight)
        })
    };
    for (strategy, expected) in [
        (Strategy::Weighted, [300, 200, 100]),
        (Strategy::RoundRobin, [200, 200, 200]),
    ] {
        let builder = Client::builder()
            .endpoints(weighted([0, 1, 2]))
            .strategy(strategy);
        let client = ready(builder).await;
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            client.set_endpoints(weighted(order)).unwrap();
            let before = cluster.counts();
            let callers: Vec<_> = (0..60)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move {
                        for _ in 0..10 {
                            get(&client).await.expect("it answers");
                            tokio::task::yield_now().await;
                        }
                    })
                })
                .collect();
            for caller in callers {
                within(caller).await.unwrap();
            }
            let counts = cluster.counts();
            let counts: Vec<_> = (0..3).map(|at| counts[at] - before[at]).collect();
            assert_eq!(counts, expected, "{strategy} {order:?}");
        }
    }
}

/// 13: a call that failed over went through a list that others rotated, and so skipped servers or tried them again.
#[tokio::test(start_paused = true)]
async fn concurrent_calls_that_fail_over_try_every_server_once() {
    for strategy in STRATEGIES {
        let cluster = answering_cluster(3).await;
        let builder = balanced(&cluster).strategy(strategy).ejection(None);
        let client = ready(builder).await;
        // By `First` the third is dialled when one of the others is out.
        let failing = if strategy == Strategy::First { 1 } else { 2 };
        for server in cluster.iter().take(failing) {
            server.inject(Fault::status(Status::unavailable("full")).method("Get"));
        }
        let calls: Vec<_> = (0..64)
            .map(|id| {
                let call = client.call("Get", json!({"id": id})).idempotent();
                tokio::spawn(call.into_future())
            })
            .collect();
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        let calls = cluster.calls_to("Get");
        let tried = calls.iter().filter_map(|call| {
            let id = call.request()["id"].as_u64()?;
            Some((id, call.server_address().clone()))
        });
        let tried: Vec<_> = tried.collect();
        let distinct: HashSet<_> = tried.iter().collect();
        assert_eq!(tried.len(), distinct.len(), "{strategy}");
        let full = cluster.addresses()[..failing].to_vec();
        let answered = tried.iter().filter(|(_, at)| !full.contains(at));
        assert_eq!(answered.count(), 64, "{strategy}");
    }
}

/// 14: a strategy that does not exist was the first server: a typo sent all load there.
#[test]
fn a_strategy_that_does_not_exist_is_an_error_that_lists_those_that_do() {
    let read = |prefix: &str, value: &str| {
        let name = format!("{prefix}STRATEGY");
        ClientConfig::from_vars(
            prefix,
            |asked| Ok((asked == name).then(|| value.to_owned())),
        )
    };
    for prefix in ["PLUGIN_", "KV_"] {
        for typo in ["weigthed", "roundrobin", "round robin", "rr", "0"] {
            let error = read(prefix, typo).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "{prefix}STRATEGY: `{typo}` is no strategy, expected `first`, `least_request`, `random`, `round_robin` or `weighted`"
                )
            );
            assert!(error.is_config() && error.code().is_none(), "{error:?}");
            assert_eq!(
                typo.parse::<Strategy>().unwrap_err().to_string(),
                error.to_string()[prefix.len() + "STRATEGY: ".len()..]
            );
        }
        for strategy in STRATEGIES {
            let name = strategy.to_string();
            for name in [name.to_uppercase(), format!(" {name}\n"), name] {
                assert_eq!(read(prefix, &name).unwrap().strategy, strategy);
            }
        }
        assert_eq!(read(prefix, "").unwrap().strategy, Strategy::Weighted);
    }
}
