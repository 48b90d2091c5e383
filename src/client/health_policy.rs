//! How the health of an endpoint is watched, and what a series of polls makes of it (pure).

use std::{fmt, time::Duration};

/// How a client watches the health of an endpoint.
///
/// It asks the endpoint's own
/// [health service](https://github.com/grpc/grpc/blob/master/doc/health-checking.md), over the connection that calls go
/// over: by `Watch`, as in [gRFC A17](https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md),
/// and where the server does not serve `Watch`, by polling `Check`. A server that serves neither counts as serving.
///
/// ```
/// use rpcplugin_testkit::client::HealthPolicy;
/// use std::time::Duration;
///
/// // What servers made with go-plugin answer for.
/// let policy = HealthPolicy::new().service("plugin").interval(Duration::from_secs(5));
/// assert_eq!(policy.timeout, Duration::from_secs(3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthPolicy {
    /// The name that is asked for. Default: `""`, the server as a whole.
    pub service: String,
    /// The time from the start of one `Check` to the start of the next, at least 1 ms. A random tenth is added or taken
    /// away, so that clients which started together do not poll together. Default: 10 s.
    pub interval: Duration,
    /// How long a `Check` may take, and the first message of a `Watch`. Default: 3 s.
    pub timeout: Duration,
    /// How many polls in a row have to fail until an endpoint that was serving is not. A poll fails when no answer
    /// comes, or another than `SERVING`. The first poll decides alone, and so does whatever a `Watch` says. Default: 2.
    pub down_after: u32,
    /// How many polls in a row have to be answered with `SERVING` until an endpoint that was not serving is.
    /// Default: 1.
    pub up_after: u32,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            service: String::new(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            down_after: 2,
            up_after: 1,
        }
    }
}

impl HealthPolicy {
    /// The policy with all its defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`service`](Self#structfield.service).
    #[must_use]
    pub fn service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// Sets [`interval`](Self#structfield.interval).
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets [`timeout`](Self#structfield.timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`down_after`](Self#structfield.down_after).
    #[must_use]
    pub fn down_after(mut self, polls: u32) -> Self {
        self.down_after = polls;
        self
    }

    /// Sets [`up_after`](Self#structfield.up_after).
    #[must_use]
    pub fn up_after(mut self, polls: u32) -> Self {
        self.up_after = polls;
        self
    }

    /// The time from one poll to the next, for a random number `dice` from 0 to 1.
    pub(crate) fn wait(&self, dice: f64) -> Duration {
        let factor = 0.9 + 0.2 * dice.clamp(0.0, 1.0);
        let jittered = Duration::try_from_secs_f64(self.interval.as_secs_f64() * factor);
        // Without a least, a server that answers at once would be asked without a pause.
        jittered
            .unwrap_or(self.interval)
            .max(Duration::from_millis(1))
    }
}

/// What an endpoint's health service says of it.
///
/// ```
/// use rpcplugin_testkit::client::Health;
///
/// assert_eq!(Health::NotServing.to_string(), "not serving");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// It is not serving, or it could not be asked.
    NotServing,
    /// It is serving, or has no health service.
    Serving,
    /// It has not answered yet.
    #[default]
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotServing => "not serving",
            Self::Serving => "serving",
            Self::Unknown => "unknown",
        })
    }
}

/// The health of an endpoint, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) health: Health,
    /// The reason in words that go after the endpoint's address and a colon.
    pub(crate) why: String,
}

/// What is known before anything was asked.
impl Default for Verdict {
    fn default() -> Self {
        Self {
            health: Health::Unknown,
            why: "its health service has not answered yet".to_owned(),
        }
    }
}

impl Verdict {
    pub(crate) fn serving(why: impl Into<String>) -> Self {
        Self {
            health: Health::Serving,
            why: why.into(),
        }
    }

    pub(crate) fn not_serving(why: impl Into<String>) -> Self {
        Self {
            health: Health::NotServing,
            why: why.into(),
        }
    }
}

/// A series of polls: what it makes of the endpoint, and how much speaks for another verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Polls {
    decided: Health,
    last: Health,
    in_a_row: u32,
}

impl Polls {
    /// Counts one poll. It comes back if it is the verdict, `None` if there are too few of its kind yet.
    pub(crate) fn count(&mut self, poll: Verdict, policy: &HealthPolicy) -> Option<Verdict> {
        if poll.health != self.last {
            self.last = poll.health;
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let needed = match (self.decided, poll.health) {
            (Health::Unknown, _) => 1,
            (_, Health::Serving) => policy.up_after,
            _ => policy.down_after,
        };
        if poll.health != self.decided && self.in_a_row < needed {
            return None;
        }
        self.decided = poll.health;
        Some(poll)
    }
}

#[cfg(test)]
mod tests {
    use crate::client::health_policy::{Health, HealthPolicy, Polls, Verdict};
    use std::time::Duration;

    #[test]
    fn the_defaults_are_those_of_the_docs_and_each_method_sets_its_field() {
        let policy = HealthPolicy::new();
        let defaults = HealthPolicy {
            service: String::new(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            down_after: 2,
            up_after: 1,
        };
        assert_eq!(policy, defaults);
        let policy = policy
            .service("plugin")
            .interval(Duration::from_secs(7))
            .timeout(Duration::from_secs(8))
            .down_after(4)
            .up_after(5);
        let expected = HealthPolicy {
            service: "plugin".to_owned(),
            interval: Duration::from_secs(7),
            timeout: Duration::from_secs(8),
            down_after: 4,
            up_after: 5,
        };
        assert_eq!(policy, expected);
    }

    #[test]
    fn the_health_is_told_in_words() {
        let words = [Health::NotServing, Health::Serving, Health::Unknown].map(|h| h.to_string());
        assert_eq!(words, ["not serving", "serving", "unknown"]);
        assert_eq!(format!("{:>8}", Health::Serving), " serving");
        assert_eq!(Health::default(), Health::Unknown);
    }

    #[test]
    fn the_wait_is_the_interval_give_or_take_a_tenth_and_never_nothing() {
        let policy = HealthPolicy::new();
        let waits = [-1.0, 0.0, 0.5, 1.0, 2.0].map(|dice| policy.wait(dice).as_millis());
        assert_eq!(waits, [9_000, 9_000, 10_000, 11_000, 11_000]);
        for (interval, wait) in [
            (Duration::ZERO, Duration::from_millis(1)),
            (Duration::MAX, Duration::MAX),
        ] {
            assert_eq!(policy.clone().interval(interval).wait(1.0), wait);
        }
    }

    /// What a series of polls makes of an endpoint, by looking back over all of it.
    fn looked_back(series: &[bool], policy: &HealthPolicy) -> bool {
        let mut serving = series[0];
        for end in 1..=series.len() {
            let needed = if serving {
                policy.down_after
            } else {
                policy.up_after
            };
            let needed = usize::try_from(needed.max(1)).unwrap();
            if end >= needed
                && series[end - needed..end]
                    .iter()
                    .all(|poll| *poll != serving)
            {
                serving = !serving;
            }
        }
        serving
    }

    #[test]
    fn so_many_polls_in_a_row_turn_the_verdict_and_the_first_decides_alone() {
        for (down_after, up_after) in (0..4).flat_map(|down| (0..4).map(move |up| (down, up))) {
            let policy = HealthPolicy::new()
                .down_after(down_after)
                .up_after(up_after);
            for bits in 0..256_u32 {
                let series: Vec<bool> = (0..8).map(|bit| bits >> bit & 1 == 1).collect();
                let mut polls = Polls::default();
                let mut verdict = Verdict::default();
                for end in 1..=series.len() {
                    let why = format!("poll {end}");
                    let poll = match series[end - 1] {
                        true => Verdict::serving(why),
                        false => Verdict::not_serving(why),
                    };
                    if let Some(counted) = polls.count(poll.clone(), &policy) {
                        assert_eq!(counted, poll);
                        verdict = counted;
                    }
                    let expected = match looked_back(&series[..end], &policy) {
                        true => Health::Serving,
                        false => Health::NotServing,
                    };
                    assert_eq!(verdict.health, expected, "{policy:?} {:?}", &series[..end]);
                }
            }
        }
    }

    #[test]
    fn a_poll_that_confirms_the_verdict_is_the_newest_reason() {
        let policy = HealthPolicy::new();
        let mut polls = Polls::default();
        for why in ["one", "two"] {
            let poll = Verdict::not_serving(why);
            assert_eq!(polls.count(poll.clone(), &policy), Some(poll));
        }
    }
}
