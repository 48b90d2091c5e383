//! Chaos that is dropped, that begins or ends badly, and what is told of it.

use crate::chaos::everything;
use crate::chaos_runs::{call, cluster, is_as_before};
use crate::cluster::dial;
use crate::support::within;
use pretty_assertions::{assert_eq, assert_ne};
use rpcplugin_testkit::mock::ChaosAction;
use rpcplugin_testkit::{Chaos, MockCluster, MockServer, Reason, Status, Stub, json};
use std::{env, process::Command, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn dropped_at_any_moment_it_puts_everything_back() {
    let cluster = cluster(42).await;
    let chaos = || everything(10.0).lasting(Duration::MAX);
    drop(cluster.run(chaos()));
    for millis in (0..1500).step_by(37) {
        timeout(millis * MS, cluster.run(chaos()))
            .await
            .unwrap_err();
        is_as_before(&cluster).await;
    }
    // With its task.
    let cluster = Arc::new(cluster);
    for _ in 0..20 {
        let shared = Arc::clone(&cluster);
        let task = tokio::spawn(async move { shared.run(everything(100.0)).await });
        sleep_until(Instant::now() + 77 * MS).await;
        task.abort();
        assert!(within(task).await.unwrap_err().is_cancelled());
        is_as_before(&cluster).await;
    }
}

#[tokio::test]
async fn a_runtime_that_ends_ends_it() {
    let end = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let running = async {
            let cluster = MockServer::builder().start_cluster(2).await;
            tokio::spawn(async move { cluster.run(everything(100.0)).await });
            sleep_until(Instant::now() + 50 * MS).await;
        };
        runtime.block_on(running);
    };
    within(tokio::task::spawn_blocking(end)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_single_server_has_its_chaos_too() {
    let server = MockServer::builder()
        .memory()
        .seed(9)
        .verify_on_drop(false)
        .start()
        .await;
    server.mount(Stub::any().reply(json!({"n": 1})));
    server.mount(
        Stub::method("Never")
            .reply(json!({}))
            .named("never")
            .times(1),
    );
    let client = dial(&server, server.address()).await.unwrap();
    let chaos = everything(5.0).lasting(1000 * MS);
    let report = server.run(chaos.clone()).await;
    assert_eq!(report.events(), chaos.clone().seed(9).schedule(1));
    let (ends, again) = within(server.run_while(chaos, call(&client, 0..200))).await;
    assert_eq!((again.events(), ends.len()), (report.events(), 200));
    assert!(server.is_up() && !server.is_paused());
    let verdict = within(server.verify()).await.unwrap_err().to_string();
    let told = "\nevents of chaos were drawn from a seed: RPCPLUGIN_TESTKIT_SEED=9 repeats them";
    assert!(verdict.ends_with(told), "{verdict}");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_tells_the_seed_unless_the_chaos_has_its_own() {
    for (own, kill, what) in [
        (false, false, Some("events of chaos")),
        (false, true, Some("choices of servers and events of chaos")),
        (true, true, Some("choices of servers")),
        (true, false, None),
    ] {
        let builder = MockServer::builder()
            .memory()
            .seed(42)
            .verify_on_drop(false);
        let cluster = builder.start_cluster(2).await;
        cluster.mount(Stub::any().reply(json!({})).times(1));
        let chaos = Chaos::new().kill(1.0);
        let chaos = if own { chaos.seed(7) } else { chaos };
        within(cluster.run(chaos)).await;
        if kill {
            within(cluster.kill_any()).await;
        }
        let verdict = within(cluster.verify()).await.unwrap_err().to_string();
        let told = |what| {
            format!("\n{what} were drawn from a seed: RPCPLUGIN_TESTKIT_SEED=42 repeats them")
        };
        match what {
            Some(what) => assert!(verdict.ends_with(&told(what)), "{verdict}"),
            None => assert!(!verdict.contains("SEED"), "{verdict}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_begins_with_servers_that_serve() {
    for pause in [false, true] {
        let cluster = Arc::new(cluster(1).await);
        if pause {
            cluster[2].pause();
        } else {
            cluster[2].kill().await;
        }
        let shared = Arc::clone(&cluster);
        let line = line!() + 1;
        let task = tokio::spawn(async move { shared.run(Chaos::new()).await });
        let panic = within(task).await.unwrap_err().into_panic();
        let text = format!(
            "chaos at {}:{line}:53 begins with servers that are up and not paused, and server 2 is not",
            file!()
        );
        assert_eq!(panic.downcast_ref(), Some(&text));
    }
}

/// What panics beside it is told, and not hidden by a second panic.
#[tokio::test(start_paused = true)]
async fn a_load_that_panics_takes_it_down() {
    let cluster = Arc::new(cluster(3).await);
    let shared = Arc::clone(&cluster);
    let task = tokio::spawn(async move {
        let load = async {
            sleep_until(Instant::now() + 900 * MS).await;
            panic!("the load's own");
        };
        let ((), _) = shared.run_while(everything(20.0), load).await;
    });
    let panic = within(task).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"the load's own"));
    assert!(!cluster.iter().any(MockServer::is_paused));
}

#[tokio::test(start_paused = true)]
async fn a_report_is_read_by_people() {
    let cluster = cluster(1).await;
    let chaos = Chaos::new()
        .seed(5)
        .kill(2.0)
        .status(2.0, Status::unavailable("chaos"))
        .reset(1.0, Reason::CANCEL)
        .lasting(1000 * MS);
    let planned = chaos.schedule(3);
    let report = cluster.run(chaos).await;
    let mut told = format!(
        "1.000s of chaos from the seed 5: {} events, 0 calls hit",
        planned.len()
    );
    for event in &planned {
        told += &format!("\n  {event}");
    }
    let mut killed: Vec<_> = planned
        .iter()
        .filter(|event| event.what == ChaosAction::Kill)
        .collect();
    killed.sort_by_key(|event| event.server);
    for event in killed {
        told += &format!("\n  1.000s server {}: restarted, at the end", event.server);
    }
    assert_eq!(report.to_string(), told);
}

/// Runs the test below, which fails, in a process of its own, and gives what it tells.
fn failure(seed: Option<&str>) -> String {
    let mut command = Command::new(env::current_exe().expect("this test is a program"));
    command.args([
        "--exact",
        "chaos_ends::a_test_that_fails",
        "--ignored",
        "--nocapture",
    ]);
    match seed {
        Some(seed) => command.env("RPCPLUGIN_TESTKIT_SEED", seed),
        None => command.env_remove("RPCPLUGIN_TESTKIT_SEED"),
    };
    let output = command.output().expect("it runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_failing_test_tells_the_seed_and_the_variable_repeats_it() {
    let first = failure(None);
    let (_, told) = first
        .split_once("\nthe mock cluster drew its ")
        .unwrap_or_else(|| panic!("{first}"));
    let seed: String = told
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    let line = format!(
        "events of chaos from the seed {seed}: RPCPLUGIN_TESTKIT_SEED={seed} repeats them\n"
    );
    assert!(told.starts_with(&line), "{first}");
    let events = |told: &str| -> Vec<String> {
        let lines = told.lines().filter(|line| line.contains("s server "));
        lines.map(str::to_owned).collect()
    };
    assert!(events(&first).len() > 50, "{first}");
    assert_eq!(events(&failure(Some(&seed))), events(&first));
    assert_ne!(events(&failure(None)), events(&first));
}

#[tokio::test(start_paused = true)]
#[ignore = "run by the test above, in a process of its own"]
async fn a_test_that_fails() {
    let cluster = MockCluster::memory(3).await;
    // So many that no seed draws few.
    let report = cluster.run(everything(20.0)).await;
    panic!("{report}");
}
