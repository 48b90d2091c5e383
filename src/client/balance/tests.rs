//! Picks by every strategy.

use crate::client::balance::{Balance, Candidate, Candidates, Load, Strategy};
use proptest::{collection, prelude::*};
use std::{
    iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

const ALL: [Strategy; 5] = [
    Strategy::First,
    Strategy::LeastRequest,
    Strategy::Random,
    Strategy::RoundRobin,
    Strategy::Weighted,
];
const SEED: u64 = 7;

#[derive(Debug)]
struct Fake {
    key: u64,
    weight: u32,
    load: Load,
}

impl Candidate for Fake {
    fn weight(&self) -> u32 {
        self.weight
    }

    fn load(&self, now: Instant) -> f64 {
        self.load.value(now)
    }

    fn key(&self) -> u64 {
        self.key
    }
}

fn members(weights: &[u32]) -> Vec<Arc<Fake>> {
    let now = Instant::now();
    let member = |(key, weight): (u64, &u32)| {
        Arc::new(Fake {
            key,
            weight: *weight,
            load: Load::new(now),
        })
    };
    (0..).zip(weights).map(member).collect()
}

/// The key of the one that is picked while these are excluded.
fn pick(balance: &Balance, among: &Candidates<Fake>, excluded: &[u64]) -> Option<u64> {
    let picked = balance.pick(among, Instant::now(), |m| excluded.contains(&m.key()));
    picked.map(|member| member.key())
}

fn picks(balance: &Balance, among: &Candidates<Fake>, excluded: &[u64], times: usize) -> Vec<u64> {
    iter::repeat_with(|| pick(balance, among, excluded).expect("there are candidates"))
        .take(times)
        .collect()
}

fn counts(picks: &[u64], of: usize) -> Vec<usize> {
    let count = |key| picks.iter().filter(|picked| **picked == key).count();
    (0..of as u64).map(count).collect()
}

/// What a pick by that strategy takes from one member after the other, by a new balance.
fn run(strategy: Strategy, weights: &[u32], excluded: &[u64], times: usize) -> Vec<u64> {
    let balance = Balance::new(strategy, SEED);
    picks(
        &balance,
        &balance.arrange(members(weights)),
        excluded,
        times,
    )
}

#[test]
fn nobody_is_picked_only_from_nobody() {
    for strategy in ALL {
        let balance = Balance::new(strategy, SEED);
        assert_eq!(balance.strategy(), strategy);
        let nobody = balance.arrange(Vec::new());
        assert_eq!(nobody.iter().count(), 0);
        assert_eq!(pick(&balance, &nobody, &[]), None, "{strategy}");
        for excluded in [&[][..], &[0]] {
            assert_eq!(run(strategy, &[1], excluded, 3), [0; 3], "{strategy}");
        }
    }
}

#[test]
fn who_is_excluded_is_picked_only_when_there_is_no_other() {
    for strategy in ALL {
        for length in 1..=4_usize {
            for set in 0..1_u64 << length {
                let excluded: Vec<_> = (0..4).filter(|key| set >> key & 1 == 1).collect();
                let weights: Vec<_> = (1..).take(length).collect();
                let picked = run(strategy, &weights, &excluded, 50);
                let all_are = excluded.len() == length;
                for key in picked {
                    assert_eq!(
                        excluded.contains(&key),
                        all_are,
                        "{strategy}: {key} of {length} without {excluded:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn first_goes_back_to_the_first() {
    let balance = Balance::new(Strategy::First, SEED);
    let three = members(&[1, 9, 9]);
    let all = balance.arrange(three.clone());
    let without_first = balance.arrange(three[1..].to_vec());
    assert_eq!(picks(&balance, &all, &[], 3), [0, 0, 0]);
    assert_eq!(picks(&balance, &without_first, &[], 3), [1, 1, 1]);
    assert_eq!(picks(&balance, &all, &[], 3), [0, 0, 0]);
    assert_eq!(picks(&balance, &all, &[0, 1], 3), [2, 2, 2]);
}

#[test]
fn equal_weights_and_round_robin_are_a_plain_rotation() {
    let rotation: Vec<_> = (0..3).cycle().take(30).collect();
    assert_eq!(run(Strategy::RoundRobin, &[1, 0, 9], &[], 30), rotation);
    assert_eq!(run(Strategy::Weighted, &[5, 5, 5], &[], 30), rotation);
    assert_eq!(run(Strategy::Weighted, &[0, 0, 0], &[], 30), rotation);
}

#[test]
fn over_6000_picks_no_endpoint_is_more_than_one_pick_away_from_its_share() {
    let cases: [&[u32]; 7] = [
        &[3, 2, 1],
        &[5, 1, 1],
        &[1, 1, 1],
        &[100, 1],
        &[7, 3, 3, 1, 1, 1],
        &[2, 0, 3],
        &[13, 11, 7, 5, 3, 2],
    ];
    for weights in cases {
        let sum = u64::from(weights.iter().sum::<u32>());
        let mut had = vec![0_u64; weights.len()];
        for (picks, key) in (1..).zip(run(Strategy::Weighted, weights, &[], 6000)) {
            had[usize::try_from(key).unwrap()] += 1;
            for (had, weight) in had.iter().zip(weights) {
                let off = (had * sum).abs_diff(u64::from(*weight) * picks);
                assert!(off < sum, "{weights:?}: {had} of {picks} for {weight}");
            }
        }
    }
}

#[test]
fn weight_zero_takes_calls_only_when_nobody_has_a_weight() {
    assert_eq!(
        counts(&run(Strategy::Weighted, &[0, 1, 0], &[], 9), 3),
        [0, 9, 0]
    );
    // Not even when it is tried again: there is one with a weight, and nothing is to go elsewhere.
    assert_eq!(
        counts(&run(Strategy::Weighted, &[0, 1, 0], &[1], 9), 3),
        [0, 9, 0]
    );
    assert_eq!(
        counts(&run(Strategy::Weighted, &[0, 0, 0], &[1], 300), 3)[1],
        0
    );
}

#[test]
fn the_turns_of_who_is_excluded_are_spread_over_the_others() {
    let cases = [
        (Strategy::RoundRobin, [1.0, 1.0]),
        (Strategy::Random, [1.0, 1.0]),
        (Strategy::LeastRequest, [1.0, 1.0]),
        (Strategy::Weighted, [4.0, 2.0]),
    ];
    for (strategy, [one, other]) in cases {
        let had = counts(&run(strategy, &[4, 6, 2], &[1], 6000), 3);
        let share = had[0] as f64 / 6000.0;
        assert!(
            (share - one / (one + other)).abs() < 0.03,
            "{strategy}: {had:?}"
        );
        assert_eq!(had[1], 0, "{strategy}");
    }
}

#[test]
fn a_set_that_changes_does_not_restart_the_sequence() {
    for strategy in [Strategy::RoundRobin, Strategy::Weighted, Strategy::Random] {
        let balance = Balance::new(strategy, SEED);
        let three = members(&[1, 1, 1]);
        let flapping = iter::repeat_with(|| {
            let all = balance.arrange(three.clone());
            pick(&balance, &all, &[]).expect("there are candidates")
        });
        let flapping: Vec<_> = flapping.take(30).collect();
        assert_eq!(flapping, run(strategy, &[1, 1, 1], &[], 30), "{strategy}");
    }
}

#[test]
fn the_seed_repeats_what_is_random_and_another_seed_does_not() {
    for strategy in [Strategy::Random, Strategy::LeastRequest] {
        let by = |seed| {
            let balance = Balance::new(strategy, seed);
            picks(&balance, &balance.arrange(members(&[1; 5])), &[], 3000)
        };
        assert_eq!(by(SEED), by(SEED));
        for seed in [0, SEED + 1, u64::MAX] {
            let (one, other) = (by(SEED), by(seed));
            let same = iter::zip(&one, &other).filter(|(a, b)| a == b).count();
            assert!(
                (450..750).contains(&same),
                "{strategy}: {same} picks are the same"
            );
            let fair = counts(&other, 5);
            assert!(fair.iter().all(|had| (500..700).contains(had)), "{fair:?}");
        }
    }
}

#[test]
fn least_request_compares_two_that_are_never_the_same() {
    // The most loaded of all is never picked, because it always has another one beside it.
    for length in 2..6 {
        let balance = Balance::new(Strategy::LeastRequest, SEED);
        let members = members(&vec![1; length]);
        members[1].load.start();
        members[length - 1].load.start();
        members[length - 1].load.start();
        let picked = picks(&balance, &balance.arrange(members), &[], 500);
        let had = counts(&picked, length);
        assert_eq!(had[length - 1], 0, "{had:?}");
        assert!(had[0] > 0, "{had:?}");
        assert_eq!(had[1] > 0, length > 2, "{had:?}");
    }
}

#[test]
fn least_request_does_not_run_to_who_fails_fast() {
    let balance = Balance::new(Strategy::LeastRequest, SEED);
    let two = members(&[1, 1]);
    two[0].load.start();
    let all = balance.arrange(two);
    let now = Instant::now();
    let mut failed = 0;
    for _ in 0..1000 {
        let picked = balance.pick(&all, now, |_| false).expect("one of two");
        // The second one refuses at once, the first one has nothing to do.
        if picked.key() == 1 {
            picked.load.failed(now);
            failed += 1;
        }
    }
    // The first time it has less load, the second time as much; after that always more.
    assert_eq!(failed, 2);
}

#[test]
fn turns_taken_at_the_same_time_are_each_taken_once() {
    const THREADS: usize = 4;
    const PERIODS: usize = 250;
    for (strategy, weights) in [
        (Strategy::Weighted, [3, 2, 1]),
        (Strategy::RoundRobin, [1, 1, 1]),
    ] {
        let balance = Balance::new(strategy, SEED);
        let all = balance.arrange(members(&weights));
        let had = [const { AtomicU64::new(0) }; 3];
        let sum: u32 = weights.iter().sum();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for key in picks(&balance, &all, &[], PERIODS * sum as usize) {
                        had[usize::try_from(key).unwrap()].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        for (had, weight) in iter::zip(had, weights) {
            let expected = u64::from(weight) * (THREADS * PERIODS) as u64;
            assert_eq!(had.into_inner(), expected, "{strategy}");
        }
    }
}

#[test]
fn candidates_are_listed_in_their_order() {
    let balance = Balance::new(Strategy::default(), SEED);
    let all = balance.arrange(members(&[2, 1]));
    let keys: Vec<_> = all.iter().map(|member| member.key()).collect();
    assert_eq!(keys, vec![0, 1]);
    assert!(
        format!("{all:?}").starts_with("[Fake { key: 0, weight: 2,"),
        "{all:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn somebody_is_always_picked(
        weights in collection::vec(0_u32..4, 1..8),
        excluded in collection::vec(0_u64..8, 0..8),
        strategy in prop::sample::select(&ALL[..]),
        seed in any::<u64>(),
    ) {
        let balance = Balance::new(strategy, seed);
        let all = balance.arrange(members(&weights));
        let may = |key: u64| {
            let weight = weights[usize::try_from(key).unwrap()];
            strategy != Strategy::Weighted || weight > 0 || weights.iter().all(|weight| *weight == 0)
        };
        let others = (0..weights.len() as u64).any(|key| may(key) && !excluded.contains(&key));
        for key in picks(&balance, &all, &excluded, 20) {
            prop_assert!(may(key));
            prop_assert_eq!(excluded.contains(&key), !others);
        }
    }
}
