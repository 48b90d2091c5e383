//! Leases of connections, against deadpool with tonic's channels.

use crate::contestants::{Running, bare};
use crate::load::channel;
use crate::report::{Report, Target};
use crate::rounds::{Contestant, Plan, compare};
use crate::stage::Stage;
use deadpool::managed::{self, Metrics, RecycleResult};
use rpcplugin_testkit::Pool;
use std::{
    convert::Infallible,
    hint::black_box,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Connections.
const SIZE: usize = 4;

/// Those who want them.
const WAITERS: usize = 64;

struct Channels(String);

impl managed::Manager for Channels {
    type Type = Channel;
    type Error = Infallible;

    async fn create(&self) -> Result<Channel, Infallible> {
        Ok(channel(&self.0).await)
    }

    async fn recycle(&self, _: &mut Channel, _: &Metrics) -> RecycleResult<Infallible> {
        Ok(())
    }
}

/// Who leases.
trait Leases: Clone + Send + 'static {
    /// One, held until it is dropped.
    fn lease(&self) -> impl Future<Output = impl Send> + Send;
}

impl Leases for managed::Pool<Channels> {
    async fn lease(&self) -> impl Send {
        self.get().await.expect("a channel")
    }
}

/// Ours is closed when its last handle is dropped, and so is shared.
#[derive(Clone)]
struct Ours(std::sync::Arc<Pool>);

impl Leases for Ours {
    async fn lease(&self) -> impl Send {
        self.0.acquire().await.expect("a connection")
    }
}

/// One who takes and gives back, and 64 who share four.
pub fn pool(plan: &Plan) -> Vec<Report> {
    let stage = Stage::current_thread();
    let (_server, theirs, exclusive, shared) = stage.set_up(pools());
    let alone = vec![
        Contestant::new("deadpool", || stage.run(alone(theirs.clone(), plan.block))),
        Contestant::new("ours, exclusive", || {
            stage.run(alone(exclusive.clone(), plan.block))
        }),
        Contestant::new("ours, shared", || {
            stage.run(alone(shared.clone(), plan.block))
        }),
    ];
    let alone = compare(alone, plan);
    let waiting = vec![
        Contestant::new("deadpool", || {
            stage.run(waiting(theirs.clone(), plan.block))
        }),
        Contestant::new("ours, exclusive", || {
            stage.run(waiting(exclusive.clone(), plan.block))
        }),
        Contestant::new("ours, shared", || {
            stage.run(waiting(shared.clone(), plan.block))
        }),
    ];
    let waiting = compare(waiting, plan);
    let ratios = [&alone, &waiting].map(|compared| compared.ratio("ours, exclusive"));
    let unit = "leases/s";
    vec![
        Report::rounds("pool", format!("{}; nobody waits", stage.name), unit, alone).figure(
            "pool",
            ratios[0],
            Target::AtLeast(1.0),
        ),
        Report::rounds(
            "pool",
            format!("{}; {WAITERS} share {SIZE}", stage.name),
            unit,
            waiting,
        )
        .figure("pool-waiters", ratios[1], Target::AtLeast(1.0)),
    ]
}

async fn pools() -> (Running, managed::Pool<Channels>, Ours, Ours) {
    let server = bare().await;
    let theirs = managed::Pool::builder(Channels(server.uri.clone())).max_size(SIZE);
    let theirs = theirs.build().expect("a pool");
    let own = || Pool::builder(server.uri.as_str()).size(SIZE).max(SIZE);
    let exclusive = own().exclusive().connect().await.expect("a server");
    let shared = own().connect().await.expect("a server");
    let [exclusive, shared] = [exclusive, shared].map(|pool| Ours(pool.into()));
    (server, theirs, exclusive, shared)
}

async fn alone(pool: impl Leases, span: Duration) -> f64 {
    let begin = Instant::now();
    let mut leases = 0_u64;
    while begin.elapsed() < span {
        for _ in 0..100 {
            drop(black_box(pool.lease().await));
        }
        leases += 100;
    }
    leases as f64 / begin.elapsed().as_secs_f64()
}

async fn waiting(pool: impl Leases, span: Duration) -> f64 {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..WAITERS {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut leases = 0_u64;
            while begin.elapsed() < span {
                let lease = pool.lease().await;
                // Whoever has one does something with it.
                tokio::task::yield_now().await;
                drop(lease);
                leases += 1;
            }
            leases
        });
    }
    let leases: u64 = tasks.join_all().await.iter().sum();
    leases as f64 / begin.elapsed().as_secs_f64()
}
