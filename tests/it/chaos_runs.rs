//! Chaos carried out: under load, on all transports, stopped at its end, early, or in the middle.

use crate::chaos::{Servers, everything};
use crate::cluster::{clients, clusters, dial, get};
use crate::judges::request;
use crate::support::echo::echo_client::EchoClient;
use crate::support::{echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::ChaosReport;
use rpcplugin_testkit::{
    Address, Call, Client, Code, MockCluster, MockServer, Outcome, Stub, json,
};
use std::{collections::HashMap, time::Duration};
use tokio::time::{Instant, sleep_until};
use tonic::transport::Endpoint;

const MS: Duration = Duration::from_millis(1);

pub(crate) async fn cluster(seed: u64) -> MockCluster {
    let cluster = MockServer::builder().memory().seed(seed);
    let cluster = cluster.start_cluster(3).await;
    mount(&cluster);
    cluster
}

pub(crate) fn mount(cluster: &MockCluster) {
    cluster.mount(Stub::any().reply(|call: &Call| json!({"n": call.request()["n"]})));
}

/// All serve, at once, and nothing is left of what was injected.
pub(crate) async fn is_as_before(cluster: &MockCluster) {
    // Where time is paused it passes only when somebody waits.
    let before = Instant::now();
    tokio::task::yield_now().await;
    let paused = before.elapsed() == Duration::ZERO;
    for server in cluster {
        assert!(server.is_up() && !server.is_paused(), "{server:?}");
        let client = within(dial(server, server.address()))
            .await
            .expect("it listens");
        for _ in 0..5 {
            let (before, came) = (Instant::now(), server.journal().len());
            get(&client).await.expect("it serves");
            if paused {
                assert_eq!(before.elapsed(), Duration::ZERO);
            }
            assert_eq!(server.calls()[came].outcome(), Some(Outcome::Ok));
        }
    }
}

/// A client of each server, which knows already that it has no schema.
async fn ready_clients(cluster: &MockCluster) -> Vec<Client> {
    let clients = clients(cluster).await;
    for client in &clients {
        within(client.call("Ready", json!({})).into_future())
            .await
            .expect("it serves");
    }
    clients
}

/// How calls ended, by their number.
pub(crate) type Ends = HashMap<u64, Result<u64, (Code, String)>>;

/// Calls a server again and again.
pub(crate) async fn call(client: &Client, numbers: std::ops::Range<u64>) -> Ends {
    let mut ends = Ends::new();
    for n in numbers {
        let call = client.call("Get", json!({"n": n})).timeout(100 * MS);
        let end = within(call.into_future()).await;
        let end = end.map(|reply| reply["n"].as_u64().expect("a number"));
        let end = end.map_err(|error| (error.code().expect("a code"), error.to_string()));
        ends.insert(n, end);
        sleep_until(Instant::now() + 5 * MS).await;
    }
    ends
}

/// What the clients know is what the mock knows, as far as both can.
fn agree(ends: &Ends, cluster: &MockCluster, report: &ChaosReport) {
    let mut recorded = HashMap::new();
    for call in cluster.journal().to("Get").calls() {
        let n = call.request()["n"].as_u64().expect("a number");
        let outcome = call.outcome().expect("it has ended");
        let earlier = recorded.insert(n, outcome);
        assert_eq!(earlier, None, "{n} came twice");
    }
    let mut broken = 0;
    for (n, end) in ends {
        let outcome = recorded.get(n);
        match end {
            Ok(answer) => assert_eq!((answer, outcome), (n, Some(&Outcome::Ok))),
            Err((Code::Unavailable, text)) if text.contains("chaos") => {
                assert_eq!(
                    outcome,
                    Some(&Outcome::Status(Code::Unavailable)),
                    "{n}: {text}"
                );
            }
            Err((Code::Internal, text)) => {
                assert_eq!(outcome, Some(&Outcome::Faulted), "{n}: {text}");
            }
            Err((Code::Unavailable | Code::DeadlineExceeded, _)) => {}
            Err((code, text)) => panic!("{n}: {code:?}: {text}"),
        }
        let hit = [Outcome::Status(Code::Unavailable), Outcome::Faulted];
        broken += u64::from(outcome.is_some_and(|outcome| hit.contains(outcome)));
    }
    assert_eq!(broken, report.hits(), "{report}");
}

/// What an onlooker sees of the servers at each millisecond.
async fn watch(cluster: &MockCluster, lasting: Duration) -> Vec<Servers> {
    let (began, mut seen) = (Instant::now(), Vec::new());
    while began.elapsed() < lasting {
        let mut now = Servers::new(cluster.len());
        now.up = cluster.iter().map(MockServer::is_up).collect();
        now.paused = cluster.iter().map(MockServer::is_paused).collect();
        seen.push(now);
        sleep_until(Instant::now() + MS).await;
    }
    seen
}

/// One run on a paused clock under load, with what an onlooker saw.
async fn run(seed: u64) -> (ChaosReport, Vec<Servers>) {
    const LASTING: Duration = Duration::from_secs(5);
    let cluster = cluster(seed).await;
    let clients = ready_clients(&cluster).await;
    let load = async {
        tokio::join!(
            call(&clients[0], 0..500),
            call(&clients[1], 1000..1500),
            call(&clients[2], 2000..2500),
            watch(&cluster, LASTING),
        )
    };
    let chaos = everything(2.0).keep_up(1).lasting(LASTING);
    let planned = cluster.schedule(&chaos);
    let (load, report) = within(cluster.run_while(chaos, load)).await;
    assert_eq!(report.events(), planned);
    assert_eq!((report.seed(), report.lasted()), (seed, LASTING));
    let (one, two, three, seen) = load;
    let ends: Ends = one.into_iter().chain(two).chain(three).collect();
    assert_eq!(ends.len(), 1500);
    within(cluster.verify()).await.expect("all ended");
    agree(&ends, &cluster, &report);
    let answered = ends.values().filter(|end| end.is_ok()).count();
    assert!((100..1490).contains(&answered), "{answered}");
    is_as_before(&cluster).await;
    (report, seen)
}

/// What is seen from outside is what was planned, to the millisecond.
fn was_so(seen: &[Servers], report: &ChaosReport) {
    let mut events = report.events().iter().peekable();
    let mut state = Servers::new(3);
    for (seen, at) in seen.iter().zip(0..) {
        let same = |state: &Servers| state.up == seen.up && state.paused == seen.paused;
        // What happens in this very millisecond may be seen or not.
        let mut fits = same(&state);
        while let Some(event) = events.next_if(|event| event.at <= at * MS) {
            state.apply(event);
            fits |= same(&state);
        }
        assert!(fits, "{at}ms: {seen:?}\n{report}");
    }
    assert_eq!(events.next(), None);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_does_the_same_at_the_same_times_and_all_is_put_back() {
    for seed in [1, 2, 3] {
        let (report, seen) = run(seed).await;
        assert!(report.events().len() > 30, "{report}");
        assert!(report.hits() > 5, "{report}");
        was_so(&seen, &report);
        assert_eq!(run(seed).await, (report, seen));
    }
}

#[tokio::test]
async fn every_call_has_an_end_on_all_transports() {
    for cluster in clusters().await {
        mount(&cluster);
        let clients = ready_clients(&cluster).await;
        let chaos = everything(30.0)
            .restart(60.0)
            .resume(60.0)
            .lasting(300 * MS);
        let load = async {
            tokio::join!(
                call(&clients[0], 0..20),
                call(&clients[1], 1000..1020),
                call(&clients[2], 2000..2020),
            )
        };
        let ((one, two, three), report) = within(cluster.run_while(chaos, load)).await;
        let ends: Ends = one.into_iter().chain(two).chain(three).collect();
        assert_eq!(ends.len(), 60);
        within(cluster.verify()).await.unwrap();
        agree(&ends, &cluster, &report);
        is_as_before(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_clients_live_through_it() {
    for builder in [MockServer::builder(), MockServer::builder().unix()] {
        let cluster = builder.schema(echo_schema()).start_cluster(2).await;
        cluster.mount(Stub::method("Echo/Say").reply(json!({"message": "said"})));
        let mut loads = Vec::new();
        for address in cluster.addresses() {
            let uri = match &address {
                Address::Unix(path) => format!("unix://{}", path.display()),
                other => other.uri(),
            };
            let endpoint = Endpoint::from_shared(uri).unwrap().timeout(100 * MS);
            let mut stub = EchoClient::new(endpoint.connect_lazy());
            loads.push(tokio::spawn(async move {
                let mut codes = Vec::new();
                for _ in 0..40 {
                    let said = within(stub.say(request("hello"))).await;
                    codes.push(said.map_or_else(|status| status.code(), |_| Code::Ok));
                    sleep_until(Instant::now() + 5 * MS).await;
                }
                (stub, codes)
            }));
        }
        let chaos = everything(20.0)
            .restart(60.0)
            .resume(60.0)
            .lasting(400 * MS);
        let report = within(cluster.run(chaos)).await;
        assert!(report.events().len() > 10, "{report}");
        for load in loads {
            let (mut stub, codes) = within(load).await.unwrap();
            let known = [
                Code::Ok,
                Code::Unavailable,
                Code::Internal,
                Code::Cancelled,
                Code::Unknown,
                Code::DeadlineExceeded,
            ];
            assert!(codes.iter().all(|code| known.contains(code)), "{codes:?}");
            // Its channel may have to find out first that its connection is gone.
            let again = async {
                while stub.say(request("hello")).await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            within(again).await;
        }
        within(cluster.verify()).await.unwrap();
        assert!(
            cluster
                .journal()
                .calls()
                .iter()
                .all(|call| call.outcome().is_some())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_ends_the_chaos_and_the_chaos_never_ends_it() {
    for (millis, lasting, lasted) in [(1000, 10_000, 1000), (3000, 2000, 2000), (0, 1000, 0)] {
        let cluster = cluster(42).await;
        let chaos = everything(3.0).lasting(lasting * MS);
        let planned = cluster.schedule(&chaos);
        let began = Instant::now();
        let load = async {
            sleep_until(began + millis * MS).await;
            "done"
        };
        let (load, report) = within(cluster.run_while(chaos, load)).await;
        assert_eq!((load, began.elapsed()), ("done", millis * MS));
        assert_eq!(report.lasted(), lasted * MS);
        let came: Vec<_> = planned
            .into_iter()
            .filter(|event| event.at < lasted * MS)
            .collect();
        assert_eq!(report.events(), came);
        // What was down, paused or slow then is not any more, and nothing else was done.
        let mut state = Servers::new(3);
        report
            .events()
            .iter()
            .chain(report.restored())
            .for_each(|event| state.apply(event));
        assert_eq!(state, Servers::new(3));
        is_as_before(&cluster).await;
    }
}
