//! Our client by name with JSON, and several servers behind one client.

use crate::contestants::{Running, bare};
use crate::echo::{EchoReply, EchoRequest, SAY, SAY_PATH, TEXT, reply_to, request};
use crate::load::{Caller, Say, allocations, channel, flood};
use crate::measures::client::our_client;
use crate::report::{Report, Target};
use crate::rounds::{Contestant, Plan, compare};
use crate::stage::Stage;
use rpcplugin_testkit::{Client, MockCluster, Reply, Strategy, Stub, json};
use std::time::Duration;
use tokio::{task::JoinSet, time::interval};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// By the method's name, with JSON both ways.
#[derive(Clone)]
struct Dynamic(Client);

impl Caller for Dynamic {
    async fn call(&mut self) -> Result<(), Status> {
        let reply = self.0.call(SAY, json!({"message": TEXT})).await;
        reply
            .map(drop)
            .map_err(|error| Status::unknown(error.to_string()))
    }
}

/// By the path, with prost messages.
#[derive(Clone)]
struct Typed(Client, EchoRequest);

impl Caller for Typed {
    async fn call(&mut self) -> Result<(), Status> {
        let call = self
            .0
            .unary::<EchoRequest, EchoReply>(SAY_PATH, self.1.clone());
        let reply = call.await;
        reply
            .map(drop)
            .map_err(|error| Status::unknown(error.to_string()))
    }
}

/// `client.call` against typed calls by the same client.
pub fn dynamic_call(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let (_server, client) = stage.set_up(async {
        let server = bare().await;
        let client = our_client(&server.uri).await;
        (server, client)
    });
    let contestants = vec![
        flooding(
            &stage,
            "generated code",
            Say::new(client.clone(), request()),
            plan,
        ),
        flooding(
            &stage,
            "client.unary",
            Typed(client.clone(), request()),
            plan,
        ),
        flooding(&stage, "client.call", Dynamic(client), plan),
    ];
    let compared = compare(contestants, plan);
    let ratio = compared.ratio("client.call");
    let report = Report::rounds("dynamic-call", stage.name, "calls/s", compared);
    vec![report.figure("dynamic-call", ratio, Target::AtLeast(0.85))]
}

/// Three servers in turns against one by tonic's channel.
pub fn balanced(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let (servers, one, own_one, list, own) = stage.set_up(async {
        let servers = [bare().await, bare().await, bare().await];
        let uris = servers
            .each_ref()
            .map(|server: &Running| server.uri.clone());
        let one = channel(&uris[0]).await;
        let own_one = our_client(&uris[0]).await;
        (
            servers,
            one,
            own_one,
            balance_list(&uris),
            round_robin(&uris).await,
        )
    });
    let contestants = vec![
        flooding(&stage, "tonic, one server", Say::new(one, request()), plan),
        flooding(
            &stage,
            "tonic, balance_list",
            Say::new(list, request()),
            plan,
        ),
        flooding(
            &stage,
            "ours, one server",
            Say::new(own_one, request()),
            plan,
        ),
        flooding(&stage, "ours, RoundRobin", Say::new(own, request()), plan),
    ];
    let compared = compare(contestants, plan);
    drop(servers);
    let ratio = compared.ratio("ours, RoundRobin");
    let report = Report::rounds("balanced", stage.name, "calls/s", compared);
    vec![report.figure("balanced", ratio, Target::AtLeast(1.0))]
}

fn flooding<'a>(
    stage: &'a Stage,
    name: &str,
    caller: impl Caller + 'a,
    plan: &'a Plan,
) -> Contestant<'a> {
    let counted = stage.run(allocations(caller.clone(), plan.counted));
    let turn = move || stage.run(flood(caller.clone(), 64, plan.block));
    let mut one = Contestant::new(name, turn);
    one.allocations = Some(counted);
    one
}

fn balance_list(uris: &[String]) -> Channel {
    let endpoints = uris
        .iter()
        .map(|uri| Endpoint::from_shared(uri.clone()).expect("an address"));
    Channel::balance_list(endpoints)
}

async fn round_robin(uris: &[String]) -> Client {
    let builder = Client::builder().endpoints(uris.iter().map(String::as_str));
    let client = builder.strategy(Strategy::RoundRobin).connect().await;
    client.expect("three servers")
}

/// Calls that are made before a server is killed.
const BEFORE: usize = 200;

/// Calls that are looked at afterwards.
const AFTER: usize = 1000;

/// How many of a thousand calls fail after one of three servers was killed.
pub fn kill_1_of_3(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let times = if plan.quick { 1 } else { 5 };
    let each = if plan.quick { 500 } else { 2200 };
    let pace = Some(Duration::from_micros(each));
    let list = |uris: Vec<String>| async move { Say::new(balance_list(&uris), request()) };
    let own = |uris: Vec<String>| async move { Say::new(round_robin(&uris).await, request()) };
    let marked = |uris: Vec<String>| async move {
        Say::new(round_robin(&uris).await.idempotent(), request())
    };
    let mut report = Report::text("kill-1-of-3", stage.name);
    let mut told = |name: &str, failed: Vec<usize>| {
        report
            .notes
            .push(format!("{name:<46} {failed:?} of {AFTER} failed"));
        failed.into_iter().max().unwrap_or(0) as f64
    };
    let repeated = |one: &dyn Fn() -> usize| (0..times).map(|_| one()).collect::<Vec<_>>();
    let a_second = 1_000_000 / each;
    told(
        &format!("tonic, balance_list, {a_second} calls/s"),
        repeated(&|| stage.set_up(killed(list, pace))),
    );
    told(
        &format!("ours, {a_second} calls/s"),
        repeated(&|| stage.set_up(killed(own, pace))),
    );
    let paced = told(
        &format!("ours, idempotent calls, {a_second} calls/s"),
        repeated(&|| stage.set_up(killed(marked, pace))),
    );
    told(
        "tonic, balance_list, 64 in flight",
        repeated(&|| stage.set_up(killed(list, None))),
    );
    told(
        "ours, 64 in flight",
        repeated(&|| stage.set_up(killed(own, None))),
    );
    let flooded = told(
        "ours, idempotent calls, 64 in flight",
        repeated(&|| stage.set_up(killed(marked, None))),
    );
    vec![
        report
            .note("a call that may have been carried out is not made again unless it says that it may be")
            .figure("kill-1-of-3", paced.max(flooded), Target::AtMost(0.0)),
    ]
}

/// How many fail, at this pace or 64 at a time.
async fn killed<C: Caller, F: Future<Output = C>>(
    client: impl Fn(Vec<String>) -> F,
    pace: Option<Duration>,
) -> usize {
    let cluster = MockCluster::start(3).await;
    cluster.mount(Stub::method(SAY).reply(Reply::message(&reply_to(request()))));
    let uris = cluster.iter().map(|server| server.uri()).collect();
    let caller = client(uris).await;
    let mut ticks = pace.map(interval);
    let (mut tasks, mut failed) = (JoinSet::new(), 0);
    for number in 0..BEFORE + AFTER {
        match &mut ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None if tasks.len() >= 64 => failed += failures(tasks.join_next().await),
            None => {}
        }
        if number == BEFORE {
            cluster[0].kill().await;
        }
        let mut caller = caller.clone();
        tasks.spawn(async move { caller.call().await.is_err() });
    }
    while let Some(one) = tasks.join_next().await {
        failed += failures(Some(one));
    }
    failed
}

fn failures(one: Option<Result<bool, tokio::task::JoinError>>) -> usize {
    usize::from(one.is_some_and(|one| one.expect("it does not panic")))
}
