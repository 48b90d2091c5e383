//! Turns by weight.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The longest period, as far as the number of members allows: what is longer is rounded to it.
pub(crate) const MAX_PERIOD: u64 = 16_384;

/// Whose turn it is, by index, over one period: the sum of the weights divided by their greatest common divisor.
///
/// After any number of turns t (the period repeats for ever) a member with the part λ of the weights has had more than λt - 1
/// turns, and fewer than λt + 1. nginx's smooth round robin and the static stride of gRPC's A58 do not promise that.
///
/// This is the chairman assignment problem (R. Tijdeman, Discrete Mathematics 32, 1980, 323-330): n members can always be served
/// so that none is further than 1 - 1/(2n-2) from its share. That bound is a release slot and a deadline for each turn of
/// each member, so it is kept by taking, of those released, the one with the earliest deadline: for turns of one slot
/// this finds an order whenever there is one.
///
/// Members of weight 0 have no turn, unless all have weight 0: then all are equal. A sum over [`MAX_PERIOD`] is scaled down to it;
/// each weight is then off by at most half a unit of 1/16,384 of the sum, or less than one if it had become 0, which it
/// does not. So the period is at most `MAX_PERIOD` and one for each member.
pub(crate) fn turns(weights: &[u32]) -> Vec<u32> {
    let scaled = reduced(scaled(reduced(effective(weights))));
    let served: Vec<(u32, u64)> = (0..)
        .zip(scaled)
        .filter(|(_, weight)| *weight > 0)
        .collect();
    match served[..] {
        [] => Vec::new(),
        [(only, _)] => vec![only],
        _ => in_order(&served),
    }
}

fn effective(weights: &[u32]) -> Vec<u64> {
    if weights.iter().all(|weight| *weight == 0) {
        return vec![1; weights.len()];
    }
    weights.iter().copied().map(u64::from).collect()
}

fn reduced(weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, common_divisor).max(1);
    weights.into_iter().map(|weight| weight / divisor).collect()
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

fn scaled(weights: Vec<u64>) -> Vec<u64> {
    let sum: u64 = weights.iter().sum();
    if sum <= MAX_PERIOD {
        return weights;
    }
    let scale = |weight: u64| (weight * MAX_PERIOD + sum / 2) / sum;
    weights
        .into_iter()
        .map(|weight| scale(weight).max(weight.min(1)))
        .collect()
}

/// At least two members, each with its weight, which is positive.
fn in_order(served: &[(u32, u64)]) -> Vec<u32> {
    let windows = Windows {
        period: served.iter().map(|(_, weight)| weight).sum(),
        // 1 over Tijdeman's margin.
        margin: 2 * served.len() as u64 - 2,
    };
    // The next turn of each member: not released yet, and released.
    let mut early: BinaryHeap<_> = (0..served.len())
        .map(|at| Reverse((windows.release(0, served[at].1), at, 0)))
        .collect();
    let mut due = BinaryHeap::new();
    let mut order = Vec::new();
    for slot in 1..=windows.period {
        while let Some(Reverse((release, at, had))) = early.peek().copied()
            && release <= slot
        {
            early.pop();
            due.push(Reverse((windows.deadline(had, served[at].1), at, had)));
        }
        let Reverse((_, at, had)) = due
            .pop()
            .expect("as many turns are released as there are slots");
        let (member, weight) = served[at];
        order.push(member);
        if had + 1 < weight {
            early.push(Reverse((windows.release(had + 1, weight), at, had + 1)));
        }
    }
    order
}

/// In which slots, counted from 1, a member may have its turn.
struct Windows {
    period: u64,
    margin: u64,
}

impl Windows {
    /// The first slot in which a turn more than `had` does not put the member too far ahead: λt - had >= 1/margin.
    fn release(&self, had: u64, weight: u64) -> u64 {
        let numerator = self.period * (self.margin * had + 1);
        numerator.div_ceil(self.margin * weight)
    }

    /// The last slot before whose end the member is not too far behind: λ(t-1) - had <= 1 - 1/margin.
    fn deadline(&self, had: u64, weight: u64) -> u64 {
        let numerator = self.period * (self.margin * (had + 1) - 1);
        numerator / (self.margin * weight) + 1
    }
}

#[cfg(test)]
mod tests {
    use crate::client::balance::shares::{MAX_PERIOD, turns};
    use proptest::{collection, prelude::*};

    /// Holds every prefix of a period against the exact shares, and the period against the weights.
    fn check(weights: &[u32]) {
        check_order(&turns(weights), weights);
    }

    fn check_order(turns: &[u32], weights: &[u32]) {
        let sum: i128 = weights.iter().copied().map(i128::from).sum();
        let margin = 2 * weights.iter().filter(|weight| **weight > 0).count() as i128 - 2;
        let mut had = vec![0_i128; weights.len()];
        for (slot, member) in (1..).zip(turns) {
            had[*member as usize] += 1;
            for (had, weight) in had.iter().zip(weights) {
                let off = (had * sum - i128::from(*weight) * slot).abs();
                assert!(
                    margin * off <= sum * (margin - 1).max(0),
                    "{weights:?}: {off}/{sum} at {slot}"
                );
            }
        }
        for (had, weight) in had.iter().zip(weights) {
            assert_eq!(had * sum, i128::from(*weight) * turns.len() as i128);
        }
    }

    #[test]
    fn no_member_is_ever_further_from_its_share_than_the_theorem_says() {
        for length in 1..=5_u32 {
            for number in 1..6_u32.pow(length) {
                let weights: Vec<_> = (0..length).map(|at| number / 6_u32.pow(at) % 6).collect();
                check(&weights);
            }
        }
    }

    #[test]
    fn the_order_of_some_weights_is_known() {
        let cases: [(&[u32], &[u32]); 8] = [
            (&[], &[]),
            (&[7], &[0]),
            (&[0], &[0]),
            (&[0, 0, 0], &[0, 1, 2]),
            (&[4, 4, 4, 4], &[0, 1, 2, 3]),
            (&[0, 2, 0, 2], &[1, 3]),
            (&[5, 0], &[0]),
            (&[3, 2, 1], &[0, 1, 0, 2, 0, 1]),
        ];
        for (weights, expected) in cases {
            assert_eq!(turns(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn a_thousand_members_have_their_turns() {
        check(&(0..1000).map(|at| at % 30 + 1).collect::<Vec<_>>());
        assert_eq!(turns(&[9; 1000]), (0..1000).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_weights_put_a_member_further_from_its_share(weights in collection::vec(0_u32..400, 1..40)) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            check(&weights);
        }

        #[test]
        fn weights_that_are_rounded_stay_within_a_unit(weights in collection::vec(prop_oneof![0_u32..3, any::<u32>()], 2..40)) {
            let turns = turns(&weights);
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            prop_assume!(sum > 0);
            prop_assert!(turns.len() as u64 <= MAX_PERIOD + weights.len() as u64);
            let mut had = vec![0_u32; weights.len()];
            turns.iter().for_each(|member| had[*member as usize] += 1);
            for (had, weight) in had.iter().zip(&weights) {
                prop_assert_eq!(*had > 0, *weight > 0);
                // Half a unit for itself, or one if it was lifted to it, and its part of that of all others.
                let off = (f64::from(*had) / turns.len() as f64 - f64::from(*weight) / sum as f64).abs();
                prop_assert!(off <= (1.0 + weights.len() as f64) / MAX_PERIOD as f64, "{} of {:?}", off, weights);
            }
            // What was rounded is kept as exactly as what was not.
            check_order(&turns, &had);
        }
    }
}
