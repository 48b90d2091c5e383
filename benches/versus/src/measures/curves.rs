//! How throughput goes when something grows: calls recorded, stubs, servers, connections, messages, streams.

use crate::contestants::{
    Running, bare, ours, ours_json, ours_roomy, recorder, wiremock, wiremock_by_header,
};
use crate::echo::{EchoRequest, reply_to, request, request_of};
use crate::load::{Say, channel, flood_of, flood_over};
use crate::plot::{Curve, Line};
use crate::quartiles::short;
use crate::report::Report;
use crate::rounds::{Compared, Contestant, Plan, compare};
use crate::stage::Stage;
use std::path::Path;
use tonic::transport::Channel;

/// How many calls are in flight, unless that is what grows.
const IN_FLIGHT: usize = 64;

/// Servers, and the clients among which their calls are shared out.
type Field = Vec<(Running, Vec<Say<Channel>>)>;

/// One curve: what grows, and what stands on the field when it has grown so far.
struct Growth {
    name: &'static str,
    title: &'static str,
    x: &'static str,
    at: &'static [usize],
    field: fn(&Stage, usize) -> Field,
    in_flight: fn(usize) -> usize,
}

const GROWTHS: &[Growth] = &[
    Growth {
        name: "calls",
        title: "Calls recorded before",
        x: "calls recorded",
        at: &[100, 1000, 10_000, 100_000, 1_000_000],
        field: |stage, calls| {
            let field = stage.set_up(one_each(request(), true));
            for (_, says) in &field {
                stage.run(flood_of(says[0].clone(), IN_FLIGHT, calls));
            }
            field
        },
        in_flight: |_| IN_FLIGHT,
    },
    Growth {
        name: "stubs",
        title: "Stubs on one method, the last one asked matches",
        x: "stubs (ours by JSON, wiremock-grpc by header)",
        at: &[1, 10, 100, 1000],
        field: |stage, stubs| stage.set_up(stubbed(stubs)),
        in_flight: |_| IN_FLIGHT,
    },
    Growth {
        name: "servers",
        title: "Servers alive, each called by a client of its own",
        x: "servers",
        at: &[1, 4, 16, 64, 256],
        field: |stage, servers| stage.set_up(fleets(servers)),
        in_flight: |servers| servers.max(IN_FLIGHT),
    },
    Growth {
        name: "connections",
        title: "Connections to one server",
        x: "connections",
        at: &[1, 4, 16, 64, 256],
        field: |stage, connections| {
            let mut field = stage.set_up(one_each(request(), false));
            for (server, says) in &mut field {
                stage.set_up(connect(&server.uri, says, connections));
            }
            field
        },
        in_flight: |connections| connections.max(IN_FLIGHT),
    },
    Growth {
        name: "message-size",
        title: "Bytes of the request and of the reply",
        x: "bytes",
        at: &[16, 128, 1 << 10, 8 << 10, 64 << 10, 512 << 10],
        field: |stage, bytes| stage.set_up(one_each(request_of(bytes), false)),
        in_flight: |_| 16,
    },
    Growth {
        name: "streams",
        title: "Calls in flight on one connection",
        x: "calls in flight",
        at: &[1, 4, 16, 64, 256, 1024],
        field: |stage, _| stage.set_up(one_each(request(), false)),
        in_flight: |streams| streams,
    },
];

/// Draws them all beside this program's README.
pub fn curves(plan: &Plan) -> Vec<Report> {
    let into = Path::new(env!("CARGO_MANIFEST_DIR")).join("../curves");
    std::fs::create_dir_all(&into).expect("a directory for the pictures");
    let plan = Plan {
        rounds: plan.rounds.min(20),
        ..*plan
    };
    GROWTHS
        .iter()
        .map(|growth| {
            let (curve, report) = growth.measure(&plan);
            let picture = into.join(format!("{}.svg", curve.name));
            curve.draw(&picture).expect("a picture");
            report
        })
        .collect()
}

impl Growth {
    fn measure(&self, plan: &Plan) -> (Curve, Report) {
        let stage = Stage::current_thread();
        let mut lines: Vec<Line> = Vec::new();
        let mut report = Report::text("curves", format!("{}; {}", self.name, stage.name));
        for &x in self.at {
            let field = (self.field)(&stage, x);
            let compared = self.compare(&stage, &field, x, plan);
            let ratio =
                |row: &crate::rounds::Row| format!("{} {}", row.name, short(row.ratios.median));
            let ratios: Vec<String> = compared.rows.iter().map(ratio).collect();
            report = report.note(format!("{x:>8} {}: {}", self.x, ratios.join(", ")));
            for (number, row) in compared.rows.iter().enumerate() {
                if lines.len() <= number {
                    lines.push(Line {
                        name: row.name.clone(),
                        points: Vec::new(),
                    });
                }
                lines[number].points.push((x as f64, row.ratios.median));
            }
            drop(field);
            stage.tasks();
        }
        let curve = Curve {
            name: self.name,
            title: self.title,
            x: self.x,
            lines,
        };
        (curve, report)
    }

    fn compare(&self, stage: &Stage, field: &Field, x: usize, plan: &Plan) -> Compared {
        let contestants = field.iter().map(|(server, says)| {
            Contestant::new(server.name, || {
                if let Some(between) = &server.between {
                    between();
                }
                stage.run(flood_over(says.clone(), (self.in_flight)(x), plan.block))
            })
        });
        compare(contestants.collect(), plan)
    }
}

/// A server of each kind with a client. Those that are `keeping` throw nothing of their records away.
async fn one_each(request: EchoRequest, keeping: bool) -> Field {
    let reply = reply_to(request.clone());
    let ours = if keeping {
        ours_roomy(&reply).await
    } else {
        ours(&reply).await
    };
    let mut servers = vec![bare().await, recorder().await, wiremock(&reply).await, ours];
    if keeping {
        servers.iter_mut().for_each(|server| server.between = None);
    }
    said(servers, &request).await
}

async fn said(servers: Vec<Running>, request: &EchoRequest) -> Field {
    let mut field = Vec::new();
    for server in servers {
        let say = Say::new(channel(&server.uri).await, request.clone());
        field.push((server, vec![say]));
    }
    field
}

/// The one that is called has this many stubs.
async fn stubbed(stubs: usize) -> Field {
    let reply = reply_to(request());
    let theirs = wiremock_by_header("wiremock-grpc", stubs, &reply).await;
    let servers = vec![bare().await, theirs, ours_json("ours", stubs).await];
    let mut field = said(servers, &request()).await;
    let last: &'static str = (stubs - 1).to_string().leak();
    let says = &mut field[1].1;
    says[0] = says[0].clone().header(last);
    field
}

/// So many servers of each kind.
async fn fleets(servers: usize) -> Field {
    let reply = reply_to(request());
    let mut field = said(vec![bare().await, ours(&reply).await], &request()).await;
    for _ in 1..servers {
        let more = said(vec![bare().await, ours(&reply).await], &request()).await;
        for ((first, says), (server, says_more)) in field.iter_mut().zip(more) {
            first.keep(server);
            says.extend(says_more);
        }
    }
    field
}

async fn connect(uri: &str, says: &mut Vec<Say<Channel>>, connections: usize) {
    while says.len() < connections {
        says.push(Say::new(channel(uri).await, request()));
    }
}
