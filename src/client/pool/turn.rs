//! Waiting for a lease.

use crate::client::pool::lease::Lease;
use crate::client::pool::queue::Ticket;
use crate::client::pool::shared::{Asked, Shared};
use crate::error::Error;
use std::{
    sync::Arc,
    task::{Poll, Waker, ready},
};

/// Somebody's turn, that comes or is given up when this drops. Nobody has a timer: [the keeper](super::keeper) tells whose
/// patience has ended.
pub(super) struct Turn<'a> {
    shared: &'a Arc<Shared>,
    /// Set while it waits.
    ticket: Option<Ticket>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        Self {
            shared,
            ticket: None,
        }
    }

    pub(super) fn poll(&mut self, waker: &Waker) -> Poll<Result<Lease, Error>> {
        let Some(ticket) = self.ticket else {
            return match self.shared.ask(waker) {
                Asked::Answered(answer) => Poll::Ready(answer),
                Asked::Waits(ticket) => {
                    self.ticket = Some(ticket);
                    Poll::Pending
                }
            };
        };
        let answer = ready!(self.shared.answer(ticket, waker));
        self.ticket = None;
        Poll::Ready(answer)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.leave(ticket);
        }
    }
}
