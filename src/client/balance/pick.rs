//! One of the candidates for one call.

use crate::client::balance::{Strategy, shares};
use fastrand::Rng;
use std::{
    fmt, slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

/// An endpoint that may be picked.
pub(crate) trait Candidate {
    /// Its part of the calls, beside the weights of the others.
    fn weight(&self) -> u32;

    /// What it carries: the lower, the better.
    fn load(&self, now: Instant) -> f64;

    /// What it is known by among the others, for a call that excludes those it has tried.
    fn key(&self) -> u64;
}

/// How calls are spread: what stays when the set of endpoints changes.
#[derive(Debug)]
pub(crate) struct Balance {
    strategy: Strategy,
    seed: u64,
    /// One for all sets of candidates, so that an endpoint which comes and goes does not restart the sequence each time and
    /// send all calls to the first one. A new set is entered in the middle of its period: counted from there, a member may be
    /// almost two picks away from its share.
    turn: AtomicU64,
}

impl Balance {
    pub(crate) fn new(strategy: Strategy, seed: u64) -> Self {
        Self {
            strategy,
            seed,
            turn: AtomicU64::new(0),
        }
    }

    pub(crate) fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The candidates in this order, ready for picks by the strategy.
    pub(crate) fn arrange<M: Candidate>(&self, members: Vec<Arc<M>>) -> Candidates<M> {
        let turns = match self.strategy {
            Strategy::Weighted => {
                let weights: Vec<_> = members.iter().map(|member| member.weight()).collect();
                shares::turns(&weights)
            }
            _ => Vec::new(),
        };
        Candidates { members, turns }
    }

    /// The one that takes a call; `None` if there are no candidates.
    ///
    /// One that is excluded (this call has tried it) is taken only when there is no other. Each pick takes one turn of the
    /// sequence, whomever it excludes; if that turn is an excluded one's, the pick is drawn from the others, so that none of them
    /// has all the calls of the one that fails.
    pub(crate) fn pick<'a, M: Candidate>(
        &self,
        among: &'a Candidates<M>,
        now: Instant,
        is_excluded: impl Fn(&M) -> bool,
    ) -> Option<&'a Arc<M>> {
        let members = &among.members[..];
        let first = members.first()?;
        if self.strategy == Strategy::First {
            return members.iter().find(|m| !is_excluded(m)).or(Some(first));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut rng = Rng::with_seed(mixed(self.seed, turn));
        let is_free = |member: &M| !is_excluded(member);
        Some(match self.strategy {
            Strategy::LeastRequest => less_loaded(members, now, is_free, &mut rng),
            Strategy::Random => drawn(
                &members[rng.usize(..members.len())],
                members,
                is_free,
                &mut rng,
                |_| 1,
            ),
            Strategy::Weighted => {
                let owner = &members[among.turns[at(turn, among.turns.len())] as usize];
                // Whose turn it is has no weight only where nobody has: then all are equal.
                let nobody_has = owner.weight() == 0;
                let weight = |member: &M| if nobody_has { 1 } else { member.weight() };
                drawn(owner, members, is_free, &mut rng, weight)
            }
            _ => {
                let owner = &members[at(turn, members.len())];
                drawn(owner, members, is_free, &mut rng, |_| 1)
            }
        })
    }
}

/// The place of this turn in a sequence that repeats.
fn at(turn: u64, length: usize) -> usize {
    usize::try_from(turn % length as u64).expect("it is less than a length")
}

/// The owner of the turn if it is free, or else one of the free ones by weight, or else the owner after all.
fn drawn<'a, M>(
    owner: &'a Arc<M>,
    members: &'a [Arc<M>],
    is_free: impl Fn(&M) -> bool,
    rng: &mut Rng,
    weight: impl Fn(&M) -> u32,
) -> &'a Arc<M> {
    if is_free(owner) {
        return owner;
    }
    let free = || members.iter().filter(|member| is_free(member));
    let sum: u64 = free().map(|member| u64::from(weight(member))).sum();
    if sum == 0 {
        return owner;
    }
    let mut left = rng.u64(..sum);
    free()
        .find(|member| {
            let weight = u64::from(weight(member));
            let is_hit = left < weight;
            left = left.saturating_sub(weight);
            is_hit
        })
        .unwrap_or(owner)
}

/// Of two distinct ones that are drawn the less loaded one, or the first.
fn less_loaded<'a, M: Candidate>(
    members: &'a [Arc<M>],
    now: Instant,
    is_free: impl Fn(&M) -> bool,
    rng: &mut Rng,
) -> &'a Arc<M> {
    let [one, other] = two_of(members, rng);
    let [one, other] = if is_free(one) && is_free(other) {
        [one, other]
    } else {
        let free: Vec<_> = members.iter().filter(|member| is_free(member)).collect();
        if free.is_empty() {
            [one, other]
        } else {
            two_of(&free, rng).map(|member| *member)
        }
    };
    if other.load(now) < one.load(now) {
        other
    } else {
        one
    }
}

/// Two that are distinct, if there are two.
fn two_of<'a, T>(from: &'a [T], rng: &mut Rng) -> [&'a T; 2] {
    let one = rng.usize(..from.len());
    let other = (one + rng.usize(1..from.len().max(2))) % from.len();
    [&from[one], &from[other]]
}

/// Turns of one seed, and seeds that differ by one, are to have nothing in common: the finalizer of `SplitMix64`.
fn mixed(seed: u64, turn: u64) -> u64 {
    let mut bits = seed ^ turn.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Those that can take calls now. It never changes: for another set, arrange another one.
pub(crate) struct Candidates<M> {
    members: Vec<Arc<M>>,
    /// Whose turn it is, by index, over one period. Of `Weighted` only.
    turns: Vec<u32>,
}

impl<M> Candidates<M> {
    pub(crate) fn iter(&self) -> slice::Iter<'_, Arc<M>> {
        self.members.iter()
    }
}

impl<M: fmt::Debug> fmt::Debug for Candidates<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.members).finish()
    }
}
