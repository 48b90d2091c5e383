//! Endpoints that fail, by tables and by a model.

use crate::client::ejection::{Breaker, Ejection, counts};
use proptest::{collection, prelude::*};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

const PLAIN: Ejection = Ejection {
    failures: 3,
    initial: Duration::from_secs(1),
    multiplier: 2.0,
    max: Duration::from_secs(60),
    jitter: 0.0,
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A breaker, and what happens to it.
struct Endpoint {
    breaker: Breaker,
    now: Instant,
}

impl Endpoint {
    fn new() -> Self {
        Self {
            breaker: Breaker::new(),
            now: Instant::now(),
        }
    }

    /// The penalties that these failures bring, in seconds.
    fn fails(&mut self, times: u32, may_eject: bool) -> Vec<u64> {
        (0..times)
            .filter_map(|_| self.fail(may_eject, false))
            .collect()
    }

    fn fail(&mut self, may_eject: bool, probe: bool) -> Option<u64> {
        let until = self
            .breaker
            .failed(&PLAIN, self.now, 0.5, may_eject, probe)?;
        assert_eq!(self.breaker.until(), Some(until));
        let penalty = until - self.now;
        assert_eq!(penalty.subsec_nanos(), 0);
        Some(penalty.as_secs())
    }

    fn succeeds(&mut self, times: u32) {
        (0..times).for_each(|_| self.breaker.succeeded(false));
    }

    /// Waits for the end of the penalty and takes the probe.
    fn probe(&mut self) {
        self.now = self.breaker.until().expect("it is ejected");
        assert!(self.breaker.take_probe(self.now));
    }
}

#[test]
fn failures_in_a_row_eject_and_a_success_ends_the_row() {
    let mut endpoint = Endpoint::new();
    assert_eq!(endpoint.fails(2, true).len(), 0);
    endpoint.succeeds(1);
    assert_eq!(endpoint.fails(2, true).len(), 0);
    assert!(!endpoint.breaker.is_ejected());
    assert_eq!(endpoint.breaker.until(), None);
    assert_eq!(endpoint.fails(1, true), [1]);
    assert!(endpoint.breaker.is_ejected());
}

#[test]
fn results_from_before_the_ejection_change_nothing() {
    let mut endpoint = Endpoint::new();
    endpoint.fails(3, true);
    let until = endpoint.breaker.until();
    assert_eq!(endpoint.fails(9, true).len(), 0);
    endpoint.succeeds(9);
    assert_eq!(endpoint.breaker.until(), until);
    endpoint.probe();
    assert_eq!(endpoint.fails(9, false).len(), 0);
    endpoint.succeeds(9);
    assert_eq!(endpoint.breaker.until(), until);
    assert_eq!(endpoint.fail(true, true), Some(2));
    // A probe that was overtaken: nobody has this one's.
    endpoint.breaker.succeeded(true);
    assert_eq!(endpoint.fail(true, true), None);
    assert!(endpoint.breaker.is_ejected());
}

#[test]
fn exactly_one_call_probes_when_the_penalty_is_over() {
    let mut endpoint = Endpoint::new();
    assert!(!endpoint.breaker.take_probe(endpoint.now));
    endpoint.fails(3, true);
    let until = endpoint.breaker.until().unwrap();
    assert!(!endpoint.breaker.take_probe(until - Duration::from_nanos(1)));
    assert!(endpoint.breaker.take_probe(until));
    assert!(!endpoint.breaker.take_probe(until + secs(99)));
    endpoint.breaker.give_back_probe();
    assert!(endpoint.breaker.take_probe(until));
    endpoint.breaker.succeeded(true);
    assert!(!endpoint.breaker.is_ejected());
    endpoint.breaker.give_back_probe();
    assert!(!endpoint.breaker.take_probe(until + secs(99)));
}

#[test]
fn penalties_grow_while_probes_fail_up_to_the_longest() {
    let mut endpoint = Endpoint::new();
    let mut penalties = endpoint.fails(3, true);
    for _ in 0..8 {
        endpoint.probe();
        penalties.extend(endpoint.fail(true, true));
    }
    assert_eq!(penalties, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn penalties_begin_again_only_after_as_many_successes_as_failures_eject() {
    // The probe's success is the first of them.
    for (successes, expected) in [(0, 2), (1, 2), (2, 1), (50, 1)] {
        let mut endpoint = Endpoint::new();
        endpoint.fails(3, true);
        endpoint.probe();
        endpoint.breaker.succeeded(true);
        endpoint.succeeds(successes);
        assert_eq!(endpoint.fails(3, true), [expected], "{successes}");
    }
    // Not in a row.
    let mut endpoint = Endpoint::new();
    endpoint.fails(3, true);
    endpoint.probe();
    endpoint.breaker.succeeded(true);
    for _ in 0..20 {
        endpoint.succeeds(1);
        assert_eq!(endpoint.fails(1, true).len(), 0);
    }
    assert_eq!(endpoint.fails(2, true), [2]);
}

#[test]
fn the_last_endpoint_is_counted_and_not_ejected() {
    let mut endpoint = Endpoint::new();
    assert_eq!(endpoint.fails(9, false).len(), 0);
    assert!(!endpoint.breaker.is_ejected());
    // Now there is another one.
    assert_eq!(endpoint.fails(1, true), [1]);
    // And now there is none again: who is never ejected needs no probe.
    endpoint.probe();
    assert_eq!(endpoint.fail(false, true), None);
    assert!(!endpoint.breaker.is_ejected());
    assert_eq!(endpoint.fails(1, true), [2]);
}

#[test]
fn a_reinstatement_ends_the_ejection_and_not_the_growth() {
    let mut endpoint = Endpoint::new();
    endpoint.fails(3, true);
    endpoint.breaker.reinstate();
    assert!(!endpoint.breaker.is_ejected());
    assert_eq!(endpoint.fails(3, true), [2]);
}

#[test]
fn no_failures_to_eject_is_no_ejection() {
    let never = Ejection {
        failures: 0,
        ..PLAIN
    };
    let mut breaker = Breaker::new();
    for _ in 0..100 {
        assert_eq!(
            breaker.failed(&never, Instant::now(), 0.5, true, false),
            None
        );
    }
}

#[test]
fn an_answer_is_no_failure_whatever_it_says() {
    let failures = [
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
    ];
    for code in (0..=16).map(Code::from_i32) {
        assert_eq!(counts(code), failures.contains(&code), "{code:?}");
    }
}

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let penalties = [1, 2, 6, 7, u32::MAX].map(|n| Ejection::default().penalty(n, 0.5));
    assert_eq!(penalties, [1, 2, 32, 60, 60].map(secs));
    let jitter = [0.0, 1.0].map(|dice| Ejection::default().penalty(1, dice));
    assert_eq!(jitter, [800, 1200].map(Duration::from_millis));
    assert_eq!(Ejection::default().failures, 5);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Failed { may_eject: bool, probe: bool },
    Succeeded { probe: bool },
    TakeProbe,
    GiveBack,
    Reinstate,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(may_eject, probe)| Step::Failed { may_eject, probe }),
        3 => any::<bool>().prop_map(|probe| Step::Succeeded { probe }),
        3 => Just(Step::TakeProbe),
        1 => Just(Step::GiveBack),
        1 => Just(Step::Reinstate),
        2 => (0_u64..5000).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_there_is_one_probe_and_every_ejection_has_its_reason(
        steps in collection::vec(step(), 1..200),
        failures in 1_u32..4,
        dice in 0.0..1.0,
    ) {
        let policy = Ejection { failures, ..PLAIN };
        let mut breaker = Breaker::new();
        let mut now = Instant::now();
        let (mut is_probed, mut row, mut healthy, mut last) = (false, 0, 0, Duration::ZERO);
        for step in steps {
            let before = breaker.until();
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::TakeProbe => {
                    let is_due = before.is_some_and(|until| until <= now);
                    prop_assert_eq!(breaker.take_probe(now), is_due && !is_probed);
                    is_probed |= is_due;
                }
                Step::GiveBack => {
                    breaker.give_back_probe();
                    is_probed = false;
                }
                Step::Reinstate => {
                    breaker.reinstate();
                    prop_assert!(!breaker.is_ejected());
                    (is_probed, row, healthy) = (false, 0, 0);
                }
                Step::Succeeded { probe } => {
                    breaker.succeeded(probe);
                    if before.is_none() || (probe && is_probed) {
                        prop_assert!(!breaker.is_ejected());
                        (is_probed, row) = (false, 0);
                        healthy = if before.is_some() { 1 } else { healthy + 1 };
                    } else {
                        prop_assert_eq!(breaker.until(), before);
                    }
                }
                Step::Failed { may_eject, probe } => {
                    let until = breaker.failed(&policy, now, dice, may_eject, probe);
                    if before.is_some() && !(probe && is_probed) {
                        prop_assert_eq!((until, breaker.until()), (None, before));
                        continue;
                    }
                    (is_probed, row) = (false, row + 1);
                    if healthy >= failures {
                        last = Duration::ZERO;
                    }
                    healthy = 0;
                    let expected = may_eject && (before.is_some() || row >= failures);
                    prop_assert_eq!(until.is_some(), expected);
                    prop_assert_eq!(breaker.until(), until);
                    if let Some(until) = until {
                        let penalty = until - now;
                        let grown = if last.is_zero() { policy.initial } else { last * 2 };
                        prop_assert_eq!(penalty, grown.min(policy.max));
                        last = penalty;
                    }
                }
            }
        }
    }
}
