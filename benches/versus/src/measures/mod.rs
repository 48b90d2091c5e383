//! What is measured, by the names of the table in `benches/README.md`.

mod calls;
mod client;
mod cluster;
mod curves;
pub mod fleet;
mod journal;
mod json;
mod mtls;
mod pool;
mod start;
mod weight;

use crate::report::Report;
use crate::rounds::Plan;

/// One row of the table, or some that are measured together.
pub struct Measure {
    pub name: &'static str,
    pub run: fn(&Plan) -> Vec<Report>,
    /// Whether it is left out unless it is asked for.
    pub on_request: bool,
}

impl Measure {
    const fn new(name: &'static str, run: fn(&Plan) -> Vec<Report>) -> Self {
        Self {
            name,
            run,
            on_request: false,
        }
    }
}

/// All of them.
pub const MEASURES: &[Measure] = &[
    Measure::new("throughput", calls::throughput),
    Measure::new("latency", calls::latency),
    Measure::new("throughput-64k", calls::throughput_64k),
    Measure::new("json-stub", json::json_stub),
    Measure::new("stubs-1000", json::stubs_1000),
    Measure::new("journal-1m", journal::journal_1m),
    Measure::new("bytes-per-call", journal::bytes_per_call),
    Measure::new("start", start::start),
    Measure::new("fleet", fleet::fleet),
    Measure::new("mtls-mint", mtls::mint),
    Measure::new("mtls-call", mtls::call),
    Measure::new("client", client::client),
    Measure::new("client-latency", client::client_latency),
    Measure::new("both", client::both),
    Measure::new("both-latency", client::both_latency),
    Measure::new("dynamic-call", cluster::dynamic_call),
    Measure::new("balanced", cluster::balanced),
    Measure::new("kill-1-of-3", cluster::kill_1_of_3),
    Measure::new("pool", pool::pool),
    Measure::new("crates", weight::crates),
    Measure {
        on_request: true,
        ..Measure::new("build", weight::build)
    },
    Measure {
        on_request: true,
        ..Measure::new("curves", curves::curves)
    },
];

/// A figure's name in this profile.
fn profiled(name: &str) -> String {
    if cfg!(debug_assertions) {
        format!("{name}-dev")
    } else {
        name.to_owned()
    }
}

/// What is wanted in this profile.
fn wanted(release: f64, dev: f64) -> f64 {
    if cfg!(debug_assertions) { dev } else { release }
}
