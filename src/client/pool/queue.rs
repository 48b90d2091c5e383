//! Who waits, in the order of arrival.

use std::collections::BTreeMap;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Those who wait: first in, first out, and everybody may leave at any time.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiting: BTreeMap<u64, T>,
    next: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Stands in the last place.
    pub(super) fn join(&mut self, waiter: T) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, waiter);
        Ticket(ticket)
    }

    /// Gives up a place. `None`, when its turn had come.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        self.waiting.remove(&ticket.0)
    }

    /// Who has waited longest.
    pub(super) fn pop(&mut self) -> Option<T> {
        self.waiting.pop_first().map(|(_, waiter)| waiter)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use crate::client::pool::queue::Queue;

    #[test]
    fn the_first_to_come_is_the_first_to_go() {
        let mut queue = Queue::default();
        for waiter in 0..5 {
            queue.join(waiter);
        }
        assert_eq!(queue.len(), 5);
        let served: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(served, [0, 1, 2, 3, 4]);
        assert!(queue.is_empty());
    }

    #[test]
    fn whoever_leaves_loses_the_place_and_nobody_else_does() {
        let mut queue = Queue::default();
        let tickets: Vec<_> = (0..5).map(|waiter| queue.join(waiter)).collect();
        assert_eq!(queue.leave(tickets[0]), Some(0));
        assert_eq!(queue.leave(tickets[3]), Some(3));
        assert_eq!(queue.leave(tickets[3]), None);
        assert_eq!(queue.pop(), Some(1));
        // Its turn has come already.
        assert_eq!(queue.leave(tickets[1]), None);
        queue.join(5);
        let served: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(served, [2, 4, 5]);
    }
}
