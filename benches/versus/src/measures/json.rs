//! Stubs that match and answer in JSON: one, and a thousand.

use crate::contestants::{Running, bare, ours, ours_json, wiremock_by_header};
use crate::echo::{reply_to, request};
use crate::load::{Say, allocations, channel, flood};
use crate::report::{Report, Target};
use crate::rounds::{Compared, Contestant, Plan, compare};
use crate::stage::Stage;
use tonic::transport::Channel;

/// What matching and answering by a schema costs.
pub fn json_stub(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let servers = stage.set_up(async {
        vec![
            said(bare().await, None).await,
            said(ours(&reply_to(request())).await, None).await,
            said(ours_json("ours, JSON", 1).await, None).await,
        ]
    });
    let compared = flooded(&stage, &servers, &[0, 0, 0], plan);
    let ratio = compared.ratio("ours, JSON");
    let report = Report::rounds("json-stub", stage.name, "calls/s", compared);
    vec![report.figure("json-stub", ratio, Target::AtLeast(0.90))]
}

/// Whether the number of stubs matters.
pub fn stubs_1000(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let reply = reply_to(request());
    let servers = stage.set_up(async {
        let theirs = (
            wiremock_by_header("wiremock-grpc, 1 by header", 1, &reply).await,
            wiremock_by_header("wiremock-grpc, 1000", 1000, &reply).await,
        );
        vec![
            said(ours_json("ours, 1 stub", 1).await, None).await,
            said(ours_json("ours, 1000 stubs", 1000).await, None).await,
            said(theirs.0, Some("0")).await,
            said(theirs.1, Some("999")).await,
        ]
    });
    let compared = flooded(&stage, &servers, &[0, 0, 2, 2], plan);
    let ratio = compared.ratio("ours, 1000 stubs");
    let stage = format!("{}; JSON equality, the one asked last matches", stage.name);
    let report = Report::rounds("stubs-1000", stage, "calls/s", compared);
    vec![report.figure("stubs-1000", ratio, Target::AtLeast(0.85))]
}

/// A server and its caller, which sends this header.
async fn said(server: Running, header: Option<&'static str>) -> (Running, Say<Channel>) {
    let say = Say::new(channel(&server.uri).await, request());
    match header {
        Some(value) => (server, say.header(value)),
        None => (server, say),
    }
}

fn flooded(
    stage: &Stage,
    servers: &[(Running, Say<Channel>)],
    references: &[usize],
    plan: &Plan,
) -> Compared {
    let contestants = servers
        .iter()
        .zip(references)
        .map(|((server, say), reference)| {
            let turn = || stage.run(flood(say.clone(), 64, plan.block));
            let mut one = Contestant::new(server.name, turn);
            one.reference = *reference;
            one.allocations = Some(stage.run(allocations(say.clone(), plan.counted)));
            one
        });
    compare(contestants.collect(), plan)
}
