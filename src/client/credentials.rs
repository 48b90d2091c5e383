//! The token of a client: held, asked for once however many calls wait, renewed, given up.

use crate::client::auth::{Fetching, Token, TokenAuth};
use crate::client::token::{Held, Next, next};
use crate::error::{Error, Kind};
use crate::panics::caught_async;
use http::HeaderName;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::{sync::watch, task::AbortHandle, time::Instant};

/// The tokens of one client.
pub(crate) struct Credentials {
    told: TokenAuth,
    /// Asks for a token.
    fetch: Arc<dyn Fn() -> Fetching + Send + Sync>,
    /// Whether another token can be had than the one that was refused.
    renewable: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    generation: u64,
    fetching: Option<Fetch>,
}

/// A token that is being asked for.
struct Fetch {
    outcome: Outcome,
    task: AbortHandle,
}

type Outcome = watch::Receiver<Option<Result<Held, Error>>>;

impl Credentials {
    pub(crate) fn new(
        told: TokenAuth,
        renewable: bool,
        fetch: impl Fn() -> Fetching + Send + Sync + 'static,
    ) -> Self {
        Self {
            told,
            fetch: Arc::new(fetch),
            renewable,
            state: Mutex::default(),
        }
    }

    pub(crate) fn key(&self) -> &HeaderName {
        self.told.key()
    }

    pub(crate) fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// A token that is good now.
    ///
    /// Cancel safe: one that is asked for goes on being asked for, for the next call.
    pub(crate) async fn token(self: &Arc<Self>) -> Result<Held, Error> {
        let mut outcome = {
            let mut state = self.lock();
            match next(state.held.as_ref(), Instant::now()) {
                Next::Use(held) => return Ok(held),
                Next::Renew(held) => {
                    self.fetch(&mut state);
                    return Ok(held);
                }
                Next::Wait => self.fetch(&mut state),
            }
        };
        let outcome = outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        // Its task ends early with the runtime only.
        outcome.unwrap_or_else(|| Err(Error::new(Kind::Auth, "the token was never fetched")))
    }

    /// Gives up a token that the server refused, unless there is another already.
    pub(crate) fn refuse(&self, generation: u64) {
        let mut state = self.lock();
        if self.renewable
            && state
                .held
                .as_ref()
                .is_some_and(|held| held.generation == generation)
        {
            state.held = None;
        }
    }

    /// Asks for another token, unless that is under way.
    fn fetch(self: &Arc<Self>, state: &mut State) -> Outcome {
        // One whose task is gone, with the runtime that it ran on, is as good as none.
        if let Some(fetching) = &state.fetching
            && fetching.outcome.has_changed().is_ok()
        {
            return fetching.outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        let (fetch, credentials) = (Arc::clone(&self.fetch), Arc::downgrade(self));
        let task = tokio::spawn(async move {
            // The closure itself may panic, or ask this client for something.
            let fetched = caught_async(async move { fetch().await }).await;
            let fetched = fetched.unwrap_or_else(|panic| {
                let text = format!("the provider of tokens panicked: {panic}");
                Err(Error::new(Kind::Auth, text))
            });
            if let Some(credentials) = Weak::upgrade(&credentials) {
                tell.send_replace(Some(credentials.fetched(fetched)));
            }
        });
        state.fetching = Some(Fetch {
            outcome: outcome.clone(),
            task: task.abort_handle(),
        });
        outcome
    }

    fn fetched(&self, fetched: Result<Token, Error>) -> Result<Held, Error> {
        let value = fetched.and_then(|token| Ok((self.told.value(&token)?, token.lifetime)));
        let now = Instant::now();
        let mut state = self.lock();
        state.fetching = None;
        match value {
            Ok((value, lifetime)) => {
                state.generation += 1;
                let held = Held::new(value, state.generation, lifetime, now);
                state.held = Some(held.clone());
                Ok(held)
            }
            Err(error) => {
                tracing::warn!(%error, "no token");
                if let Some(held) = &mut state.held {
                    held.put_off(now);
                }
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody waits for what is being asked for.
impl Drop for Credentials {
    fn drop(&mut self) {
        if let Some(fetching) = &self.lock().fetching {
            fetching.task.abort();
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.told)
    }
}
