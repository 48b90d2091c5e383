//! Who waits, in the order of arrival.

use std::collections::VecDeque;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Those who wait: first in, first out, and everybody may leave at any time.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// `None` for those who have left. The first has not.
    places: VecDeque<Option<T>>,
    /// The ticket of the first.
    first: u64,
    waiting: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            first: 0,
            waiting: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Stands in the last place.
    pub(super) fn join(&mut self, waiter: T) -> Ticket {
        let ticket = self.first + self.places.len() as u64;
        self.places.push_back(Some(waiter));
        self.waiting += 1;
        Ticket(ticket)
    }

    /// Gives up a place. `None`, when its turn had come.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let at = usize::try_from(ticket.0.checked_sub(self.first)?).ok()?;
        let waiter = self.places.get_mut(at)?.take()?;
        self.waiting -= 1;
        self.close_ranks();
        Some(waiter)
    }

    /// Who has waited longest.
    pub(super) fn pop(&mut self) -> Option<T> {
        let waiter = self.places.pop_front()?;
        self.first += 1;
        self.waiting -= 1;
        self.close_ranks();
        waiter
    }

    /// The first place is somebody's.
    fn close_ranks(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
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
