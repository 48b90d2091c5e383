//! One registration, kept up as long as its server is.

use crate::consul::{Consul, Question};
use crate::error::Error;
use crate::mock::doors::{Doors, Standing};
use crate::mock::registration::entry::{Check, Entry};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::AbortHandle,
    time::{Instant, timeout_at},
};

/// All registrations of a server.
#[derive(Debug, Default)]
pub(crate) struct Registrations(Mutex<Vec<Registered>>);

/// One of them, with the task that keeps it up.
#[derive(Clone, Debug)]
struct Registered {
    kept: Arc<Kept>,
    task: AbortHandle,
}

impl Registrations {
    fn lock(&self) -> MutexGuard<'_, Vec<Registered>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers, and goes on doing so whenever the server comes back.
    pub(crate) async fn add(
        &self,
        consul: &Consul,
        entry: Entry,
        doors: &Mutex<Doors>,
    ) -> Result<(), Error> {
        let kept = Arc::new(Kept {
            consul: consul.clone(),
            body: entry.body()?,
            beat: match entry.check {
                Check::Ttl(ttl) => Some(ttl / 2),
                Check::Grpc(_) | Check::None => None,
            },
            entry,
            standing: watch::Sender::new(Standing::Up),
            is_registered: AsyncMutex::new(true),
        });
        kept.register().await?;
        let told = Arc::clone(&kept);
        let mut doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.follow(move |standing| {
            told.standing.send_replace(standing);
        });
        drop(doors);
        let task = tokio::spawn(keep(Arc::clone(&kept))).abort_handle();
        self.lock().push(Registered { kept, task });
        Ok(())
    }

    /// Takes all of them back, for good.
    pub(crate) async fn take_back(&self) -> Result<(), Error> {
        let all = std::mem::take(&mut *self.lock());
        all.iter().for_each(|one| one.task.abort());
        leave(&all).await
    }

    /// The server says good-bye, and may come back.
    pub(crate) async fn leave(&self) {
        let all = self.lock().clone();
        if let Err(error) = leave(&all).await {
            tracing::warn!(error = error.chain(), "a mock server could not deregister");
        }
    }
}

/// One that cannot be taken back keeps the others from nothing.
async fn leave(all: &[Registered]) -> Result<(), Error> {
    let mut left = Ok(());
    for one in all {
        left = left.and(one.kept.leave().await);
    }
    left
}

/// A dropped server keeps up nothing. What it registered stays, as after a crash.
impl Drop for Registrations {
    fn drop(&mut self) {
        self.lock().iter().for_each(|one| one.task.abort());
    }
}

#[derive(Debug)]
struct Kept {
    consul: Consul,
    entry: Entry,
    body: Value,
    /// How often Consul is told that the server is well, if it is to be told.
    beat: Option<Duration>,
    standing: watch::Sender<Standing>,
    /// Held while Consul is told something, so that a registration does not come after its end.
    is_registered: AsyncMutex<bool>,
}

/// How long after Consul could not be told it is told again.
const AGAIN: Duration = Duration::from_secs(1);

/// Goes on registering a server that is up, and telling that it is well.
async fn keep(kept: Arc<Kept>) {
    let mut standing = kept.standing.subscribe();
    // It has just been registered.
    let mut next = kept.beat.and_then(|beat| Instant::now().checked_add(beat));
    loop {
        let changed = standing.changed();
        match next {
            // Time to tell it again, or something has changed.
            Some(at) => drop(timeout_at(at, changed).await),
            None => drop(changed.await),
        }
        let now = *standing.borrow_and_update();
        next = match now {
            Standing::Up => kept.tend().await,
            // A process that is gone tells nothing, and registers when it comes back.
            Standing::Killed | Standing::Left => {
                *kept.is_registered.lock().await = false;
                None
            }
            Standing::Paused => None,
        };
    }
}

impl Kept {
    async fn register(&self) -> Result<(), Error> {
        let path = ["agent", "service", "register"];
        let question = Question::put(path).body(self.body.clone());
        self.consul.ask(question).await.map(drop)
    }

    /// Tells Consul that the server is well. When to do so again.
    async fn tend(&self) -> Option<Instant> {
        let mut is_registered = self.is_registered.lock().await;
        if *self.standing.borrow() != Standing::Up {
            return None;
        }
        let tended = match (*is_registered, self.beat) {
            (false, _) => self.register().await,
            (true, Some(_)) => self.pass().await,
            (true, None) => Ok(()),
        };
        // An agent that was started anew knows nothing of it.
        *is_registered = tended.is_ok();
        let next = match tended {
            Ok(()) => self.beat,
            Err(error) => {
                let id = &self.entry.id;
                tracing::warn!(%id, error = error.chain(), "a mock server is not registered");
                Some(self.beat.unwrap_or(AGAIN).min(AGAIN))
            }
        };
        next.and_then(|next| Instant::now().checked_add(next))
    }

    async fn pass(&self) -> Result<(), Error> {
        let check = self.entry.check_id();
        let question = Question::put(["agent", "check", "pass", &check]);
        self.consul.ask(question).await.map(drop)
    }

    async fn leave(&self) -> Result<(), Error> {
        self.standing.send_replace(Standing::Left);
        let mut is_registered = self.is_registered.lock().await;
        *is_registered = false;
        let path = ["agent", "service", "deregister", &self.entry.id];
        self.consul.ask(Question::put(path)).await.map(drop)
    }
}
