//! Contestants measured in turns, each compared with its reference in the same round.

use crate::cpu::Cpu;
use crate::quartiles::Quartiles;
use std::{mem, time::Duration};

/// How long things take.
#[derive(Clone, Copy)]
pub struct Plan {
    pub quick: bool,
    /// Rounds that count.
    pub rounds: usize,
    /// How long one contestant's turn is.
    pub block: Duration,
    /// Rounds that are thrown away, to warm up.
    pub warm_up: usize,
    /// How many rounds are tried for each that has to count.
    pub tries: usize,
    /// Calls over which allocations are counted.
    pub counted: usize,
}

impl Plan {
    /// For figures that are told to others. Many short turns: a machine that others share goes at two speeds, and changes between
    /// them within a second.
    pub const FULL: Self = Self {
        quick: false,
        rounds: 100,
        block: Duration::from_millis(50),
        warm_up: 1,
        tries: 3,
        counted: 3200,
    };

    /// For trying it: everything within a minute.
    pub const QUICK: Self = Self {
        quick: true,
        rounds: 5,
        block: Duration::from_millis(20),
        warm_up: 1,
        tries: 2,
        counted: 128,
    };

    /// The same with fewer rounds, for turns that take their own time.
    pub fn fewer(&self) -> Self {
        Self {
            rounds: self.rounds.div_ceil(4),
            ..*self
        }
    }
}

/// One of those that are compared.
pub struct Contestant<'a> {
    pub name: String,
    /// The number of the one that it is compared with.
    pub reference: usize,
    /// Its turn: what it reached.
    pub turn: Box<dyn FnMut() -> f64 + 'a>,
    /// Allocations a call, on both sides.
    pub allocations: Option<f64>,
}

impl<'a> Contestant<'a> {
    /// One that is compared with the first.
    pub fn new(name: impl Into<String>, turn: impl FnMut() -> f64 + 'a) -> Self {
        Self {
            name: name.into(),
            reference: 0,
            turn: Box::new(turn),
            allocations: None,
        }
    }
}

/// What came of it.
pub struct Compared {
    pub rows: Vec<Row>,
    pub counted: usize,
    /// Rounds in which others took too much of the machine.
    pub disturbed: usize,
    /// How many of those count nevertheless, because there were too few others.
    pub disturbed_counted: usize,
}

/// One contestant.
pub struct Row {
    pub name: String,
    pub values: Quartiles,
    pub ratios: Quartiles,
    pub allocations: Option<f64>,
}

/// A round with more than this share of a processor taken by others does not count.
const DISTURBED: f64 = 0.05;

struct Round {
    others: f64,
    values: Vec<f64>,
}

/// Lets them take turns.
pub fn compare(mut contestants: Vec<Contestant<'_>>, plan: &Plan) -> Compared {
    for _ in 0..plan.warm_up {
        contestants.iter_mut().for_each(|one| {
            (one.turn)();
        });
    }
    let mut rounds: Vec<Round> = Vec::new();
    let mut quiet = 0;
    while quiet < plan.rounds && rounds.len() < plan.rounds * plan.tries {
        let round = round(&mut contestants, rounds.len());
        quiet += usize::from(round.others <= DISTURBED);
        rounds.push(round);
    }
    rounds.sort_by(|a, b| a.others.total_cmp(&b.others));
    let tried = rounds.len();
    rounds.truncate(plan.rounds);
    Compared {
        rows: rows(&contestants, &rounds),
        counted: rounds.len(),
        disturbed: tried - quiet,
        disturbed_counted: rounds.len().saturating_sub(quiet),
    }
}

fn round(contestants: &mut [Contestant<'_>], number: usize) -> Round {
    let cpu = Cpu::now();
    let mut values = vec![0.0; contestants.len()];
    for who in order(contestants.len(), number) {
        values[who] = (contestants[who].turn)();
    }
    Round {
        others: cpu.others_since(),
        values,
    }
}

/// Who comes when in this round. It matters who was there before: what has waited leaves a rested processor behind, and what has
/// recorded leaves cold caches. So each comes after each other one equally often, in as many rounds as there are contestants,
/// or twice as many when their number is odd ([Williams 1949](https://doi.org/10.1071/CH9490149)).
fn order(contestants: usize, number: usize) -> Vec<usize> {
    // 0, 1, n-1, 2, n-2 …
    let zigzag = (0..contestants).map(|place| match place % 2 {
        0 => contestants - place / 2,
        _ => place.div_ceil(2),
    });
    let mut order: Vec<usize> = zigzag.map(|who| (who + number) % contestants).collect();
    if contestants % 2 == 1 && number % 2 == 1 {
        order.reverse();
    }
    order
}

fn rows(contestants: &[Contestant<'_>], rounds: &[Round]) -> Vec<Row> {
    let row = |(number, one): (usize, &Contestant<'_>)| Row {
        name: one.name.clone(),
        values: Quartiles::of(rounds.iter().map(|round| round.values[number])),
        ratios: Quartiles::of(
            rounds
                .iter()
                .map(|round| round.values[number] / round.values[one.reference]),
        ),
        allocations: one.allocations,
    };
    contestants.iter().enumerate().map(row).collect()
}

impl Compared {
    /// The ratio of the one of this name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn ratio(&self, name: &str) -> f64 {
        self.row(name).ratios.median
    }

    /// The value of the one of this name.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn value(&self, name: &str) -> f64 {
        self.row(name).values.median
    }

    fn row(&self, name: &str) -> &Row {
        let found = self.rows.iter().find(|row| row.name == name);
        found.unwrap_or_else(|| panic!("nobody is called {name}"))
    }
}

/// Measures how long something takes, over and over, for one block: the median in microseconds.
pub fn median_micros(block: Duration, something: impl FnMut() -> Duration) -> f64 {
    median_micros_of(usize::MAX, block, something)
}

/// The same of so many at most.
pub fn median_micros_of(
    most: usize,
    block: Duration,
    mut something: impl FnMut() -> Duration,
) -> f64 {
    let (mut taken, mut micros) = (Duration::ZERO, Vec::new());
    while taken < block && micros.len() < most {
        let once = something();
        taken += once;
        micros.push(once.as_secs_f64() * 1e6);
    }
    Quartiles::of(mem::take(&mut micros)).median
}
