//! From `start()` to the first reply.

use crate::contestants::{Running, bare, mocktail, ours, ours_bare, wiremock};
use crate::echo::{reply_to, request};
use crate::load::{Caller, Say, channel};
use crate::ports;
use crate::report::{Report, Target};
use crate::rounds::{Contestant, Plan, compare, median_micros_of};
use crate::stage::Stage;
use rpcplugin_testkit::{MockServer, Reply, Stub};
use std::time::{Duration, Instant};

/// Every server by tonic's client over TCP, and ours by our client over TCP and in memory.
pub fn start(plan: &Plan) -> Vec<Report> {
    ports::rested(plan);
    let stage = Stage::current_thread();
    let reply = reply_to(request());
    let own = |memory: bool| {
        let stage = &stage;
        move || many(plan, || settled(stage, own_started(memory)))
    };
    let contestants = vec![
        Contestant::new("tonic", || many(plan, || settled(&stage, started(bare())))),
        Contestant::new("wiremock-grpc", || {
            settled(&stage, started(wiremock(&reply))).as_secs_f64() * 1e6
        }),
        Contestant::new("mocktail", || {
            settled(&stage, started(mocktail(&reply))).as_secs_f64() * 1e6
        }),
        Contestant::new("ours", || {
            many(plan, || settled(&stage, started(ours_bare(&reply))))
        }),
        Contestant::new("ours, with a schema", || {
            many(plan, || settled(&stage, started(ours(&reply))))
        }),
        Contestant::new("ours, our client", own(false)),
        Contestant::new("ours, our client, memory", own(true)),
    ];
    let compared = compare(contestants, plan);
    let names = ["ours", "ours, our client, memory", "ours, with a schema"];
    let [tcp, memory, schema] = names.map(|name| compared.ratio(name));
    let report = Report::rounds("start", stage.name, "µs", compared)
        .figure("start", tcp, Target::AtMost(1.0))
        .figure("start-memory", memory, Target::AtMost(0.5))
        .figure("start-with-schema", schema, Target::None);
    vec![report]
}

/// How many of a turn: all turns together leave fewer connections in TIME_WAIT than are in anybody's way.
const TURN: usize = 150;

/// The median of a turn.
fn many(plan: &Plan, once: impl FnMut() -> Duration) -> f64 {
    median_micros_of(TURN, plan.block / 2, once)
}

/// Measures one, and lets what is left of it end.
fn settled(stage: &Stage, one: impl Future<Output = Duration>) -> Duration {
    let taken = stage.set_up(one);
    stage.tasks();
    taken
}

async fn started(start: impl Future<Output = Running>) -> Duration {
    let begin = Instant::now();
    let server = start.await;
    let mut say = Say::new(channel(&server.uri).await, request());
    say.call().await.expect("a reply");
    begin.elapsed()
}

async fn own_started(memory: bool) -> Duration {
    let begin = Instant::now();
    let server = if memory {
        MockServer::memory().await
    } else {
        MockServer::start().await
    };
    server.mount(Stub::any().reply(Reply::message(&reply_to(request()))));
    let mut say = Say::new(server.client().await, request());
    say.call().await.expect("a reply");
    begin.elapsed()
}
