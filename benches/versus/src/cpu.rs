//! How much of the machine others take, by `/proc`.

use std::{fs, time::Instant};

/// The time that everybody and we ourselves have had, in ticks.
pub struct Cpu {
    at: Instant,
    everybody: u64,
    ours: u64,
}

/// Ticks a second: what Linux says to everyone, whatever it uses itself.
const TICKS: f64 = 100.0;

impl Cpu {
    /// Up to now.
    pub fn now() -> Self {
        Self {
            at: Instant::now(),
            everybody: everybody(),
            ours: ours(),
        }
    }

    /// What others have had since, as a share of one processor. A tick or two are nobody's.
    pub fn others_since(&self) -> f64 {
        let now = Self::now();
        let everybody = now.everybody.saturating_sub(self.everybody);
        let others = everybody.saturating_sub(now.ours - self.ours);
        let ticks = (now.at - self.at).as_secs_f64() * TICKS;
        others.saturating_sub(2) as f64 / ticks.max(1.0)
    }
}

/// User, nice, system and steal of all processors. Interrupts are left out: those of the loopback are our own.
fn everybody() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    [0, 1, 2, 7]
        .iter()
        .filter_map(|place| numbers.get(*place))
        .sum()
}

/// User and system of this process.
fn ours() -> u64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program is in parentheses and may have anything in it.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = fields.split_whitespace().skip(11).take(2);
    fields.filter_map(|word| word.parse::<u64>().ok()).sum()
}
