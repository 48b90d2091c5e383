//! What goes on in the background: dials, closes, and connections that end by themselves.

use crate::client::connection::ConnectionState;
use crate::client::handle::Client;
use crate::client::pool::member::another;
use crate::client::pool::shared::Shared;
use crate::client::pool::state::{Chores, Dial, Standing};
use crate::error::Error;
use std::{
    future::pending,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Keeps a pool until it is closed or dropped. It has no part in the pool's life: it holds a weak reference.
pub(super) struct Keeper {
    pool: Weak<Shared>,
    wake: Arc<Notify>,
}

impl Keeper {
    pub(super) fn new(pool: &Arc<Shared>, wake: Arc<Notify>) -> Self {
        let pool = Arc::downgrade(pool);
        Self { pool, wake }
    }

    pub(super) async fn keep(self) {
        let mut closing = JoinSet::new();
        let mut others = JoinSet::new();
        for (id, state) in self
            .pool
            .upgrade()
            .map_or_else(Vec::new, |pool| pool.members())
        {
            others.spawn(watch_one(Weak::clone(&self.pool), id, state));
        }
        loop {
            let Some(chores) = self.pool.upgrade().map(|pool| chores(&pool)) else {
                return;
            };
            if chores.standing == Standing::Cut {
                // Who closes a connection and is dropped cuts what is in flight.
                closing.shutdown().await;
                for client in chores.close {
                    client.drain(Duration::ZERO).await;
                }
            } else {
                for client in chores.close {
                    // Calls have deadlines of their own; closing the pool sets one for what has none.
                    closing.spawn(async move { client.drain(Duration::MAX).await });
                }
            }
            if let Some(Dial { id, client, watch }) = chores.dial {
                if watch {
                    others.spawn(watch_one(Weak::clone(&self.pool), id, client.state()));
                }
                others.spawn(dial(Weak::clone(&self.pool), id, client));
            }
            if chores.standing != Standing::Open && chores.is_empty && closing.is_empty() {
                if let Some(pool) = self.pool.upgrade() {
                    pool.is_gone();
                }
                return;
            }
            let due = async {
                match chores.until {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                Some(_) = closing.join_next() => {}
                Some(_) = others.join_next() => {}
                () = due => {}
            }
        }
    }
}

/// Tells that there is no keeper, also when it did not come to its end.
impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.unkept();
        }
    }
}

fn chores(pool: &Arc<Shared>) -> Chores {
    let now = Instant::now();
    // It is made outside the lock: it may read files.
    let new = pool.retire(now).then(|| another(&pool.first));
    let new = match new.transpose() {
        Ok(new) => new,
        Err(error) => {
            pool.cannot_dial(error);
            None
        }
    };
    pool.chores(now, new)
}

async fn dial(pool: Weak<Shared>, id: u64, client: Client) {
    let mut dialling = Dialling {
        pool,
        id,
        ended: None,
    };
    dialling.ended = Some(client.connected().await);
}

/// Tells how a dial ended, also when it did not, as when its runtime ends.
struct Dialling {
    pool: Weak<Shared>,
    id: u64,
    ended: Option<Result<(), Error>>,
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let ended = self.ended.take();
            pool.dialled(self.id, ended.unwrap_or_else(|| Err(pool.given_up())));
        }
    }
}

/// Tells the pool when a connection is lost, and when it is there again.
async fn watch_one(pool: Weak<Shared>, id: u64, mut state: watch::Receiver<ConnectionState>) {
    loop {
        let ready = *state.borrow_and_update() == ConnectionState::Ready;
        let is_ours = pool.upgrade().is_some_and(|pool| pool.observed(id, ready));
        if !is_ours || state.changed().await.is_err() {
            return;
        }
    }
}
