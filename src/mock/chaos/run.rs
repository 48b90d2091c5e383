//! A schedule carried out, and everything put back.

use crate::mock::chaos::event::{ChaosAction, ChaosEvent};
use crate::mock::chaos::report::ChaosReport;
use crate::mock::chaos::schedule::Schedule;
use crate::mock::chaos::settings::Chaos;
use crate::mock::fault::{Fault, InjectedFault};
use crate::mock::injecting::inject;
use crate::mock::server::MockServer;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    panic::Location,
    pin::pin,
    slice, thread,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

/// Chaos.
impl MockServer {
    /// Lets a schedule of failures happen to this server, to its end, as [`MockCluster::run`](crate::MockCluster::run) to
    /// several.
    ///
    /// # Panics
    ///
    /// When it is down or paused when that begins, and when it cannot listen at its address any more.
    #[track_caller]
    pub fn run(&self, chaos: Chaos) -> impl Future<Output = ChaosReport> + Send + '_ {
        run(slice::from_ref(self), chaos, Location::caller())
    }

    /// Lets a schedule of failures happen to this server while something else goes on, as
    /// [`MockCluster::run_while`](crate::MockCluster::run_while) to several.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn run_while<F: IntoFuture>(
        &self,
        chaos: Chaos,
        load: F,
    ) -> impl Future<Output = (F::Output, ChaosReport)> {
        run_while(
            slice::from_ref(self),
            chaos,
            load.into_future(),
            Location::caller(),
        )
    }
}

/// Carries out the whole schedule.
pub(crate) async fn run(
    servers: &[MockServer],
    chaos: Chaos,
    place: &'static Location<'static>,
) -> ChaosReport {
    let mut running = Running::new(servers, &chaos, place);
    running.carry_out(&chaos).await;
    running.finish()
}

/// Carries out the schedule as far as it comes before the load has ended.
pub(crate) async fn run_while<F: Future>(
    servers: &[MockServer],
    chaos: Chaos,
    load: F,
    place: &'static Location<'static>,
) -> (F::Output, ChaosReport) {
    let mut load = pin!(load);
    let mut running = Running::new(servers, &chaos, place);
    let output = tokio::select! {
        biased;
        output = &mut load => Some(output),
        () = running.carry_out(&chaos) => None,
    };
    let report = running.finish();
    match output {
        Some(output) => (output, report),
        None => (load.await, report),
    }
}

/// A schedule that is being carried out. Dropping it puts everything back.
struct Running<'a> {
    servers: &'a [MockServer],
    /// Where it was begun.
    place: &'static Location<'static>,
    seed: u64,
    began: Instant,
    done: Vec<ChaosEvent>,
    killed: BTreeSet<usize>,
    paused: BTreeSet<usize>,
    slow: BTreeMap<usize, InjectedFault>,
    /// What waits for a call.
    armed: Vec<InjectedFault>,
    hits: u64,
}

impl<'a> Running<'a> {
    fn new(servers: &'a [MockServer], chaos: &Chaos, place: &'static Location<'static>) -> Self {
        for (number, server) in servers.iter().enumerate() {
            assert!(
                server.is_up() && !server.is_paused(),
                "chaos at {place} begins with servers that are up and not paused, and server {number} is not"
            );
        }
        let drawn = || {
            servers
                .first()
                .map(|server| server.service.seed.for_chaos())
        };
        Self {
            servers,
            place,
            seed: chaos.seed.or_else(drawn).unwrap_or_default(),
            began: Instant::now(),
            done: Vec::new(),
            killed: BTreeSet::new(),
            paused: BTreeSet::new(),
            slow: BTreeMap::new(),
            armed: Vec::new(),
            hits: 0,
        }
    }

    async fn carry_out(&mut self, chaos: &Chaos) {
        for event in Schedule::new(chaos, self.seed, self.servers.len()) {
            self.until(event.at).await;
            tracing::debug!(%event, "chaos");
            self.act(event).await;
        }
        self.until(chaos.lasting).await;
    }

    async fn until(&self, at: Duration) {
        match self.began.checked_add(at) {
            Some(time) => sleep_until(time).await,
            None => pending().await,
        }
    }

    /// What is killed or paused is noted before that is awaited: it may be the last thing that is done.
    async fn act(&mut self, event: ChaosEvent) {
        let (number, server) = (event.server, &self.servers[event.server]);
        self.done.push(event.clone());
        match event.what {
            ChaosAction::Kill => {
                self.killed.insert(number);
                server.kill().await;
            }
            ChaosAction::Restart => {
                server.listen_again(self.place);
                self.killed.remove(&number);
            }
            ChaosAction::Pause => {
                self.paused.insert(number);
                server.pause();
            }
            ChaosAction::Resume => {
                self.paused.remove(&number);
                server.resume();
            }
            ChaosAction::Latency(delay) => {
                let slow = self.inject(server, Fault::latency(delay));
                self.slow.insert(number, slow);
            }
            ChaosAction::LatencyEnds => {
                if let Some(slow) = self.slow.remove(&number) {
                    slow.remove();
                }
            }
            ChaosAction::Status(status) => self.arm(server, Fault::status(status)),
            ChaosAction::Reset(reason) => self.arm(server, Fault::reset(reason)),
        }
    }

    fn inject(&self, server: &MockServer, fault: Fault) -> InjectedFault {
        inject(slice::from_ref(server), fault, false, self.place)
    }

    fn arm(&mut self, server: &MockServer, fault: Fault) {
        self.disarm(|fault| fault.hits() > 0 && fault.active() == 0);
        let armed = self.inject(server, fault.once());
        self.armed.push(armed);
    }

    /// Takes away those that are so.
    fn disarm(&mut self, is: impl Fn(&InjectedFault) -> bool) {
        let hits = &mut self.hits;
        self.armed.retain(|fault| {
            let goes = is(fault);
            if goes {
                fault.remove();
                *hits += fault.hits();
            }
            !goes
        });
    }

    fn finish(mut self) -> ChaosReport {
        let restored = self.restore();
        ChaosReport {
            seed: self.seed,
            lasted: self.began.elapsed(),
            events: std::mem::take(&mut self.done),
            restored,
            hits: self.hits,
        }
    }

    /// Puts everything back, and tells what that was.
    fn restore(&mut self) -> Vec<ChaosEvent> {
        let at = self.began.elapsed();
        let mut restored = Vec::new();
        let mut tell = |server, what| restored.push(ChaosEvent { at, server, what });
        self.disarm(|_| true);
        while let Some((number, slow)) = self.slow.pop_first() {
            slow.remove();
            tell(number, ChaosAction::LatencyEnds);
        }
        while let Some(number) = self.killed.pop_first() {
            self.servers[number].listen_again(self.place);
            tell(number, ChaosAction::Restart);
        }
        while let Some(number) = self.paused.pop_first() {
            self.servers[number].resume();
            tell(number, ChaosAction::Resume);
        }
        restored
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Where there is no runtime any more nothing can listen, and a second panic would end the process.
        if Handle::try_current().is_err() || thread::panicking() {
            self.killed.clear();
        }
        self.restore();
    }
}
