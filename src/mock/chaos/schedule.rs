//! What happens when and to which server, decided without looking at any.

use crate::mock::chaos::event::{ChaosAction, ChaosEvent};
use crate::mock::chaos::settings::{Chaos, Kind};
use crate::mock::dice::SPREAD;
use fastrand::Rng;
use std::time::Duration;

/// All events in order, drawn one after another.
pub(super) struct Schedule<'a> {
    chaos: &'a Chaos,
    kinds: Vec<Arrivals<'a>>,
    servers: Vec<Server>,
}

/// When one kind of failure comes.
struct Arrivals<'a> {
    kind: &'a Kind,
    next: Duration,
    times: Rng,
    /// Draws the server, once for each arrival, so that nobody's choices depend on another kind's.
    choices: Rng,
}

/// What a server is like by then.
#[derive(Clone, Copy)]
struct Server {
    up: bool,
    paused: bool,
    slow_until: Option<Duration>,
}

impl Server {
    fn serves(&self) -> bool {
        self.up && !self.paused
    }
}

impl<'a> Arrivals<'a> {
    /// `twin`: how many kinds like this there are before it.
    fn new(kind: &'a Kind, seed: u64, twin: u64) -> Self {
        let id = twin * 16 + number(&kind.action);
        // Turned, so that these are not the dice of a stub or a fault.
        let dice = |id: u64| Rng::with_seed(seed.rotate_left(32) ^ id.wrapping_mul(SPREAD));
        let mut arrivals = Self {
            kind,
            next: Duration::ZERO,
            times: dice(id * 2 + 1),
            choices: dice(id * 2 + 2),
        };
        arrivals.draw();
        arrivals
    }

    /// The time to the next one is distributed exponentially.
    fn draw(&mut self) {
        let gap = -(1.0 - self.times.f64()).ln() / self.kind.rate;
        // Never, when there are none.
        let gap = Duration::try_from_secs_f64(gap).unwrap_or(Duration::MAX);
        self.next = self.next.saturating_add(gap);
    }
}

/// Whose dice a kind has: it must not change when another kind is added.
fn number(action: &ChaosAction) -> u64 {
    match action {
        ChaosAction::Kill => 1,
        ChaosAction::Restart => 2,
        ChaosAction::Pause => 3,
        ChaosAction::Resume => 4,
        ChaosAction::Latency(_) => 5,
        ChaosAction::LatencyEnds => 6,
        ChaosAction::Status(_) => 7,
        ChaosAction::Reset(_) => 8,
    }
}

/// Whether it makes sense to do this to a server. `spare`: whether one may go that serves.
fn fits(action: &ChaosAction, server: &Server, spare: bool) -> bool {
    match action {
        ChaosAction::Kill => server.up && (spare || server.paused),
        ChaosAction::Restart => !server.up,
        ChaosAction::Pause => server.serves() && spare,
        ChaosAction::Resume => server.up && server.paused,
        ChaosAction::Latency(_) => server.serves() && server.slow_until.is_none(),
        ChaosAction::LatencyEnds => server.slow_until.is_some(),
        ChaosAction::Status(_) | ChaosAction::Reset(_) => server.serves(),
    }
}

impl<'a> Schedule<'a> {
    pub(super) fn new(chaos: &'a Chaos, seed: u64, servers: usize) -> Self {
        let server = Server {
            up: true,
            paused: false,
            slow_until: None,
        };
        let mut kinds: Vec<Arrivals<'_>> = Vec::new();
        for kind in &chaos.kinds {
            let like = |other: &&Arrivals<'_>| number(&other.kind.action) == number(&kind.action);
            let twins = kinds.iter().filter(like).count() as u64;
            kinds.push(Arrivals::new(kind, seed, twins));
        }
        Self {
            chaos,
            kinds,
            servers: vec![server; servers],
        }
    }

    /// The latency that ends first.
    fn next_end(&self) -> Option<(Duration, usize)> {
        let servers = self.servers.iter().enumerate();
        let ends = servers.filter_map(|(number, server)| Some((server.slow_until?, number)));
        ends.min()
    }

    /// One of the servers that this makes sense for.
    fn choose(&self, action: &ChaosAction, draw: u64) -> Option<usize> {
        let serving = self.servers.iter().filter(|server| server.serves());
        let spare = serving.count() > self.chaos.keep_up;
        let servers = self.servers.iter().enumerate();
        let fitting = servers.filter(|(_, server)| fits(action, server, spare));
        let fitting: Vec<_> = fitting.map(|(number, _)| number).collect();
        let index = draw.checked_rem(fitting.len() as u64)?;
        fitting.get(usize::try_from(index).ok()?).copied()
    }

    fn happen(
        &mut self,
        at: Duration,
        number: usize,
        what: ChaosAction,
        span: Duration,
    ) -> ChaosEvent {
        let server = &mut self.servers[number];
        match what {
            ChaosAction::Kill => server.up = false,
            ChaosAction::Restart => server.up = true,
            ChaosAction::Pause => server.paused = true,
            ChaosAction::Resume => server.paused = false,
            ChaosAction::Latency(_) => server.slow_until = Some(at.saturating_add(span)),
            ChaosAction::LatencyEnds => server.slow_until = None,
            ChaosAction::Status(_) | ChaosAction::Reset(_) => {}
        }
        let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        ChaosEvent {
            at: Duration::from_millis(millis),
            server: number,
            what,
        }
    }
}

impl Iterator for Schedule<'_> {
    type Item = ChaosEvent;

    fn next(&mut self) -> Option<ChaosEvent> {
        loop {
            let end = self.next_end();
            let first = self.kinds.iter_mut().min_by_key(|kind| kind.next);
            let begin = first.as_ref().map_or(Duration::MAX, |kind| kind.next);
            if let Some((at, server)) = end
                && at <= begin
            {
                let lasts = at < self.chaos.lasting;
                return lasts
                    .then(|| self.happen(at, server, ChaosAction::LatencyEnds, Duration::ZERO));
            }
            let arrivals = first.filter(|_| begin < self.chaos.lasting)?;
            let (kind, draw) = (arrivals.kind, arrivals.choices.u64(..));
            arrivals.draw();
            if let Some(server) = self.choose(&kind.action, draw) {
                return Some(self.happen(begin, server, kind.action.clone(), kind.span));
            }
        }
    }
}
