//! What a client is told about watching the health of its endpoints, and what it knows of it.

use std::{fmt, time::Duration};

/// Watches the health of every endpoint, and lets no call go to one that is not serving.
///
/// It opens `Watch` of the
/// [health service](https://github.com/grpc/grpc/blob/master/doc/health-checking.md) on every connection, as gRPC's
/// [client-side health checking](https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md) does, and
/// the endpoint takes calls when that says `SERVING`. Where `Watch` is not implemented (pyvider's servers are so) it polls
/// `Check`. An endpoint without a health service, or one that lets nobody ask, takes calls.
///
/// What becomes of it is told by [`Client::events`](crate::Client::events) and [`Client::stats`](crate::Client::stats).
///
/// ```
/// use rpcplugin_testkit::client::{ClientEvent, HealthPolicy};
/// use rpcplugin_testkit::{Client, MockServer, ServingStatus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let server = MockServer::start().await;
/// server.set_health("plugin", ServingStatus::Serving);
/// let client = Client::builder()
///     .address(server.address())
///     .health(HealthPolicy::service("plugin"))
///     .connect()
///     .await?;
///
/// let mut events = client.events();
/// server.set_health("plugin", ServingStatus::NotServing);
/// events.wait_for(|event| matches!(event, ClientEvent::HealthChanged { .. })).await.unwrap();
/// assert!(client.call("Process", rpcplugin_testkit::json!({})).await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthPolicy {
    /// The service that is asked for: `""` for the server as a whole, `plugin` for go-plugin's servers. Default: `""`.
    pub service: String,
    /// From one `Check` to the next, more or less by a tenth. Default: 10 s.
    pub interval: Duration,
    /// How long a `Check`, or the first message of a `Watch`, may take. Default: 3 s.
    pub timeout: Duration,
    /// After so many failed `Check`s in a row an endpoint takes no calls. Default: 2.
    pub down_after: u32,
    /// After so many good ones in a row it takes calls again. Default: 1.
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
    /// Asks for one service of each endpoint.
    #[must_use]
    pub fn service(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            ..Self::default()
        }
    }

    /// From one `Check` to the next.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// After so many failed `Check`s in a row an endpoint takes no calls.
    #[must_use]
    pub fn down_after(mut self, failures: u32) -> Self {
        self.down_after = failures;
        self
    }

    /// After so many good `Check`s in a row it takes calls again.
    #[must_use]
    pub fn up_after(mut self, successes: u32) -> Self {
        self.up_after = successes;
        self
    }

    /// From one `Check` to the next, for a random number from 0 to 1: more or less by a tenth, so that clients that were
    /// started together do not ask together.
    pub(crate) fn pause(&self, dice: f64) -> Duration {
        let least = Duration::from_millis(1);
        self.interval
            .max(least)
            .mul_f64(0.9 + 0.2 * dice.clamp(0.0, 1.0))
    }
}

/// What is known of the health of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// It is not asked for, or there is no answer yet.
    #[default]
    Unknown,
    /// It takes calls.
    Serving,
    /// It says that it is not serving, or does not answer.
    NotServing,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Serving => "serving",
            Self::NotServing => "not serving",
        })
    }
}

/// What was found, and in which words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) health: Health,
    pub(crate) why: String,
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

/// `Check`s in a row, and what follows from them. The first decides at once.
#[derive(Debug, Default)]
pub(crate) struct Polls {
    now: Health,
    /// Those in a row that say otherwise.
    otherwise: u32,
}

impl Polls {
    /// Takes an answer. Gives it back when it decides.
    pub(crate) fn weigh(&mut self, policy: &HealthPolicy, found: Verdict) -> Option<Verdict> {
        if found.health == self.now {
            self.otherwise = 0;
            return Some(found);
        }
        self.otherwise += 1;
        let needed = match (self.now, found.health) {
            (Health::Unknown, _) => 1,
            (_, Health::Serving) => policy.up_after,
            _ => policy.down_after,
        };
        (self.otherwise >= needed).then(|| {
            self.otherwise = 0;
            self.now = found.health;
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::client::health_policy::{Health, HealthPolicy, Polls, Verdict};

    #[test]
    fn the_first_check_decides_and_then_so_many_in_a_row() {
        let policy = HealthPolicy::default().down_after(3).up_after(2);
        // Each check, and what holds after it.
        for (checks, expected) in [
            ("+", "+"),
            ("-", "-"),
            ("+--+--", "++++++"),
            ("+---", "+++-"),
            ("+----", "+++--"),
            ("-+-+", "----"),
            ("-++", "--+"),
            ("+---+-++", "+++----+"),
        ] {
            let (mut polls, mut holds) = (Polls::default(), Health::Unknown);
            let mut found = String::new();
            for check in checks.chars() {
                let verdict = match check {
                    '+' => Verdict::serving(""),
                    _ => Verdict::not_serving(""),
                };
                if let Some(decided) = polls.weigh(&policy, verdict) {
                    holds = decided.health;
                }
                found.push(if holds == Health::Serving { '+' } else { '-' });
            }
            assert_eq!(found, expected, "{checks}");
        }
    }

    #[test]
    fn the_pause_between_checks_differs_by_a_tenth() {
        let policy = HealthPolicy::default();
        let pauses = [0.0, 0.5, 1.0].map(|dice| policy.pause(dice).as_secs_f64());
        for (pause, expected) in pauses.into_iter().zip([9.0, 10.0, 11.0]) {
            assert!((pause - expected).abs() < 1e-6, "{pauses:?}");
        }
    }
}
