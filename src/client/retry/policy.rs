//! What a client is told about repeating calls.

use crate::client::backoff::Backoff;
use crate::error::{Error, Kind};
use crate::wire::status;
use std::time::Duration;
use tonic::Code;

/// When a failed call is made again, and how often.
///
/// A request that the server provably did not process (it never left the client, its stream was refused, the connection said
/// GOAWAY before it) is repeated whatever the method, outside `attempts` and `throttle`, until the call's deadline. Anything
/// else may have been processed, so it is repeated only for calls that are declared idempotent, and as this policy says. No
/// call is repeated once its caller could see something of the response: for a stream and a generated client that is its head,
/// for a [`UnaryCall`](crate::client::UnaryCall) the whole of it. Its deadline spans all attempts.
///
/// This is [gRPC's retry design](https://github.com/grpc/proposal/blob/master/A6-client-retries.md), with the numbers of its
/// example as defaults.
///
/// ```
/// use rpcplugin_testkit::{Code, client::RetryPolicy};
/// use std::time::Duration;
///
/// let policy = RetryPolicy::default()
///     .attempts(5)
///     .codes([Code::Unavailable, Code::Aborted])
///     .attempt_timeout(Duration::from_secs(2));
/// assert_eq!(policy.attempts, 5);
/// assert_eq!(policy.backoff.initial, Duration::from_millis(100));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often a call is made in all, the first attempt included; at least 1. Default: 4.
    pub attempts: u32,
    /// The waits between attempts: the first is `initial`. Default: 100 ms, doubled up to 1 s, plus or minus 20 %.
    pub backoff: Backoff,
    /// The codes that are repeated. Default: `UNAVAILABLE` alone, as [AIP-194](https://google.aip.dev/194) advises.
    pub codes: Vec<Code>,
    /// When so many calls fail that repeating them makes it worse, none is. `None` repeats them nevertheless.
    /// Default: `Some(Throttle::default())`.
    pub throttle: Option<Throttle>,
    /// The bytes of a request that are kept for a repetition. A larger one can only be made again before it is sent.
    /// Default: 1 MiB.
    pub buffer: usize,
    /// How long one attempt may wait for its response to begin, or to be there as a whole where a
    /// [`UnaryCall`](crate::client::UnaryCall) is idempotent, so that a stalled server costs one attempt and not the call.
    /// Default: `None`, as long as the call.
    pub attempt_timeout: Option<Duration>,
    /// Whether an idempotent call is made several times at once. Default: `None`.
    pub hedge: Option<Hedge>,
}

/// gRPC's retry throttling: calls are repeated while more than half of the tokens are there.
///
/// The client has so many `tokens`. A failure with a code that is repeated takes one, a success gives `ratio` of one back.
///
/// The default is A6's maximum of 1000 tokens, and not the 10 of its example: 64 callers that lose one server at the same moment
/// are one failure and not 64, and each of them is to be served by the next server.
///
/// ```
/// use rpcplugin_testkit::client::{RetryPolicy, Throttle};
///
/// let policy = RetryPolicy::default().throttle(Throttle { tokens: 10, ratio: 0.1 });
/// assert_eq!(policy.throttle.map(|throttle| throttle.tokens), Some(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the two numbers of the specification, written as a literal"
)]
pub struct Throttle {
    /// How many there are at most, and at first; from 1 to 1000. Default: 1000.
    pub tokens: u32,
    /// The part of a token that a success gives back; three decimals count. Default: 0.1.
    pub ratio: f64,
}

/// gRPC's hedging: an idempotent call is sent again, to another server if there is one, whenever `delay` has passed without a
/// response; the first response is taken, and the others are cancelled.
///
/// A failure with a code of the [policy](RetryPolicy::codes) sends the next at once. If all of them fail, so does the call:
/// it is hedged instead of repeated.
///
/// ```
/// use rpcplugin_testkit::client::{Hedge, RetryPolicy};
/// use std::time::Duration;
///
/// let hedge = Hedge { delay: Duration::from_millis(50), attempts: 2 };
/// let policy = RetryPolicy::default().hedge(hedge);
/// assert_eq!(policy.hedge, Some(hedge));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the two numbers of the specification, written as a literal"
)]
pub struct Hedge {
    /// How long each attempt is waited for before the next is sent; zero sends all of them at once.
    pub delay: Duration,
    /// How many are sent in all, the first included; at least 2.
    pub attempts: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            tokens: 1000,
            ratio: 0.1,
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            backoff: Backoff {
                initial: Duration::from_millis(100),
                multiplier: 2.0,
                jitter: 0.2,
                max: Duration::from_secs(1),
            },
            codes: vec![Code::Unavailable],
            throttle: Some(Throttle::default()),
            buffer: 1 << 20,
            attempt_timeout: None,
            hedge: None,
        }
    }
}

impl RetryPolicy {
    /// What was sent is not sent again: one attempt, and nothing of a request is kept. A call that never left the client
    /// still goes to the next server.
    ///
    /// ```
    /// use rpcplugin_testkit::client::RetryPolicy;
    ///
    /// let policy = RetryPolicy::none();
    /// assert_eq!((policy.attempts, policy.buffer), (1, 0));
    /// ```
    #[must_use]
    pub fn none() -> Self {
        Self {
            attempts: 1,
            buffer: 0,
            throttle: None,
            ..Self::default()
        }
    }

    /// Sets [`attempts`](#structfield.attempts).
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets [`backoff`](#structfield.backoff).
    ///
    /// ```
    /// use rpcplugin_testkit::client::{Backoff, RetryPolicy};
    /// use std::time::Duration;
    ///
    /// let policy = RetryPolicy::default();
    /// let quick = Backoff { initial: Duration::from_millis(1), ..policy.backoff };
    /// assert_eq!(policy.backoff(quick).backoff.initial, Duration::from_millis(1));
    /// ```
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets [`codes`](#structfield.codes); these are all of them.
    #[must_use]
    pub fn codes(mut self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.codes = codes.into_iter().collect();
        self
    }

    /// Sets [`throttle`](#structfield.throttle); `None` for no throttling.
    #[must_use]
    pub fn throttle(mut self, throttle: impl Into<Option<Throttle>>) -> Self {
        self.throttle = throttle.into();
        self
    }

    /// Sets [`buffer`](#structfield.buffer), in bytes.
    #[must_use]
    pub fn buffer(mut self, bytes: usize) -> Self {
        self.buffer = bytes;
        self
    }

    /// Sets [`attempt_timeout`](#structfield.attempt_timeout); `None` for no limit but the call's deadline.
    #[must_use]
    pub fn attempt_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.attempt_timeout = limit.into();
        self
    }

    /// Sets [`hedge`](#structfield.hedge); `None` for one attempt at a time.
    #[must_use]
    pub fn hedge(mut self, hedge: impl Into<Option<Hedge>>) -> Self {
        self.hedge = hedge.into();
        self
    }

    /// Whether it can be carried out.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mistake = self
            .mistake()
            .or_else(|| self.throttle.and_then(Throttle::mistake))
            .or_else(|| self.hedge.and_then(Hedge::mistake));
        match mistake {
            Some(mistake) => Err(Error::new(Kind::Config, format!("RetryPolicy: {mistake}"))),
            None => Ok(()),
        }
    }

    fn mistake(&self) -> Option<String> {
        let Backoff {
            multiplier, jitter, ..
        } = self.backoff;
        if self.attempts == 0 {
            return Some("`attempts` is 0, and the first attempt counts".to_owned());
        }
        // NaN is no number from 1 on either.
        if !(multiplier >= 1.0 && multiplier.is_finite()) {
            return Some(format!(
                "`backoff.multiplier` is {multiplier}, and must be a number from 1 on"
            ));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Some(format!(
                "`backoff.jitter` is {jitter}, and must be a number from 0 to 1"
            ));
        }
        if self.attempt_timeout == Some(Duration::ZERO) {
            return Some("`attempt_timeout` is 0, and no attempt can end in that".to_owned());
        }
        let never = |code: &Code| match code {
            Code::Ok => Some("is no failure"),
            Code::Cancelled => Some("says that nobody wants the call any more"),
            _ => None,
        };
        self.codes.iter().find_map(|code| {
            let why = never(code)?;
            Some(format!("`codes` has {}, which {why}", status::name(*code)))
        })
    }
}

impl Throttle {
    fn mistake(self) -> Option<String> {
        let Self { tokens, ratio } = self;
        if !(1..=1000).contains(&tokens) {
            return Some(format!(
                "`throttle.tokens` is {tokens}, and must be from 1 to 1000"
            ));
        }
        (!(ratio >= 0.001 && ratio.is_finite()))
            .then(|| format!("`throttle.ratio` is {ratio}, and must be a number from 0.001 on"))
    }
}

impl Hedge {
    fn mistake(self) -> Option<String> {
        let attempts = self.attempts;
        (attempts < 2).then(|| {
            format!("`hedge.attempts` is {attempts}, and must be at least 2: the first counts")
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::client::backoff::Backoff;
    use crate::client::retry::{Hedge, RetryPolicy, Throttle};
    use std::time::Duration;
    use tonic::Code;

    #[test]
    fn the_default_and_none_can_be_carried_out() {
        RetryPolicy::default().check().unwrap();
        RetryPolicy::none().check().unwrap();
    }

    #[test]
    fn all_codes_but_ok_and_cancelled_may_be_repeated() {
        for code in (0..=16).map(Code::from_i32) {
            let checked = RetryPolicy::default()
                .codes([Code::Unavailable, code])
                .check();
            let mistake = matches!(code, Code::Ok | Code::Cancelled);
            assert_eq!(checked.is_err(), mistake, "{code:?}");
        }
    }

    /// The check of each policy says this.
    fn assert_mistakes(cases: impl IntoIterator<Item = (RetryPolicy, &'static str)>) {
        for (policy, text) in cases {
            let error = policy.check().expect_err(text);
            assert!(error.is_config(), "{error:?}");
            assert_eq!(error.to_string(), format!("RetryPolicy: {text}"));
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_field_and_value() {
        let policy = RetryPolicy::default;
        let delay = Duration::from_millis(1);
        assert_mistakes([
            (
                policy().attempts(0),
                "`attempts` is 0, and the first attempt counts",
            ),
            (
                policy().attempt_timeout(Duration::ZERO),
                "`attempt_timeout` is 0, and no attempt can end in that",
            ),
            (
                policy().codes([Code::Ok]),
                "`codes` has OK, which is no failure",
            ),
            (
                policy().codes([Code::Unavailable, Code::Cancelled]),
                "`codes` has CANCELLED, which says that nobody wants the call any more",
            ),
            (
                policy().hedge(Hedge { delay, attempts: 1 }),
                "`hedge.attempts` is 1, and must be at least 2: the first counts",
            ),
        ]);
    }

    #[test]
    fn a_backoff_is_of_numbers() {
        let policy = |multiplier, jitter| {
            let policy = RetryPolicy::default();
            let backoff = Backoff {
                multiplier,
                jitter,
                ..policy.backoff
            };
            policy.backoff(backoff)
        };
        assert_mistakes([
            (
                policy(f64::NAN, 0.2),
                "`backoff.multiplier` is NaN, and must be a number from 1 on",
            ),
            (
                policy(-2.0, 0.2),
                "`backoff.multiplier` is -2, and must be a number from 1 on",
            ),
            (
                policy(f64::INFINITY, 0.2),
                "`backoff.multiplier` is inf, and must be a number from 1 on",
            ),
            (
                policy(2.0, f64::NAN),
                "`backoff.jitter` is NaN, and must be a number from 0 to 1",
            ),
            (
                policy(2.0, -0.1),
                "`backoff.jitter` is -0.1, and must be a number from 0 to 1",
            ),
        ]);
    }

    #[test]
    fn tokens_are_as_many_as_the_specification_has() {
        let policy = |tokens, ratio| RetryPolicy::default().throttle(Throttle { tokens, ratio });
        assert_mistakes([
            (
                policy(0, 0.1),
                "`throttle.tokens` is 0, and must be from 1 to 1000",
            ),
            (
                policy(1001, 0.1),
                "`throttle.tokens` is 1001, and must be from 1 to 1000",
            ),
            (
                policy(10, f64::NAN),
                "`throttle.ratio` is NaN, and must be a number from 0.001 on",
            ),
            (
                policy(10, -1.0),
                "`throttle.ratio` is -1, and must be a number from 0.001 on",
            ),
        ]);
    }
}
