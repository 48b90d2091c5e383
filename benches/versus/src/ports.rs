//! Ports that are resting.

use crate::rounds::Plan;
use std::{fs, thread, time::Duration};

/// A kernel that has no more of them finds free ports as fast as ever.
const FEW: usize = 500;

/// Waits, a minute at most, until few connections are left in TIME_WAIT. With ten thousand of them, looking for a free port
/// takes up to a millisecond, whoever asks. A quick run has no time for it.
#[expect(clippy::disallowed_methods, reason = "the kernel tells nobody")]
pub fn rested(plan: &Plan) {
    if plan.quick {
        return;
    }
    for _ in 0..60 {
        if resting().is_none_or(|count| count < FEW) {
            return;
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// How many connections are in TIME_WAIT, where the system tells.
fn resting() -> Option<usize> {
    let told = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = told.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "tw");
    words.nth(1)?.parse().ok()
}
