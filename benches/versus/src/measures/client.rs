//! Our client in the place of tonic's channel, below the same generated code.

use crate::contestants::{Running, bare, ours};
use crate::echo::{DESCRIPTORS, reply_to, request};
use crate::load::{Caller, Say, allocations, channel, flood, one_by_one};
use crate::measures::{profiled, wanted};
use crate::report::{Report, Target};
use crate::rounds::{Compared, Contestant, Plan, compare};
use crate::stage::Stage;
use rpcplugin_testkit::Client;
use tonic::transport::Channel;

/// How its calls are made.
#[derive(Clone, Copy)]
enum Load {
    /// 64 in flight.
    Flood,
    /// One after the other.
    OneByOne,
}

impl Load {
    const fn unit(self) -> &'static str {
        match self {
            Self::Flood => "calls/s",
            Self::OneByOne => "p50, µs",
        }
    }

    fn turn(self, stage: &Stage, caller: &impl Caller, plan: &Plan) -> f64 {
        match self {
            Self::Flood => stage.run(flood(caller.clone(), 64, plan.block)),
            Self::OneByOne => stage.run(one_by_one(caller.clone(), plan.block)),
        }
    }
}

/// A bare tonic server, 64 in flight.
pub fn client(plan: &Plan) -> Vec<Report> {
    clients("client", "client", Load::Flood, Target::AtLeast(1.15), plan)
}

/// A bare tonic server, one call after the other.
pub fn client_latency(plan: &Plan) -> Vec<Report> {
    let name = "client-latency";
    clients(name, name, Load::OneByOne, Target::None, plan)
}

/// Our client and our mock against tonic on both sides.
pub fn both(plan: &Plan) -> Vec<Report> {
    let target = Target::AtLeast(wanted(1.35, 1.35));
    pairs("both", Load::Flood, target, plan)
}

/// The same, one call after the other.
pub fn both_latency(plan: &Plan) -> Vec<Report> {
    pairs("both-latency", Load::OneByOne, Target::AtMost(0.82), plan)
}

fn clients(
    name: &'static str,
    figure: &str,
    load: Load,
    target: Target,
    plan: &Plan,
) -> Vec<Report> {
    let report = |stage: Stage| {
        let (_server, theirs, own) = stage.run(async {
            let server = bare().await;
            let (theirs, own) = both_of(&server).await;
            (server, theirs, own)
        });
        let compared = pair(
            &stage,
            load,
            ("tonic's channel", theirs),
            ("ours", own),
            plan,
        );
        told(name, figure, &stage, load, target, compared)
    };
    [Stage::current_thread(), Stage::two_workers()]
        .map(report)
        .into()
}

fn pairs(name: &'static str, load: Load, target: Target, plan: &Plan) -> Vec<Report> {
    let report = |stage: Stage| {
        let (_servers, theirs, own) = stage.run(async {
            let servers = (bare().await, ours(&reply_to(request())).await);
            let theirs = both_of(&servers.0).await.0;
            let own = both_of(&servers.1).await.1;
            (servers, theirs, own)
        });
        let compared = pair(&stage, load, ("tonic", theirs), ("ours", own), plan);
        told(name, &profiled(name), &stage, load, target, compared)
    };
    [Stage::current_thread(), Stage::two_workers()]
        .map(report)
        .into()
}

fn pair(
    stage: &Stage,
    load: Load,
    (name, theirs): (&str, Say<Channel>),
    (our_name, own): (&str, Say<Client>),
    plan: &Plan,
) -> Compared {
    let allocations = (
        stage.run(allocations(theirs.clone(), plan.counted)),
        stage.run(allocations(own.clone(), plan.counted)),
    );
    let mut theirs = Contestant::new(name, || load.turn(stage, &theirs, plan));
    theirs.allocations = Some(allocations.0);
    let mut own = Contestant::new(our_name, || load.turn(stage, &own, plan));
    own.allocations = Some(allocations.1);
    compare(vec![theirs, own], plan)
}

fn told(
    name: &'static str,
    figure: &str,
    stage: &Stage,
    load: Load,
    target: Target,
    compared: Compared,
) -> Report {
    let ratio = compared.ratio("ours");
    let report = Report::rounds(name, stage.name, load.unit(), compared);
    if stage.name == "current thread" {
        report.figure(figure, ratio, target)
    } else {
        report.figure(format!("{figure}-two-workers"), ratio, Target::None)
    }
}

/// tonic's channel and our client to a server.
async fn both_of(server: &Running) -> (Say<Channel>, Say<Client>) {
    let own = our_client(&server.uri).await;
    (
        Say::new(channel(&server.uri).await, request()),
        Say::new(own, request()),
    )
}

/// Our client as anybody builds it, with a schema.
pub async fn our_client(uri: &str) -> Client {
    let builder = Client::builder().address(uri).descriptor_set(DESCRIPTORS);
    builder.connect().await.expect("a server")
}
