//! The rest of a call's time.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// When a call has to have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// `None` for one that has all the time there is.
    pub(crate) at: Option<Instant>,
    /// How long that was when the call was made.
    pub(crate) timeout: Option<Duration>,
}

impl Deadline {
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        // A timeout beyond the clock's end is none.
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { at, timeout }
    }
}

/// The rest of a call's time. The deadline is one instant, whatever the call is waiting for.
#[derive(Debug)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(crate) fn new(deadline: Option<Deadline>) -> Self {
        let at = deadline.and_then(|deadline| deadline.at);
        Self {
            sleep: at.map(|at| Box::pin(sleep_until(at))),
        }
    }

    pub(crate) fn left(&self) -> Option<Duration> {
        let sleep = self.sleep.as_ref()?;
        Some(sleep.deadline().saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_passed(&self) -> bool {
        self.sleep
            .as_ref()
            .is_some_and(|sleep| sleep.deadline() <= Instant::now())
    }

    /// `None`, when the deadline comes first.
    ///
    /// The future is pinned by the caller, so that it is not there twice in the caller's.
    pub(crate) fn limit<F: Future>(
        &mut self,
        mut future: Pin<&mut F>,
    ) -> impl Future<Output = Option<F::Output>> {
        poll_fn(move |cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_passed(cx).map(|()| None),
        })
    }

    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
