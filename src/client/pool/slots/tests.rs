use crate::client::backoff::Backoff;
use crate::client::pool::pace::Pace;
use crate::client::pool::slots::{Limits, Observed, Slots, Wanted};
use crate::client::pool::stats::ClosedConnections;
use proptest::{prelude::*, sample::Index};
use std::time::Duration;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

const LIMITS: Limits = Limits {
    size: 1,
    max: 2,
    leases: 2,
    idle_timeout: None,
    max_lifetime: None,
};

/// Connections that are texts.
fn slots(limits: Limits) -> Slots<&'static str> {
    Slots::new(limits, Pace::new(Backoff::default()))
}

fn connected(limits: Limits, members: &[&'static str], now: Instant) -> Slots<&'static str> {
    let mut slots = slots(limits);
    for member in members {
        let id = slots.dial(member, now);
        slots.connected(id, now, 0.5);
    }
    slots
}

fn grant(slots: &mut Slots<&'static str>) -> Option<u64> {
    slots.grant(|_| usize::MAX).map(|(id, _)| id)
}

#[test]
fn the_oldest_connection_with_a_place_is_taken() {
    let now = Instant::now();
    let mut slots = connected(LIMITS, &["a", "b"], now);
    let granted: Vec<_> = (0..5).map(|_| grant(&mut slots)).collect();
    assert_eq!(granted, [Some(0), Some(0), Some(1), Some(1), None]);
    assert_eq!(slots.give_back(1, now), None);
    assert_eq!(slots.give_back(0, now), None);
    assert_eq!(grant(&mut slots), Some(0));
    assert_eq!(grant(&mut slots), Some(1));
    let stats = slots.stats();
    assert_eq!(
        (stats.size, stats.in_use, stats.idle, stats.leases),
        (2, 2, 0, 4)
    );
}

#[test]
fn a_connection_says_how_many_leases_it_has() {
    let mut slots = connected(LIMITS, &["no use", "one"], Instant::now());
    let places = |member: &&str| usize::from(*member == "one");
    assert_eq!(slots.grant(places).map(|(id, _)| id), Some(1));
    assert_eq!(slots.grant(places), None);
}

#[test]
fn one_is_dialled_at_a_time_up_to_size_and_for_those_who_wait_up_to_max() {
    let now = Instant::now();
    for (size, max) in [(0, 1), (1, 1), (1, 3), (2, 5), (3, 3)] {
        let mut slots = slots(Limits {
            size,
            max,
            ..LIMITS
        });
        for waits in [false, true] {
            let most = if waits { max } else { size };
            while slots.stats().size < most {
                assert_eq!(slots.wanted(waits, now), Wanted::New);
                let id = slots.dial("", now);
                assert_eq!(slots.wanted(true, now), Wanted::Nothing, "one at a time");
                slots.connected(id, now, 0.5);
            }
            assert_eq!(slots.wanted(waits, now), Wanted::Nothing);
        }
    }
}

#[test]
fn a_failed_dial_takes_no_place_and_is_followed_by_the_backoff() {
    let now = Instant::now();
    let mut slots = slots(Limits { max: 1, ..LIMITS });
    for failures in 1..5 {
        let id = slots.dial("a", now);
        assert_eq!(slots.unconnected(id, 0.5), Some(Some("a")));
        assert!(slots.is_empty());
        assert!(slots.is_hopeless(now));
        let retry_at = now + Backoff::default().delay(failures, 0.5);
        assert_eq!(slots.wanted(true, now), Wanted::NotBefore(retry_at));
        assert_eq!(slots.wanted(true, retry_at), Wanted::New);
        assert!(!slots.is_hopeless(retry_at));
    }
    assert_eq!(slots.stats().created, 0);
}

#[test]
fn who_waits_has_hope_while_there_is_a_connection_or_a_dial() {
    let now = Instant::now();
    let mut slots = connected(Limits { max: 3, ..LIMITS }, &["a"], now);
    let second = slots.dial("b", now);
    slots.unconnected(second, 0.5);
    assert!(!slots.is_hopeless(now), "the first may become free");
    slots.observe(0, false, now, 0.5);
    assert!(slots.is_hopeless(now));
    slots.dial("c", now);
    assert!(!slots.is_hopeless(now), "a dial is under way");
}

#[test]
fn a_lost_connection_is_gone_at_once_or_stays_for_its_leases() {
    let now = Instant::now();
    let mut slots = connected(LIMITS, &["idle", "in use"], now);
    slots.grant(|member| usize::from(*member == "in use"));
    let lost = |close| Observed::Lost {
        in_vain: false,
        close,
    };
    assert_eq!(slots.observe(0, false, now, 0.5), lost(Some("idle")));
    assert_eq!(slots.observe(0, false, now, 0.5), Observed::Gone);
    assert_eq!(slots.observe(1, false, now, 0.5), lost(None));
    assert_eq!(grant(&mut slots), None);
    assert_eq!(slots.stats().closed.lost, 2);

    // It is dialled before any other is, and serves again.
    assert_eq!(slots.wanted(true, now), Wanted::Again(1));
    assert_eq!(slots.dial_again(1, now), Some(&"in use"));
    slots.connected(1, now, 0.5);
    assert_eq!(grant(&mut slots), Some(1));
    assert_eq!(slots.stats().created, 3);

    // Or who has it dials it.
    slots.observe(1, false, now, 0.5);
    slots.observe(1, true, now, 0.5);
    slots.give_back(1, now);
    assert_eq!(grant(&mut slots), Some(1));

    // Or it fails, and goes with its last lease.
    slots.observe(1, false, now, 0.5);
    slots.dial_again(1, now);
    assert_eq!(slots.unconnected(1, 0.5), Some(None));
    assert_eq!(slots.give_back(1, now), None);
    assert_eq!(slots.give_back(1, now), Some("in use"));
    assert!(slots.is_empty());
    assert_eq!(slots.stats().closed.total(), slots.stats().created);
}

#[test]
fn connections_end_after_their_lifetime_which_differs_by_a_tenth_and_when_their_leases_are_back() {
    let lifetime = 100 * SECOND;
    let limits = Limits {
        max_lifetime: Some(lifetime),
        max: 3,
        ..LIMITS
    };
    let now = Instant::now();
    let mut slots = slots(limits);
    for (member, dice) in [("early", 0.0), ("late", 1.0), ("in use", 0.5)] {
        let id = slots.dial(member, now);
        slots.connected(id, now, dice);
    }
    slots.grant(|member| usize::from(*member == "in use"));
    assert_eq!(slots.next_due(), Some(now + 90 * SECOND));
    assert!(slots.retire_due(now + 89 * SECOND).is_empty());
    assert_eq!(slots.retire_due(now + 90 * SECOND), ["early"]);
    assert_eq!(slots.next_due(), Some(now + 100 * SECOND));
    assert!(slots.retire_due(now + 100 * SECOND).is_empty());
    assert_eq!(slots.stats().closed.lifetime, 1);
    assert_eq!(slots.give_back(2, now), Some("in use"));
    assert_eq!(slots.retire_due(now + 110 * SECOND), ["late"]);
    assert_eq!((slots.stats().closed.lifetime, slots.next_due()), (3, None));
}

#[test]
fn idle_connections_end_above_size_the_newest_first() {
    let limits = Limits {
        idle_timeout: Some(10 * SECOND),
        max: 4,
        ..LIMITS
    };
    let now = Instant::now();
    let mut slots = connected(limits, &["a", "b", "c", "d"], now);
    slots.grant(|member| usize::from(*member == "d"));
    assert_eq!(slots.next_due(), Some(now + 10 * SECOND));
    assert!(slots.retire_due(now + 9 * SECOND).is_empty());
    assert_eq!(slots.retire_due(now + 10 * SECOND), ["c", "b", "a"]);
    assert_eq!(slots.give_back(3, now + 11 * SECOND), None);
    assert_eq!(slots.next_due(), None, "one is kept");
    assert!(slots.retire_due(now + 1000 * SECOND).is_empty());

    let mut slots = connected(limits, &["a", "b"], now);
    assert_eq!(slots.retire_due(now + 10 * SECOND), ["b"]);
}

#[test]
fn closing_retires_everything_and_cutting_takes_what_has_leases() {
    let now = Instant::now();
    let mut slots = connected(
        Limits { max: 5, ..LIMITS },
        &["idle", "in use", "lost"],
        now,
    );
    let (_in_use, _lost) = (
        slots
            .grant(|member| usize::from(*member == "in use"))
            .map(drop),
        slots
            .grant(|member| usize::from(*member == "lost"))
            .map(drop),
    );
    slots.observe(2, false, now, 0.5);
    slots.dial("dialling", now);
    assert_eq!(slots.retire_all(), ["dialling", "idle"]);
    assert_eq!(grant(&mut slots), None);
    // What is lost and comes back is nobody's any more.
    slots.observe(2, true, now, 0.5);
    assert_eq!(grant(&mut slots), None);
    assert_eq!(slots.give_back(2, now), Some("lost"));
    assert_eq!(slots.take_all(), ["in use"]);
    assert_eq!(slots.give_back(1, now), None, "it comes too late");
    let expected = ClosedConnections {
        closed: 2,
        lost: 1,
        ..ClosedConnections::default()
    };
    assert_eq!(slots.stats().closed, expected);
}

/// What can happen to a pool.
#[derive(Clone, Debug)]
enum Event {
    Acquire,
    GiveBack(Index),
    Dial,
    Connected(bool),
    Observe(Index, bool),
    Wait(u64),
    RetireDue,
    RetireAll,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Acquire),
        6 => any::<Index>().prop_map(Event::GiveBack),
        6 => Just(Event::Dial),
        6 => any::<bool>().prop_map(Event::Connected),
        3 => (any::<Index>(), any::<bool>()).prop_map(|(at, ready)| Event::Observe(at, ready)),
        3 => (0..20_u64).prop_map(Event::Wait),
        3 => Just(Event::RetireDue),
        1 => Just(Event::RetireAll),
    ]
}

/// The slots, and what the outside knows.
struct World {
    slots: Slots<&'static str>,
    limits: Limits,
    now: Instant,
    leases: Vec<u64>,
    dialling: Option<u64>,
    /// Connections that came back to be closed.
    back: usize,
    begun: usize,
}

impl World {
    fn happens(&mut self, event: &Event) {
        let now = self.now;
        match event {
            Event::Acquire => self.leases.extend(grant(&mut self.slots)),
            Event::GiveBack(_) if self.leases.is_empty() => {}
            Event::GiveBack(index) => {
                let lease = self.leases.swap_remove(index.index(self.leases.len()));
                self.back += self.slots.give_back(lease, now).iter().count();
            }
            Event::Dial => match self.slots.wanted(true, now) {
                Wanted::New => {
                    self.dialling = Some(self.slots.dial("", now));
                    self.begun += 1;
                }
                Wanted::Again(id) => {
                    assert!(self.slots.dial_again(id, now).is_some());
                    self.dialling = Some(id);
                }
                Wanted::NotBefore(at) => assert!(at > now),
                Wanted::Nothing => {}
            },
            Event::Connected(well) => match (self.dialling.take(), well) {
                (Some(id), true) => self.slots.connected(id, now, 0.5),
                (Some(id), false) => {
                    self.back += self.slots.unconnected(id, 0.5).flatten().iter().count();
                }
                (None, _) => {}
            },
            Event::Observe(index, ready) => {
                let ids: Vec<_> = self.slots.members().map(|(id, _)| id).collect();
                if !ids.is_empty() {
                    let id = *index.get(&ids);
                    if let Observed::Lost { close, .. } = self.slots.observe(id, *ready, now, 0.5) {
                        self.back += close.iter().count();
                    }
                }
            }
            Event::Wait(seconds) => self.now += Duration::from_secs(*seconds),
            Event::RetireDue => {
                self.back += self.slots.retire_due(now).len();
                assert!(self.slots.next_due().is_none_or(|due| due > now));
            }
            Event::RetireAll => self.back += self.slots.retire_all().len(),
        }
    }

    fn is_sound(&self) {
        let stats = self.slots.stats();
        assert!(stats.size + stats.dialling <= self.limits.max, "{stats:?}");
        assert!(stats.dialling <= 1, "{stats:?}");
        assert_eq!(stats.size, stats.idle + stats.in_use);
        assert_eq!(stats.leases, self.leases.len());
        assert!(stats.leases <= self.limits.max * self.limits.leases);
        assert_eq!(
            self.begun,
            self.back + self.slots.members().count(),
            "none leaks"
        );
        assert!(stats.closed.total() <= stats.created);
    }
}

proptest! {
    #[test]
    fn whatever_happens_nothing_leaks_and_no_limit_is_passed(
        (size, spare, leases) in (0..4_usize, 0..3_usize, 1..4_usize),
        idle in proptest::option::of(0..10_u64),
        lifetime in proptest::option::of(1..20_u64),
        events in proptest::collection::vec(event(), 1..120),
    ) {
        let limits = Limits {
            size,
            max: (size + spare).max(1),
            leases,
            idle_timeout: idle.map(Duration::from_secs),
            max_lifetime: lifetime.map(Duration::from_secs),
        };
        let mut world = World {
            slots: slots(limits),
            limits,
            now: Instant::now(),
            leases: Vec::new(),
            dialling: None,
            back: 0,
            begun: 0,
        };
        for event in &events {
            world.happens(event);
            world.is_sound();
        }
        // When everything is over, nothing is left.
        world.happens(&Event::RetireAll);
        for lease in std::mem::take(&mut world.leases) {
            world.back += world.slots.give_back(lease, world.now).iter().count();
        }
        world.is_sound();
        prop_assert!(world.slots.is_empty());
    }
}
