//! Failures by a schedule that is drawn from a seed.
//!
//! - `settings`: [`Chaos`], what may happen and how often.
//! - `event`: one thing that happens; `schedule`: all of them, decided without looking at any server.
//! - `run`: the schedule carried out, and everything put back; `report`: what was done.

mod event;
mod report;
mod run;
mod schedule;
mod settings;

pub use event::{ChaosAction, ChaosEvent};
pub use report::ChaosReport;
pub(super) use run::{run, run_while};
pub use settings::Chaos;
