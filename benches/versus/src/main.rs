//! rpcplugin-testkit beside bare tonic and other mocks, in one process and in interleaved rounds.
//!
//! ```console
//! cargo run --release --manifest-path benches/versus/Cargo.toml                 # everything
//! cargo run --release --manifest-path benches/versus/Cargo.toml -- --quick      # within a minute
//! cargo run --release --manifest-path benches/versus/Cargo.toml -- latency both # these
//! ```

mod allocations;
mod contestants;
mod cpu;
mod echo;
mod load;
mod measures;
mod plot;
mod ports;
mod quartiles;
mod report;
mod rounds;
mod stage;

use crate::measures::{MEASURES, Measure, fleet};
use crate::rounds::Plan;
use std::{env, process::ExitCode};

const USAGE: &str = "versus [--quick] [--rounds N] [NAME …]

  --quick       everything within a minute, roughly
  --rounds N    so many rounds count (100; 5 when quick)
  NAME          only measures of these names, or beginning so with `*`";

/// What is asked for.
struct Asked {
    plan: Plan,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(fleet::WEIGH) {
        let whose = arguments.next().unwrap_or_default();
        println!("{}", fleet::weigh(&whose));
        return ExitCode::SUCCESS;
    }
    let asked = match asked(env::args().skip(1)) {
        Ok(asked) => asked,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    let mut figures = Vec::new();
    for measure in MEASURES.iter().filter(|measure| asked.wants(measure)) {
        for report in (measure.run)(&asked.plan) {
            println!("{report}");
            figures.extend(report.figures);
        }
    }
    for figure in figures {
        println!("ratio {} {:.4}", figure.name, figure.value);
    }
    ExitCode::SUCCESS
}

impl Asked {
    fn wants(&self, measure: &Measure) -> bool {
        if self.names.is_empty() {
            return !measure.on_request;
        }
        self.names.iter().any(|name| match name.strip_suffix('*') {
            Some(beginning) => measure.name.starts_with(beginning),
            None => measure.name == name,
        })
    }
}

fn asked(arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let (mut quick, mut rounds, mut names) = (false, None, Vec::new());
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--rounds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                rounds = Some(number.ok_or(USAGE)?);
            }
            "--help" | "-h" => return Err(USAGE.to_owned()),
            name if name.starts_with('-') => return Err(format!("{name}?\n\n{USAGE}")),
            name => names.push(name.to_owned()),
        }
    }
    let known = |name: &String| {
        let beginning = name.strip_suffix('*').unwrap_or(name);
        MEASURES.iter().any(|one| one.name.starts_with(beginning))
    };
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = MEASURES.iter().map(|one| one.name).collect();
        return Err(format!("{unknown}? There are: {}", all.join(", ")));
    }
    let mut plan = if quick { Plan::QUICK } else { Plan::FULL };
    plan.rounds = rounds.unwrap_or(plan.rounds);
    Ok(Asked { plan, names })
}
