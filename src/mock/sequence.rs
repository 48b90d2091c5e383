//! Stubs whose turns come one after another.

use crate::mock::times::Times;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An order in which stubs expect their calls.
///
/// Each stub that is put [in the sequence](crate::Stub::in_sequence) serves only when its turn has come: when those before
/// it have had the calls that they expect (one for each of their replies, if they do not say
/// [how many](crate::Stub::times)). Once it serves, the turn of those before it is over. A call out of turn is not for the
/// stub.
///
/// ```
/// # use rpcplugin_testkit::{MockServer, Sequence, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// let login = Sequence::new();
/// server.mount(Stub::method("Hello").in_sequence(&login).reply(json!({"nonce": 7})));
/// server.mount(Stub::method("Login").in_sequence(&login).reply(json!({"token": "t"})));
///
/// let client = server.client().await;
/// client.call("Hello", json!({})).await.unwrap();
/// client.call("Login", json!({"nonce": 7})).await.unwrap();
/// server.verify().await.unwrap();
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Sequence(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    steps: Vec<Step>,
    /// Whose turn it is.
    current: usize,
}

#[derive(Debug)]
struct Step {
    label: String,
    times: Times,
    served: u64,
}

/// A stub's place in a sequence.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    sequence: Sequence,
    step: usize,
}

impl Sequence {
    /// A sequence without stubs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next place.
    pub(crate) fn join(&self, label: String, times: Times) -> Turn {
        let mut state = self.lock();
        state.steps.push(Step {
            label,
            times,
            served: 0,
        });
        Turn {
            sequence: self.clone(),
            step: state.steps.len() - 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Takes a call, if it is this step's turn, it has not had all its calls, and `take` gives one.
    pub(crate) fn take<T>(&self, take: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut state = self.sequence.lock();
        if state.before(self.step).is_some() {
            return None;
        }
        let step = &mut state.steps[self.step];
        if step.served >= step.times.most() {
            return None;
        }
        let taken = take()?;
        step.served += 1;
        state.current = self.step;
        Some(taken)
    }

    /// Its stub is gone: nobody waits for it, and it waits for nobody.
    pub(crate) fn leave(&self) {
        let mut state = self.sequence.lock();
        state.steps[self.step].times = (..).into();
    }

    /// Why it takes no call now.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let state = self.sequence.lock();
        let Some(before) = state.before(self.step) else {
            let step = &state.steps[self.step];
            let full = step.served >= step.times.most();
            return full.then(|| format!("it has had the {} of its turn", step.times.calls()));
        };
        Some(match before {
            Before::Over(label) => {
                format!("its turn in the sequence is over: {label} has served since")
            }
            Before::Waiting {
                label,
                times,
                served,
            } => {
                format!(
                    "its turn in the sequence comes after {label}, which expects {times} and got {served}"
                )
            }
        })
    }
}

enum Before {
    Over(String),
    Waiting {
        label: String,
        times: Times,
        served: u64,
    },
}

impl State {
    /// What stands before this step's turn.
    fn before(&self, step: usize) -> Option<Before> {
        if step < self.current {
            return Some(Before::Over(self.steps[self.current].label.clone()));
        }
        let earlier = self.steps[self.current..step].iter();
        let mut waiting = earlier.filter(|step| !step.times.has_enough(step.served));
        waiting.next().map(|step| Before::Waiting {
            label: step.label.clone(),
            times: step.times,
            served: step.served,
        })
    }
}
