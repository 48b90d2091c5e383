//! When an endpoint that keeps failing is left alone, and for how long.

use crate::client::backoff::Backoff;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// An endpoint that fails some calls in a row takes none for a while; then one call tries it again.
///
/// As [Linkerd's consecutive-failure accrual](https://linkerd.io/2/reference/circuit-breaking/): after `failures` failed calls
/// in a row the endpoint is ejected. When its penalty is over, exactly one call, a real one, goes to it: if that succeeds the
/// endpoint is back, if it fails the next penalty is longer. An endpoint that fails again before `failures` calls in a row have
/// succeeded goes on with the penalties where it was; else they begin at `initial` again. As in gRPC's
/// [A50](https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md) an ejected endpoint keeps its connection, so
/// that it is back at once. The last endpoint is never ejected.
///
/// A call counts as failed by `UNAVAILABLE`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNKNOWN` or `DATA_LOSS`. Any other code is an
/// answer, from a server that works.
///
/// ```
/// use rpcplugin_testkit::client::Ejection;
/// use std::time::Duration;
///
/// let ejection = Ejection { failures: 3, jitter: 0.0, ..Ejection::default() };
/// assert_eq!(ejection.penalty(1, 0.5), Duration::from_secs(1));
/// assert_eq!(ejection.penalty(2, 0.5), Duration::from_secs(2));
/// assert_eq!(ejection.penalty(99, 0.5), Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the numbers of the policy, written as a literal"
)]
pub struct Ejection {
    /// How many calls in a row must fail. 0 ejects never. Default: 5.
    pub failures: u32,
    /// The first penalty. Default: 1 s.
    pub initial: Duration,
    /// What each further ejection in a row multiplies it by. Default: 2.
    pub multiplier: f64,
    /// The longest penalty, before the jitter. Default: 60 s.
    pub max: Duration,
    /// The part of the penalty that is random, to both sides. Default: 0.2.
    pub jitter: f64,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 5,
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            max: Duration::from_secs(60),
            jitter: 0.2,
        }
    }
}

impl Ejection {
    /// How long the endpoint is left alone, for that many ejections in a row (from 1) and a random number `dice` from 0 to 1.
    #[must_use]
    pub fn penalty(&self, ejections_in_a_row: u32, dice: f64) -> Duration {
        let backoff = Backoff {
            initial: self.initial,
            multiplier: self.multiplier,
            jitter: self.jitter,
            max: self.max,
        };
        backoff.delay(ejections_in_a_row, dice)
    }
}

/// Whether a call that ended with this code counts as a failure of its endpoint.
pub(crate) fn counts(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::Unknown
            | Code::DataLoss
    )
}

/// What the calls of one endpoint have shown so far.
///
/// A call is a probe if it went to an ejected endpoint by [`take_probe`](Self::take_probe). While the endpoint is ejected, the
/// results of all others are of before the ejection, and change nothing.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// In a row, since the last success or reinstatement.
    failures: u32,
    /// In a row, since the last failure or reinstatement.
    successes: u32,
    /// In a row: with fewer successes in a row between them than failures make an ejection.
    ejections: u32,
    ejected: Option<Ejected>,
}

#[derive(Debug)]
struct Ejected {
    until: Instant,
    is_probed: bool,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A call succeeded, by what [`counts`] says. A probe's success reinstates the endpoint.
    pub(crate) fn succeeded(&mut self, probe: bool) {
        if self.is_straggler(probe) {
            return;
        }
        if self.ejected.is_some() {
            self.reinstate();
        }
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
    }

    /// A call failed. `Some` when the endpoint is ejected by that (again, if it was a probe), with the end of the penalty.
    ///
    /// With `may_eject = false` (it is the last endpoint) it is counted and nothing else, so that the next failure that may
    /// ejects; a failed probe then reinstates, because what is never ejected needs no probe.
    pub(crate) fn failed(
        &mut self,
        policy: &Ejection,
        now: Instant,
        dice: f64,
        may_eject: bool,
        probe: bool,
    ) -> Option<Instant> {
        if self.is_straggler(probe) {
            return None;
        }
        // A probe that fails is one more of the failures that ejected.
        let is_probe = self.ejected.take().is_some();
        if policy.failures > 0 && self.successes >= policy.failures {
            self.ejections = 0;
        }
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        let is_enough = policy.failures > 0 && (is_probe || self.failures >= policy.failures);
        if !may_eject || !is_enough {
            return None;
        }
        self.ejections = self.ejections.saturating_add(1);
        let until = now + policy.penalty(self.ejections, dice);
        self.ejected = Some(Ejected {
            until,
            is_probed: false,
        });
        Some(until)
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.is_some()
    }

    /// When the penalty is over and a probe may go; it may have gone. `None` if it is not ejected.
    pub(crate) fn until(&self) -> Option<Instant> {
        Some(self.ejected.as_ref()?.until)
    }

    /// Whether the call that asks is the probe: the first one that asks when the penalty is over.
    ///
    /// Who gets it must tell how it ended, or [give it back](Self::give_back_probe).
    pub(crate) fn take_probe(&mut self, now: Instant) -> bool {
        let due = |ejected: &&mut Ejected| ejected.until <= now && !ejected.is_probed;
        let due = self.ejected.as_mut().filter(due);
        due.map(|ejected| ejected.is_probed = true).is_some()
    }

    /// The probe was cancelled and has shown nothing: the next call may probe at once.
    pub(crate) fn give_back_probe(&mut self) {
        if let Some(ejected) = &mut self.ejected {
            ejected.is_probed = false;
        }
    }

    /// It takes calls again, for another reason than a probe. The penalties go on where they were if it fails again.
    pub(crate) fn reinstate(&mut self) {
        self.ejected = None;
        self.failures = 0;
        self.successes = 0;
    }

    /// Whether a result is of a call that began before the ejection. So is that of a probe which a later ejection overtook.
    fn is_straggler(&self, probe: bool) -> bool {
        let ejected = self.ejected.as_ref();
        ejected.is_some_and(|ejected| !(probe && ejected.is_probed))
    }
}

#[cfg(test)]
mod tests;
