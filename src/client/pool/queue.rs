//! Who waits, in the order of arrival.

use std::{collections::VecDeque, task::Waker};
use tokio::time::Instant;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// Those who wait: first in, first out, and everybody may leave at any time. An answer stays in its place until whoever
/// waited for it takes it.
#[derive(Debug)]
pub(super) struct Queue<A> {
    /// The first is somebody's.
    places: VecDeque<Place<A>>,
    /// The ticket of the first place.
    first: u64,
    /// The ticket of who has waited longest, or of who comes next.
    turn: u64,
    waiting: usize,
}

#[derive(Debug)]
pub(super) enum Place<A> {
    Waits {
        waker: Waker,
        until: Option<Instant>,
    },
    Answered(A),
    Left,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            first: 0,
            turn: 0,
            waiting: 0,
        }
    }
}

impl<A> Queue<A> {
    /// Stands in the last place, until then at most. Everybody has equal patience: nobody's ends before that of one who came earlier.
    pub(super) fn join(&mut self, waker: Waker, until: Option<Instant>) -> Ticket {
        let ticket = self.first + self.places.len() as u64;
        self.places.push_back(Place::Waits { waker, until });
        self.waiting += 1;
        Ticket(ticket)
    }

    /// What is woken when there is an answer, as long as there is none.
    pub(super) fn waker(&mut self, ticket: Ticket) -> Option<&mut Waker> {
        match self.place(ticket)? {
            Place::Waits { waker, .. } => Some(waker),
            Place::Answered(_) | Place::Left => None,
        }
    }

    /// Gives up a place. What was there is to be dropped where no lock is held: wakers are other people's code.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Place<A>> {
        let place = std::mem::replace(self.place(ticket)?, Place::Left);
        if let Place::Waits { .. } = place {
            self.waiting -= 1;
            self.next_turn();
        }
        while let Some(Place::Left) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        Some(place)
    }

    /// Answers who has waited longest. What comes back is to be woken.
    pub(super) fn answer(&mut self, answer: A) -> Option<Waker> {
        let place = self.place(Ticket(self.turn))?;
        let Place::Waits { waker, .. } = std::mem::replace(place, Place::Answered(answer)) else {
            return None;
        };
        self.waiting -= 1;
        self.next_turn();
        Some(waker)
    }

    /// When the patience of who has waited longest ends.
    pub(super) fn ends(&self) -> Option<Instant> {
        let at = usize::try_from(self.turn - self.first).ok()?;
        match self.places.get(at)? {
            Place::Waits { until, .. } => *until,
            Place::Answered(_) | Place::Left => None,
        }
    }

    /// All who wait.
    pub(super) fn wakers(&self) -> Vec<Waker> {
        let wakers = self.places.iter().filter_map(|place| match place {
            Place::Waits { waker, .. } => Some(waker.clone()),
            Place::Answered(_) | Place::Left => None,
        });
        wakers.collect()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    fn place(&mut self, ticket: Ticket) -> Option<&mut Place<A>> {
        let at = usize::try_from(ticket.0.checked_sub(self.first)?).ok()?;
        self.places.get_mut(at)
    }

    /// It is the turn of the next who waits, if it was somebody's who does not.
    fn next_turn(&mut self) {
        while let Some(Place::Answered(_) | Place::Left) = self.place(Ticket(self.turn)) {
            self.turn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::client::pool::queue::{Place, Queue, Ticket};
    use std::{task::Waker, time::Duration};
    use tokio::time::Instant;

    fn join(queue: &mut Queue<u32>) -> Ticket {
        queue.join(Waker::noop().clone(), None)
    }

    /// The answer that has come to a place.
    fn taken(queue: &mut Queue<u32>, ticket: Ticket) -> Option<u32> {
        assert!(queue.waker(ticket).is_none(), "it waits still");
        match queue.leave(ticket)? {
            Place::Answered(answer) => Some(answer),
            Place::Waits { .. } | Place::Left => None,
        }
    }

    #[test]
    fn the_first_to_come_is_the_first_to_go() {
        let mut queue = Queue::default();
        let tickets: Vec<_> = (0..5).map(|_| join(&mut queue)).collect();
        assert_eq!(queue.len(), 5);
        for answer in 0..5 {
            assert!(queue.answer(answer).is_some());
        }
        assert!(queue.is_empty() && queue.answer(5).is_none());
        // In whichever order they come for them.
        for (answer, ticket) in (0..5).zip(tickets).rev() {
            assert_eq!(taken(&mut queue, ticket), Some(answer));
        }
        assert!(queue.places.is_empty());
    }

    #[test]
    fn whoever_leaves_loses_the_place_and_nobody_else_does() {
        let mut queue = Queue::default();
        let tickets: Vec<_> = (0..5).map(|_| join(&mut queue)).collect();
        for left in [0, 3] {
            assert!(matches!(
                queue.leave(tickets[left]),
                Some(Place::Waits { .. })
            ));
        }
        assert_eq!(queue.len(), 3);
        assert!(queue.answer(1).is_some());
        // Its turn has come already: the answer is somebody else's then.
        assert_eq!(taken(&mut queue, tickets[1]), Some(1));
        assert!(queue.leave(tickets[1]).is_none());
        let last = join(&mut queue);
        for answer in [2, 4, 5] {
            assert!(queue.answer(answer).is_some());
        }
        let served = [tickets[2], tickets[4], last];
        let served = served.map(|ticket| taken(&mut queue, ticket));
        assert_eq!(served, [2, 4, 5].map(Some));
        assert!(queue.answer(6).is_none() && queue.places.is_empty());
    }

    #[test]
    fn an_answer_waits_for_who_takes_it_and_nobody_else_waits_for_that() {
        let mut queue = Queue::default();
        let (slow, quick) = (join(&mut queue), join(&mut queue));
        assert!(queue.waker(quick).is_some());
        assert!(queue.answer(1).is_some() && queue.answer(2).is_some());
        assert_eq!(taken(&mut queue, quick), Some(2));
        let late = join(&mut queue);
        assert!(queue.answer(3).is_some());
        assert_eq!(taken(&mut queue, late), Some(3));
        assert_eq!(taken(&mut queue, slow), Some(1));
        assert!(queue.places.is_empty());
    }

    #[test]
    fn it_is_known_whose_patience_ends_first() {
        let (mut queue, now) = (Queue::<u32>::default(), Instant::now());
        assert_eq!(queue.ends(), None);
        let until = |seconds| Some(now + Duration::from_secs(seconds));
        let tickets: Vec<_> = (1..4)
            .map(|seconds| queue.join(Waker::noop().clone(), until(seconds)))
            .collect();
        assert_eq!(queue.ends(), until(1));
        assert!(queue.answer(0).is_some());
        assert_eq!(queue.ends(), until(2));
        queue.leave(tickets[1]);
        assert_eq!(queue.ends(), until(3));
        queue.leave(tickets[2]);
        assert_eq!((queue.ends(), queue.wakers().len()), (None, 0));
    }
}
