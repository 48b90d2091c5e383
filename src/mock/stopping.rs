//! How a server ends in good order, or dies, also without whoever owns it.

use crate::mock::builtin::OnShutdown;
use crate::mock::doors::{Doors, Standing};
use crate::mock::open::Open;
use crate::mock::serve::Service;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};

/// What is left of the calls when a host has told its plugin to end.
const GRACE: Duration = Duration::from_secs(1);

/// The doors of a server, and what is open behind them.
#[derive(Clone, Debug)]
pub(super) struct Stopping {
    pub(super) doors: Arc<Mutex<Doors>>,
    pub(super) open: Arc<Open>,
}

impl Stopping {
    pub(super) fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens no more, says good-bye on every connection, lets the calls in flight end, and closes what is left when the
    /// grace is over. What comes back is what may still be ending.
    pub(super) async fn leave(&self, service: &Service, grace: Duration) -> Vec<JoinHandle<()>> {
        let accepting = {
            let mut doors = self.doors();
            let accepting = doors.go_down(Standing::Left);
            self.open.leave_all();
            accepting
        };
        service.builtin.leave();
        // What multiplexed connections came through is closed in any case.
        let ended = timeout(grace, self.open.all_ended()).await.is_ok();
        if !ended || cfg!(feature = "multiplex") {
            let doors = self.doors();
            // What is open after a restart is not what was left.
            if !doors.is_up() {
                self.open.close_all(false);
            }
        }
        accepting
    }

    /// Listens no more and closes every connection. What comes back is what may still be ending.
    pub(super) fn cut(&self, reset: bool) -> Vec<JoinHandle<()>> {
        let mut doors = self.doors();
        let accepting = doors.go_down(Standing::Killed);
        // Before anybody can open the doors again.
        self.open.close_all(reset);
        drop(doors);
        accepting
    }

    /// Has the server end when its host says so.
    pub(super) fn by_host(&self, service: &Arc<Service>) {
        let weak = (
            Arc::downgrade(&self.doors),
            Arc::downgrade(&self.open),
            Arc::downgrade(service),
        );
        service.builtin.controller.ends_by(move |behaviour| {
            let upgraded = (weak.0.upgrade(), weak.1.upgrade(), Weak::upgrade(&weak.2));
            let (Some(doors), Some(open), Some(service)) = upgraded else {
                return;
            };
            let stopping = Self { doors, open };
            match behaviour {
                OnShutdown::Ignore => {}
                // In a task, since the call that asks for it is waited for.
                OnShutdown::Obey => drop(tokio::spawn(async move {
                    drop(stopping.leave(&service, GRACE).await);
                })),
                OnShutdown::Die => drop(tokio::spawn(async move { drop(stopping.cut(false)) })),
            }
        });
    }
}
