//! A thousand servers: started and dropped, what they leave behind, and what they weigh while they live.

use crate::contestants::{Bare, mocktail, serve, wiremock};
use crate::echo::{reply_to, request};
use crate::ports;
use crate::report::{Report, Target};
use crate::rounds::{Contestant, Plan, compare};
use crate::stage::Stage;
use rpcplugin_testkit::MockServer;
use std::{env, fs, process::Command, time::Instant};

/// How many.
const SERVERS: usize = 1000;

/// How many of a turn.
const TURN: usize = 100;

/// How many of those that take long.
const FEW: usize = 20;

/// Started and dropped; what is left; what a thousand weigh.
pub fn fleet(plan: &Plan) -> Vec<Report> {
    ports::rested(plan);
    let stage = Stage::current_thread();
    let contestants = vec![
        Contestant::new("tonic", || turn(&stage, async || drop(serve(Bare).await))),
        Contestant::new("ours", || {
            turn(&stage, async || drop(MockServer::start().await))
        }),
        Contestant::new("ours, Unix socket", || {
            turn(&stage, async || drop(MockServer::unix().await))
        }),
        Contestant::new("ours, memory", || {
            turn(&stage, async || drop(MockServer::memory().await))
        }),
    ];
    let compared = compare(contestants, plan);
    let ratio = compared.ratio("ours");
    let left = left_by(SERVERS, async || {
        drop(MockServer::start().await);
        drop(MockServer::unix().await);
    });
    let reply = reply_to(request());
    let wiremock = left_by(FEW, async || drop(wiremock(&reply).await));
    let mocktail = left_by(FEW, async || drop(mocktail(&reply).await));
    let weights = ["tonic", "ours"].map(weight);
    let report = Report::rounds("fleet", stage.name, "µs, start and drop", compared)
        .note(format!(
            "left by {SERVERS} of ours on TCP and as many on Unix sockets: {left}"
        ))
        .note(format!("left by {FEW} of wiremock-grpc: {wiremock}"))
        .note(format!("left by {FEW} of mocktail: {mocktail}"))
        .note(format!(
            "resident per server, of {SERVERS}: tonic {:.1} KiB, ours {:.1} KiB",
            weights[0], weights[1]
        ))
        .figure("fleet", ratio, Target::AtMost(2.0))
        .figure("fleet-left", left.sum(), Target::AtMost(0.0))
        .figure("fleet-rss-kib", weights[1], Target::AtMost(12.0));
    vec![report]
}

fn turn(stage: &Stage, one: impl AsyncFn()) -> f64 {
    let begin = Instant::now();
    stage.set_up(async {
        for _ in 0..TURN {
            one().await;
            // Whoever ends by being aborted ends here.
            tokio::task::yield_now().await;
        }
    });
    begin.elapsed().as_secs_f64() * 1e6 / TURN as f64
}

/// What is left of servers.
struct Left {
    tasks: usize,
    sockets: usize,
    files: usize,
    seconds: f64,
}

fn left_by(servers: usize, one: impl AsyncFn()) -> Left {
    let stage = Stage::current_thread();
    let (tasks, sockets, files) = (stage.tasks(), sockets(), files());
    let begin = Instant::now();
    for _ in 0..servers {
        stage.set_up(one());
    }
    let seconds = begin.elapsed().as_secs_f64();
    Left {
        tasks: stage.tasks().saturating_sub(tasks),
        sockets: self::sockets().saturating_sub(sockets),
        files: self::files().saturating_sub(files),
        seconds,
    }
}

impl Left {
    fn sum(&self) -> f64 {
        (self.tasks + self.sockets + self.files) as f64
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            tasks,
            sockets,
            files,
            seconds,
        } = self;
        write!(
            f,
            "{tasks} tasks, {sockets} sockets, {files} files; {seconds:.2} s"
        )
    }
}

fn sockets() -> usize {
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    let targets = open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// What is where our sockets are made.
fn files() -> usize {
    fs::read_dir(env::temp_dir()).map_or(0, Iterator::count)
}

/// The argument by which this program weighs servers, in a process that has done nothing before.
pub const WEIGH: &str = "--weigh";

/// KiB per server.
fn weight(whose: &str) -> f64 {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program).args([WEIGH, whose]).output();
    let output = output.expect("it runs").stdout;
    let text = String::from_utf8_lossy(&output);
    text.trim().parse().expect("a number")
}

/// What the other process does.
pub fn weigh(whose: &str) -> f64 {
    let stage = Stage::current_thread();
    if whose == "tonic" {
        weighed(&stage, async || serve(Bare).await)
    } else {
        weighed(&stage, async || MockServer::start().await)
    }
}

fn weighed<S>(stage: &Stage, one: impl AsyncFn() -> S) -> f64 {
    let first = stage.set_up(one());
    stage.tasks();
    let before = resident();
    let servers: Vec<S> = (0..SERVERS).map(|_| stage.set_up(one())).collect();
    stage.tasks();
    let grown = resident() - before;
    drop((first, servers));
    grown / SERVERS as f64
}

/// KiB of this process.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}
