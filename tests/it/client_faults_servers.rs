//! More of `client_faults.rs`: the faults 16 to 18, which are of servers that are down when a client connects, and later.

use crate::client_probe::{
    STRATEGIES, answering_cluster, balanced, connect, connected, eventually, get, lost, passing,
    ready,
};
use crate::faults_probe::Make;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::Backoff;
use rpcplugin_testkit::{Address, Code, Fault, MockCluster, Status, Strategy, json};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Ways to be dead; `None` for not being there at all.
const DEATHS: [Option<Make>; 4] = [
    None,
    Some(Fault::refuse),
    Some(Fault::close_on_accept),
    Some(Fault::silence),
];

async fn die(cluster: &MockCluster, server: usize, how: Option<Make>) {
    match how {
        None => cluster[server].kill().await,
        Some(fault) => drop(cluster[server].inject(fault())),
    }
}

/// 16: the servers were dialled one after the other, and the first that was down was the end of it.
#[tokio::test(start_paused = true)]
async fn one_dead_server_of_three_costs_a_client_no_time() {
    for strategy in STRATEGIES {
        for dead in 0..3 {
            for how in DEATHS {
                let cluster = answering_cluster(3).await;
                die(&cluster, dead, how).await;
                let began = Instant::now();
                let client = connect(balanced(&cluster).strategy(strategy)).await;
                for _ in 0..10 {
                    get(&client).await.unwrap();
                }
                let case = format!("{strategy} {dead}");
                assert_eq!(began.elapsed(), Duration::ZERO, "{case}");
                assert_eq!(client.stats().endpoints.len(), 3, "{case}");
                assert_eq!((cluster.counts()[dead], cluster.calls().len()), (0, 10));
            }
        }
    }
}

/// 16: connecting took the sum of the timeouts, and what had been connected before the failure was never closed.
#[tokio::test(start_paused = true)]
async fn connecting_in_vain_takes_one_timeout_and_leaves_nothing() {
    for strategy in STRATEGIES {
        if strategy == Strategy::First {
            // It dials two at a time, in order.
            continue;
        }
        let cluster = answering_cluster(3).await;
        let silence = cluster.inject(Fault::silence());
        let began = Instant::now();
        let builder = balanced(&cluster)
            .strategy(strategy)
            .connect_timeout(5 * SECOND);
        let error = within(builder.connect()).await.unwrap_err();
        assert_eq!(began.elapsed(), 5 * SECOND, "{strategy}");
        let expected = cluster.addresses().into_iter().map(|address| {
            format!("\n  no connection to {address} within the connect timeout of 5s (0.0ns ago)")
        });
        let expected = format!("no endpoint takes calls:{}", expected.collect::<String>());
        assert_eq!(error.to_string(), expected);
        silence.remove();
        for server in &cluster {
            eventually(|| server.connections() == 0).await;
        }
    }

    // Nor does a client that is dropped while it dials the third.
    let cluster = answering_cluster(3).await;
    let silence = cluster[2].inject(Fault::silence());
    let lost = tokio::spawn({
        let builder = balanced(&cluster);
        async move { drop(builder.connect().await) }
    });
    within(lost).await.unwrap();
    silence.remove();
    for server in &cluster {
        eventually(|| server.connections() == 0).await;
    }
}

/// 17: a server that was down at the start was never dialled again.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_at_the_start_is_used_when_it_is_up() {
    for strategy in STRATEGIES {
        for how in DEATHS {
            let cluster = answering_cluster(3).await;
            let fault = match how {
                None => {
                    cluster[0].kill().await;
                    None
                }
                Some(fault) => Some(cluster[0].inject(fault())),
            };
            let client = connect(balanced(&cluster).strategy(strategy)).await;
            let mut events = client.events();
            for _ in 0..10 {
                get(&client).await.unwrap();
            }
            assert_eq!(cluster.counts()[0], 0);
            match fault {
                None => cluster[0].restart().await,
                Some(fault) => fault.remove(),
            }
            connected(&mut events, cluster[0].address()).await;
            for _ in 0..60 {
                get(&client).await.unwrap();
            }
            let used = cluster.counts()[0];
            assert!(used > 0, "{strategy}");
            assert!(strategy != Strategy::First || used == 60, "{used}");
        }
    }
}

/// What a caller is told when none of these is there.
fn none_there(addresses: &[Address], call: &str) -> String {
    let lines = addresses.iter().map(|address| {
        format!(
            "\n  cannot connect to {address}: no server of this process has that name (0.0ns ago)"
        )
    });
    format!(
        "{call}no endpoint takes calls:{}",
        lines.collect::<String>()
    )
}

/// 17: with all servers down a call was made on none of them, and returned as if it had succeeded.
#[tokio::test(start_paused = true)]
async fn with_all_servers_down_a_call_fails_and_names_each() {
    for strategy in STRATEGIES {
        let cluster = answering_cluster(3).await;
        let addresses = cluster.addresses();
        cluster.kill_all().await;
        let builder = balanced(&cluster).strategy(strategy);
        let error = within(builder.clone().connect()).await.unwrap_err();
        assert_eq!(error.to_string(), none_there(&addresses, ""), "{strategy}");
        assert!(error.is_connect() && error.code() == Some(Code::Unavailable));

        let client = builder.connect_lazy().unwrap();
        let mut events = client.events();
        let unary = || client.unary::<(), ()>("/a.B/C", ());
        for call in [unary(), unary().idempotent()] {
            let error = within(call.into_future()).await.unwrap_err();
            let expected = none_there(&addresses, "/a.B/C cannot be called: ");
            assert_eq!(error.to_string(), expected, "{strategy}");
            assert!(error.is_connect() && error.code() == Some(Code::Unavailable));
        }
        cluster.restart_all().await;
        connected(&mut events, cluster[0].address()).await;
        get(&client).await.unwrap();
    }
}

async fn assert_all_go_to(cluster: &MockCluster, client: &rpcplugin_testkit::Client, at: usize) {
    let before = cluster.counts();
    let began = Instant::now();
    for _ in 0..50 {
        get(client).await.expect("it goes on");
    }
    let mut expected = before;
    expected[at] += 50;
    assert_eq!(cluster.counts(), expected);
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for a clock");
}

/// 18: a backup that failed led back to the primary, which was down, or to the first backup; the calls of the next seconds
/// failed; and nothing ever led back to a primary that was up.
#[tokio::test(start_paused = true)]
async fn calls_go_to_the_first_server_that_is_up_and_back_without_flapping() {
    let cluster = answering_cluster(3).await;
    let backoff = Backoff {
        max: 10 * SECOND,
        ..Backoff::default()
    };
    let builder = balanced(&cluster).strategy(Strategy::First);
    let client = ready(builder.backoff(backoff)).await;
    let mut events = client.events();
    assert_all_go_to(&cluster, &client, 0).await;
    for (down, next) in [(0, 1), (1, 2)] {
        cluster[down].kill().await;
        lost(&mut events, cluster[down].address()).await;
        assert_all_go_to(&cluster, &client, next).await;
        // While the others are dialled, in vain.
        passing(300 * SECOND).await;
        assert_all_go_to(&cluster, &client, next).await;
    }
    for up in [1, 0] {
        cluster[up].restart().await;
        connected(&mut events, cluster[up].address()).await;
        assert_all_go_to(&cluster, &client, up).await;
        passing(300 * SECOND).await;
        assert_all_go_to(&cluster, &client, up).await;
    }
    // One that is down between them moves nobody.
    cluster[1].kill().await;
    assert_all_go_to(&cluster, &client, 0).await;
}

/// 18: calls in flight at the same time as the failure were failed by it, each of 64 callers in the window.
#[tokio::test(start_paused = true)]
async fn sixty_four_callers_fail_over_together_and_none_of_them_fails() {
    let cluster = answering_cluster(3).await;
    let client = ready(balanced(&cluster).strategy(Strategy::First)).await;
    let held = cluster[0].inject(Fault::hold().method("Get"));
    let calls: Vec<_> = (0..64)
        .map(|id| {
            let call = client.call("Get", json!({"id": id})).idempotent();
            tokio::spawn(call.into_future())
        })
        .collect();
    within(held.wait_for_hits(64)).await;
    cluster[0].kill().await;
    for call in calls {
        within(call).await.unwrap().unwrap();
    }
    assert_eq!(cluster.counts_to("Get"), [64, 64, 0]);
}

/// 18: any mistake of the application made the client fail over.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_an_error_leads_to_no_other_server() {
    let answers = [
        Code::Cancelled,
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Unauthenticated,
    ];
    for code in answers {
        let cluster = answering_cluster(2).await;
        let client = ready(balanced(&cluster).strategy(Strategy::First)).await;
        let fault = cluster[0].inject(Fault::status(Status::new(code, "no")).method("Get"));
        for _ in 0..20 {
            let call = client.call("Get", json!({})).idempotent();
            let error = within(call.into_future()).await.unwrap_err();
            assert_eq!(error.code(), Some(code));
        }
        fault.remove();
        get(&client).await.unwrap();
        assert_eq!(cluster.counts_to("Get"), [21, 0], "{code:?}");
    }
}

/// 18: a backup that answered with failures only was called, or the primary again, and no other backup.
#[tokio::test(start_paused = true)]
async fn servers_that_are_up_and_always_fail_give_way_to_the_next() {
    let cluster = answering_cluster(4).await;
    let client = ready(balanced(&cluster).strategy(Strategy::First)).await;
    let failing: Vec<_> = (0..3)
        .map(|at| cluster[at].inject(Fault::status(Status::internal("broken")).method("Get")))
        .collect();
    let mut failed = 0;
    for _ in 0..20 {
        failed += usize::from(get(&client).await.is_err());
    }
    assert_eq!(failed, 15);
    assert_eq!(cluster.counts_to("Get"), [5, 5, 5, 5]);

    // And back, when they answer again.
    for fault in failing {
        fault.remove();
    }
    passing(2 * SECOND).await;
    for _ in 0..4 {
        get(&client).await.unwrap();
    }
    assert_all_go_to(&cluster, &client, 0).await;
}
