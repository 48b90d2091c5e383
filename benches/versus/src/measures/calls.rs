//! One client, five servers: how fast each answers.

use crate::contestants::{Running, all};
use crate::echo::{EchoRequest, reply_to, request, request_of};
use crate::load::{Say, allocations, channel, flood, one_by_one};
use crate::measures::{profiled, wanted};
use crate::report::{Report, Target};
use crate::rounds::{Compared, Contestant, Plan, compare};
use crate::stage::Stage;
use tonic::transport::Channel;

/// The runtime whose figures count, and the other.
fn stages() -> [Stage; 2] {
    [Stage::current_thread(), Stage::two_workers()]
}

/// 26 bytes, 64 in flight, one channel.
pub fn throughput(plan: &Plan) -> Vec<Report> {
    flooded(
        "throughput",
        request(),
        plan,
        Target::AtLeast(wanted(1.15, 1.20)),
    )
}

/// 64 KiB there and back.
pub fn throughput_64k(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let compared = flood_all(&stage, &request_of(64 << 10), plan);
    let ratio = compared.ratio("ours");
    let report = Report::rounds("throughput-64k", stage.name, "calls/s", compared);
    vec![report.figure("throughput-64k", ratio, Target::AtLeast(1.0))]
}

fn flooded(name: &'static str, request: EchoRequest, plan: &Plan, target: Target) -> Vec<Report> {
    let report = |stage: Stage| {
        let main = stage.name == "current thread";
        let compared = flood_all(&stage, &request, plan);
        let ratio = compared.ratio("ours");
        let report = Report::rounds(name, stage.name, "calls/s", compared);
        if main {
            report.figure(profiled(name), ratio, target)
        } else {
            report.figure(
                profiled(&format!("{name}-two-workers")),
                ratio,
                Target::None,
            )
        }
    };
    stages().map(report).into()
}

fn flood_all(stage: &Stage, request: &EchoRequest, plan: &Plan) -> Compared {
    let servers = servers(stage, request);
    let contestants = servers.iter().map(|(server, say)| {
        let mut one = Contestant::new(server.name, || {
            turn(stage, server, flood(say.clone(), 64, plan.block))
        });
        one.allocations = Some(stage.run(allocations(say.clone(), plan.counted)));
        one
    });
    compare(contestants.collect(), plan)
}

/// One call after the other.
pub fn latency(plan: &Plan) -> Vec<Report> {
    let report = |stage: Stage| {
        let servers = servers(&stage, &request());
        let contestants = servers.iter().map(|(server, say)| {
            Contestant::new(server.name, || {
                turn(&stage, server, one_by_one(say.clone(), plan.block))
            })
        });
        let compared = compare(contestants.collect(), plan);
        let ratio = compared.ratio("ours");
        let report = Report::rounds("latency", stage.name, "p50, µs", compared);
        if stage.name == "current thread" {
            let target = Target::AtMost(wanted(0.92, 0.82));
            report.figure(profiled("latency"), ratio, target)
        } else {
            report.figure(profiled("latency-two-workers"), ratio, Target::None)
        }
    };
    stages().map(report).into()
}

/// All servers, and a client of each.
fn servers(stage: &Stage, request: &EchoRequest) -> Vec<(Running, Say<Channel>)> {
    let request = request.clone();
    stage.set_up(async move {
        let mut servers = Vec::new();
        for server in all(&reply_to(request.clone())).await {
            let say = Say::new(channel(&server.uri).await, request.clone());
            servers.push((server, say));
        }
        servers
    })
}

/// What a server wants done before its turn, the turn, and what the turn leaves behind.
fn turn(stage: &Stage, server: &Running, load: impl Future<Output = f64> + Send + 'static) -> f64 {
    if let Some(between) = &server.between {
        between();
    }
    let reached = stage.run(load);
    stage.rest();
    reached
}
