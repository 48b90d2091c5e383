//! The attempts of one call, and what follows a failed one.

use crate::client::backoff::Backoff;
use crate::client::retry::{Class, Pushback, RetryPolicy, Tokens};
use std::{fmt, time::Duration};
use tonic::Code;

/// How one call has gone so far.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    attempts: u32,
    backoff: Backoff,
    /// The codes that are repeated, a bit each.
    codes: u32,
    /// How often the call was repeated by the policy.
    repeated: u32,
    /// How often of these since the server told a delay.
    since_pushback: u32,
    /// How often it was repeated because the server had not processed it.
    transparent: u32,
    /// How often of these with a wait.
    paced: u32,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    /// Its code; `UNAVAILABLE` for an attempt that was given up by [`RetryPolicy::attempt_timeout`].
    pub(crate) code: Code,
    pub(crate) pushback: Option<Pushback>,
    pub(crate) idempotent: bool,
    /// Whether the request can be sent from its beginning.
    pub(crate) repeatable: bool,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GiveUp(Why),
    /// Another attempt.
    Again {
        after: Duration,
        /// It is not counted.
        transparent: bool,
    },
}

/// Why there is no other attempt. Its text goes after "not repeated: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    NotIdempotent,
    Code,
    Committed,
    Exhausted,
    Throttled,
    PushedBack,
    TooLate,
    Unrepeatable,
}

impl Course {
    pub(crate) fn new(policy: &RetryPolicy) -> Self {
        let codes = policy.codes.iter();
        Self {
            attempts: policy.attempts,
            backoff: policy.backoff,
            codes: codes.fold(0, |codes, code| codes | bit(*code)),
            repeated: 0,
            since_pushback: 0,
            transparent: 0,
            paced: 0,
        }
    }

    /// What follows a failed attempt, when the deadline is `left` away. `others`: there is an endpoint that this call has not
    /// tried yet. `dice`: a random number from 0 to 1.
    ///
    /// It takes the token that the attempt costs. The token of a call that succeeds is given back by whoever sees it succeed.
    pub(crate) fn next(
        &mut self,
        failure: &Failure,
        tokens: Option<&Tokens>,
        left: Option<Duration>,
        others: bool,
        dice: f64,
    ) -> Verdict {
        let verdict = match failure.class {
            Class::Unsent | Class::Refused => self.transparent(failure, others, dice),
            Class::Failed | Class::Committed => self.by_policy(failure, tokens, dice),
        };
        match verdict {
            Verdict::Again { after, .. } if left.is_some_and(|left| after >= left) => {
                Verdict::GiveUp(Why::TooLate)
            }
            Verdict::Again { after, transparent } => {
                self.go_on(failure, after, transparent);
                verdict
            }
            Verdict::GiveUp(_) => verdict,
        }
    }

    /// How often the call was made before, for `grpc-previous-rpc-attempts`; attempts that were not processed do not count.
    pub(crate) fn previous_attempts(&self) -> u32 {
        self.repeated
    }

    /// The server did nothing, so this is safe for every call. It is immediate at first, and as long as there is somebody else
    /// to ask; a server that refuses everything is not asked in a loop.
    fn transparent(&self, failure: &Failure, others: bool, dice: f64) -> Verdict {
        if !failure.repeatable {
            return Verdict::GiveUp(Why::Unrepeatable);
        }
        let after = if others || self.transparent == 0 {
            Duration::ZERO
        } else {
            self.backoff.delay(self.paced.saturating_add(1), dice)
        };
        Verdict::Again {
            after,
            transparent: true,
        }
    }

    /// The order is that of the specification: who asks not to be asked again costs a token whatever the code, and a code that is
    /// not repeated costs none.
    fn by_policy(&self, failure: &Failure, tokens: Option<&Tokens>, dice: f64) -> Verdict {
        let never = failure.pushback == Some(Pushback::Never);
        let repeated = self.codes & bit(failure.code) != 0;
        if failure.idempotent
            && (never || repeated)
            && let Some(tokens) = tokens
        {
            tokens.failed();
        }
        let why = if failure.class == Class::Committed {
            Why::Committed
        } else if !failure.idempotent {
            Why::NotIdempotent
        } else if never {
            Why::PushedBack
        } else if !repeated {
            Why::Code
        } else if self.repeated.saturating_add(1) >= self.attempts {
            Why::Exhausted
        } else if tokens.is_some_and(|tokens| !tokens.allows()) {
            Why::Throttled
        } else if !failure.repeatable {
            Why::Unrepeatable
        } else {
            let after = match failure.pushback {
                Some(Pushback::After(delay)) => delay,
                _ => self
                    .backoff
                    .delay(self.since_pushback.saturating_add(1), dice),
            };
            return Verdict::Again {
                after,
                transparent: false,
            };
        };
        Verdict::GiveUp(why)
    }

    fn go_on(&mut self, failure: &Failure, after: Duration, transparent: bool) {
        if transparent {
            self.transparent = self.transparent.saturating_add(1);
            if !after.is_zero() {
                self.paced = self.paced.saturating_add(1);
            }
            return;
        }
        self.repeated = self.repeated.saturating_add(1);
        self.since_pushback = match failure.pushback {
            Some(_) => 0,
            None => self.since_pushback.saturating_add(1),
        };
    }
}

fn bit(code: Code) -> u32 {
    1 << (code as u32)
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotIdempotent => "the call is not declared idempotent",
            Self::Code => "its code is none that the policy repeats",
            Self::Committed => "the response had begun",
            Self::Exhausted => "its attempts are used up",
            Self::Throttled => "too many calls have failed lately",
            Self::PushedBack => "the server asked not to repeat it",
            Self::TooLate => "the deadline comes before the next attempt",
            Self::Unrepeatable => "the request is not kept from its beginning",
        })
    }
}

#[cfg(test)]
mod tests;
