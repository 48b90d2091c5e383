//! The courses of calls, played through.

use crate::client::backoff::Backoff;
use crate::client::retry::{
    Class, Course, Failure, Pushback, RetryPolicy, Throttle, Tokens, Verdict, Why,
};
use std::time::Duration;
use tonic::Code;

const CLASSES: [Class; 4] = [
    Class::Unsent,
    Class::Refused,
    Class::Failed,
    Class::Committed,
];
/// No jitter.
const MIDDLE: f64 = 0.5;
const FAILED: Failure = Failure {
    class: Class::Failed,
    code: Code::Unavailable,
    pushback: None,
    idempotent: true,
    repeatable: true,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn again(millis: u64) -> Verdict {
    Verdict::Again {
        after: ms(millis),
        transparent: false,
    }
}

fn anew(millis: u64) -> Verdict {
    Verdict::Again {
        after: ms(millis),
        transparent: true,
    }
}

/// What follows this failure, without tokens, deadline or other endpoints.
fn next(course: &mut Course, failure: &Failure) -> Verdict {
    course.next(failure, None, None, false, MIDDLE)
}

/// Two tokens: one failure takes them to their half.
fn two() -> Tokens {
    Tokens::new(&Throttle {
        tokens: 2,
        ratio: 0.1,
    })
}

#[test]
fn a_failure_is_repeated_as_often_and_as_late_as_the_policy_says() {
    let mut course = Course::new(&RetryPolicy::default().attempts(7));
    for (before, millis) in [100, 200, 400, 800, 1000, 1000].into_iter().enumerate() {
        assert_eq!(course.previous_attempts() as usize, before);
        assert_eq!(next(&mut course, &FAILED), again(millis));
    }
    assert_eq!(next(&mut course, &FAILED), Verdict::GiveUp(Why::Exhausted));
    assert_eq!(course.previous_attempts(), 6);
}

#[test]
fn the_dice_move_the_wait_by_a_fifth_to_both_sides() {
    for (dice, millis) in [(0.0, 80), (0.25, 90), (1.0, 120)] {
        let mut course = Course::new(&RetryPolicy::default());
        let verdict = course.next(&FAILED, None, None, false, dice);
        assert_eq!(verdict, again(millis), "{dice}");
    }
}

#[test]
fn only_idempotent_calls_before_headers_with_a_code_of_the_policy_are_repeated() {
    let codes = [Code::Unavailable, Code::Aborted];
    let policy = RetryPolicy::default().codes(codes);
    for class in CLASSES {
        for code in (1..=16).map(Code::from_i32) {
            for idempotent in [false, true] {
                let failure = Failure {
                    class,
                    code,
                    idempotent,
                    ..FAILED
                };
                let expected = match (class, idempotent) {
                    (Class::Unsent | Class::Refused, _) => anew(0),
                    (Class::Committed, _) => Verdict::GiveUp(Why::Committed),
                    (Class::Failed, false) => Verdict::GiveUp(Why::NotIdempotent),
                    (Class::Failed, true) if codes.contains(&code) => again(100),
                    (Class::Failed, true) => Verdict::GiveUp(Why::Code),
                };
                let verdict = next(&mut Course::new(&policy), &failure);
                assert_eq!(verdict, expected, "{failure:?}");
            }
        }
    }
}

#[test]
fn a_token_is_taken_by_what_the_policy_repeats_and_by_who_asks_not_to() {
    let pushbacks = [None, Some(Pushback::After(ms(1))), Some(Pushback::Never)];
    for class in CLASSES {
        for code in [Code::Unavailable, Code::InvalidArgument] {
            for pushback in pushbacks {
                for (idempotent, attempts) in [(false, 4), (true, 4), (true, 1)] {
                    let failure = Failure {
                        class,
                        code,
                        pushback,
                        idempotent,
                        ..FAILED
                    };
                    let tokens = two();
                    let policy = RetryPolicy::default().attempts(attempts);
                    let mut course = Course::new(&policy);
                    course.next(&failure, Some(&tokens), None, true, MIDDLE);
                    let processed = matches!(class, Class::Failed | Class::Committed);
                    let costs = code == Code::Unavailable || pushback == Some(Pushback::Never);
                    let taken = idempotent && processed && costs;
                    assert_eq!(tokens.allows(), !taken, "{failure:?} of {attempts}");
                }
            }
        }
    }
}

#[test]
fn a_call_is_not_repeated_while_half_of_the_tokens_are_gone() {
    let mut course = Course::new(&RetryPolicy::default());
    let tokens = two();
    let verdict = course.next(&FAILED, Some(&tokens), None, false, MIDDLE);
    assert_eq!(verdict, Verdict::GiveUp(Why::Throttled));
    let refused = Failure {
        class: Class::Refused,
        ..FAILED
    };
    let verdict = course.next(&refused, Some(&tokens), None, false, MIDDLE);
    assert_eq!(verdict, anew(0), "what was not processed needs no token");
}

#[test]
fn the_server_says_when_and_the_backoff_begins_again_after_it() {
    let mut course = Course::new(&RetryPolicy::default().attempts(9));
    let told = Failure {
        pushback: Some(Pushback::After(ms(1234))),
        ..FAILED
    };
    let never = Failure {
        pushback: Some(Pushback::Never),
        ..FAILED
    };
    assert_eq!(next(&mut course, &FAILED), again(100));
    assert_eq!(next(&mut course, &FAILED), again(200));
    let verdict = course.next(&told, None, None, false, 1.0);
    assert_eq!(verdict, again(1234), "without jitter or limit");
    assert_eq!(next(&mut course, &FAILED), again(100));
    assert_eq!(next(&mut course, &FAILED), again(200));
    assert_eq!(next(&mut course, &never), Verdict::GiveUp(Why::PushedBack));
}

#[test]
fn a_server_cannot_ask_for_more_attempts_or_for_another_code() {
    let told = Failure {
        pushback: Some(Pushback::After(ms(1))),
        ..FAILED
    };
    let mut course = Course::new(&RetryPolicy::default().attempts(1));
    assert_eq!(next(&mut course, &told), Verdict::GiveUp(Why::Exhausted));
    let mut course = Course::new(&RetryPolicy::default().codes([]));
    assert_eq!(next(&mut course, &told), Verdict::GiveUp(Why::Code));
}

#[test]
fn what_was_not_processed_goes_to_all_others_at_once_and_then_at_a_pace() {
    for class in [Class::Unsent, Class::Refused] {
        let failure = Failure {
            class,
            idempotent: false,
            ..FAILED
        };
        let mut course = Course::new(&RetryPolicy::none());
        for _ in 0..50 {
            let verdict = course.next(&failure, None, None, true, MIDDLE);
            assert_eq!(verdict, anew(0));
        }
        for millis in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(next(&mut course, &failure), anew(millis), "{class:?}");
        }
        let verdict = course.next(&failure, None, None, true, MIDDLE);
        assert_eq!(verdict, anew(0), "one has been added");
        assert_eq!(course.previous_attempts(), 0);
    }
}

#[test]
fn a_lonely_server_that_refuses_is_asked_again_at_once_but_only_once() {
    let refused = Failure {
        class: Class::Refused,
        ..FAILED
    };
    let mut course = Course::new(&RetryPolicy::default());
    let waits = [0, 100, 200].map(anew);
    assert_eq!(waits.map(|_| next(&mut course, &refused)), waits);
    assert_eq!(next(&mut course, &FAILED), again(100), "counted apart");
    assert_eq!(next(&mut course, &refused), anew(400));
    assert_eq!(next(&mut course, &FAILED), again(200));
    assert_eq!(course.previous_attempts(), 2);
}

#[test]
fn no_attempt_is_waited_for_that_the_deadline_would_not_let_begin() {
    for class in [Class::Refused, Class::Failed] {
        for (left, late) in [(99, true), (100, true), (101, false)] {
            let mut course = Course::new(&RetryPolicy::default());
            course.transparent = 1;
            let failure = Failure { class, ..FAILED };
            let verdict = course.next(&failure, None, Some(ms(left)), false, MIDDLE);
            let expected = Verdict::GiveUp(Why::TooLate);
            assert_eq!(
                verdict == expected,
                late,
                "{class:?}, {left} ms: {verdict:?}"
            );
        }
    }
    let mut course = Course::new(&RetryPolicy::default());
    let verdict = course.next(&FAILED, None, Some(ms(1)), false, MIDDLE);
    assert_eq!(verdict, Verdict::GiveUp(Why::TooLate));
    assert_eq!(course.previous_attempts(), 0, "there was none");
}

#[test]
fn a_passed_deadline_is_the_end_even_of_what_needs_no_wait() {
    let unsent = Failure {
        class: Class::Unsent,
        ..FAILED
    };
    let mut course = Course::new(&RetryPolicy::default());
    let verdict = course.next(&unsent, None, Some(Duration::ZERO), true, MIDDLE);
    assert_eq!(verdict, Verdict::GiveUp(Why::TooLate));
}

#[test]
fn a_request_that_is_not_kept_is_not_repeated() {
    for class in [Class::Unsent, Class::Refused, Class::Failed] {
        let failure = Failure {
            class,
            repeatable: false,
            ..FAILED
        };
        let verdict = next(&mut Course::new(&RetryPolicy::default()), &failure);
        assert_eq!(verdict, Verdict::GiveUp(Why::Unrepeatable), "{class:?}");
    }
}

#[test]
fn a_backoff_of_nothing_waits_for_nothing() {
    let policy = RetryPolicy::default();
    let none = Backoff {
        initial: Duration::ZERO,
        ..policy.backoff
    };
    let mut course = Course::new(&policy.backoff(none));
    assert_eq!(next(&mut course, &FAILED), again(0));
}

#[test]
fn every_reason_has_its_phrase() {
    let phrases = [
        (Why::NotIdempotent, "the call is not declared idempotent"),
        (Why::Code, "its code is none that the policy repeats"),
        (Why::Committed, "the response had begun"),
        (Why::Exhausted, "its attempts are used up"),
        (Why::Throttled, "too many calls have failed lately"),
        (Why::PushedBack, "the server asked not to repeat it"),
        (Why::TooLate, "the deadline comes before the next attempt"),
        (
            Why::Unrepeatable,
            "the request is not kept from its beginning",
        ),
    ];
    for (why, phrase) in phrases {
        assert_eq!(why.to_string(), phrase);
    }
}
