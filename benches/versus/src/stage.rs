//! The runtimes that everything is measured on: client and server share one, as in a test.

use std::time::Duration;
use tokio::{
    runtime::{Builder, Runtime},
    time::sleep,
};

/// A runtime and its name.
pub struct Stage {
    pub name: &'static str,
    runtime: Runtime,
}

impl Stage {
    /// One thread does it all: what `#[tokio::test]` has.
    pub fn current_thread() -> Self {
        Self::new("current thread", &mut Builder::new_current_thread())
    }

    /// Two worker threads.
    pub fn two_workers() -> Self {
        let mut builder = Builder::new_multi_thread();
        Self::new("two workers", builder.worker_threads(2))
    }

    fn new(name: &'static str, builder: &mut Builder) -> Self {
        let runtime = builder.enable_all().build().expect("a runtime");
        Self { name, runtime }
    }

    /// Runs this on it, to its end, as a task of its own.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let task = self.runtime.spawn(future);
        self.runtime.block_on(task).expect("it does not panic")
    }

    /// Runs this on it without a task, for what cannot change threads.
    pub fn set_up<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Lets what a turn has left behind end, so that the next does not pay for it: mocktail answers before it has read the whole
    /// request, and its calls' tasks read on when all of them have their answers. Five seconds at most.
    #[expect(
        clippy::disallowed_methods,
        reason = "a look now and then is what is wanted"
    )]
    pub fn rest(&self) {
        const LOOK: Duration = Duration::from_millis(2);
        let mut before = self.busy();
        for _ in 0..2500 {
            self.set_up(async { sleep(LOOK).await });
            let busy = self.busy();
            if busy - before < LOOK / 10 {
                return;
            }
            before = busy;
        }
    }

    /// How long its threads have been at work.
    fn busy(&self) -> Duration {
        let metrics = self.runtime.metrics();
        let workers = 0..metrics.num_workers();
        workers
            .map(|worker| metrics.worker_total_busy_duration(worker))
            .sum()
    }

    /// How many tasks there are, after giving those that end the time to do so.
    pub fn tasks(&self) -> usize {
        self.run(async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
        self.runtime.metrics().num_alive_tasks()
    }
}
