//! A long record: whether it slows calls, what reading it costs, and how much room it takes.

use crate::allocations::Counter;
use crate::contestants::{Running, ours, recorder, wiremock};
use crate::echo::{DESCRIPTORS, SAY, reply_to, request};
use crate::load::{Say, channel, flood_of};
use crate::quartiles::short;
use crate::report::{Report, Target};
use crate::rounds::{Contestant, Plan, compare, median_micros};
use crate::stage::Stage;
use rpcplugin_testkit::{MockServer, Reply, Stub, json};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Calls to the other method, which are looked for among all.
const OTHERS: usize = 10;

/// The same number of calls by a server that has recorded a million, and by one that is new.
pub fn journal_1m(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let (first, recorded) = if plan.quick {
        (500, 10_000)
    } else {
        (10_000, 1_000_000)
    };
    let (warm_up, stretch) = (first / 20, first - first / 20);
    let long = stage.set_up(roomy());
    let say = stage.set_up(said(&long));
    stage.run(flood_of(say.clone(), 64, recorded));
    let contestants = vec![
        Contestant::new(format!("the first {first}"), || {
            let new = stage.set_up(roomy());
            let say = stage.set_up(said(&new));
            stage.run(flood_of(say.clone(), 64, warm_up));
            stage.run(flood_of(say, 64, stretch))
        }),
        Contestant::new(format!("after {recorded}"), || {
            stage.run(flood_of(say.clone(), 64, stretch))
        }),
    ];
    let compared = compare(contestants, &plan.fewer());
    let ratio = compared.ratio(&format!("after {recorded}"));
    let short_one = stage.set_up(roomy());
    stage.run(flood_of(stage.set_up(said(&short_one)), 64, first));
    let told = [&short_one, &long].map(|server| reading(&stage, server));
    let report = Report::rounds("journal-1m", stage.name, "calls/s", compared);
    let report = told.into_iter().fold(report, Report::note);
    let report = report.note(format!(
        "calls that there was no room for: {}",
        long.journal().dropped()
    ));
    vec![report.figure("journal-1m", ratio, Target::AtLeast(0.97))]
}

/// What counting and filtering by method cost.
fn reading(stage: &Stage, server: &MockServer) -> String {
    let client = stage.set_up(server.client());
    for _ in 0..OTHERS {
        let call = client.call("echo.v1.Parrot/Say", json!({}));
        stage.set_up(async { call.await.expect("a reply") });
    }
    let journal = server.journal();
    let timed = |what: &dyn Fn() -> usize| {
        let span = Duration::from_millis(20);
        let micros = median_micros(span, || {
            let begin = Instant::now();
            black_box(what());
            begin.elapsed()
        });
        short(micros)
    };
    format!(
        "of {} calls: counting all {} µs, one method {} µs; the {} calls to the other method {} µs",
        journal.len(),
        timed(&|| journal.len()),
        timed(&|| journal.to(SAY).len()),
        journal.to("echo.v1.Parrot/Say").len(),
        timed(&|| journal.to("echo.v1.Parrot/Say").calls().len()),
    )
}

/// One that has room for all of it.
async fn roomy() -> MockServer {
    let builder = MockServer::builder().descriptor_set(DESCRIPTORS);
    let server = builder.journal_limit(8 << 30).start().await;
    server.mount(Stub::any().reply(Reply::message(&reply_to(request()))));
    server
}

async fn said(server: &MockServer) -> Say<tonic::transport::Channel> {
    Say::new(channel(&server.uri()).await, request())
}

/// What one recorded call of 26 bytes keeps of memory.
pub fn bytes_per_call(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let (before, calls) = if plan.quick {
        (500, 2_500)
    } else {
        (10_000, 90_000)
    };
    let reply = reply_to(request());
    let grown = |server: Running| {
        let say = stage.set_up(async { Say::new(channel(&server.uri).await, request()) });
        stage.run(flood_of(say.clone(), 64, before));
        let counter = Counter::start();
        stage.run(flood_of(say, 64, calls));
        (server.name, counter.grown() as f64 / calls as f64)
    };
    let grown = [
        grown(stage.set_up(recorder())),
        grown(stage.set_up(wiremock(&reply))),
        grown(stage.set_up(ours(&reply))),
    ];
    let stage = format!("{}; over {calls} calls", stage.name);
    let ours = grown[2].1;
    let report = Report::text("bytes-per-call", stage);
    let report = grown.iter().fold(report, |report, (name, bytes)| {
        report.note(format!("{name:<26} {bytes:>10.0} B"))
    });
    vec![report.figure("bytes-per-call", ours, Target::AtMost(400.0))]
}
