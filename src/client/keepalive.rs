//! What a client is told about pings.

use std::time::Duration;

/// [gRPC's keepalive](https://github.com/grpc/grpc/blob/master/doc/keepalive.md): HTTP/2 pings on a connection, which is lost
/// when one is not answered in time.
///
/// It is off unless it is asked for. Servers of gRPC's own implementations take one ping in 5 minutes by default, and none
/// without a call; they close the connection of who sends more (`too_many_pings`), after which this client waits twice as long
/// between its pings.
///
/// ```no_run
/// use rpcplugin_testkit::{Client, client::Keepalive};
/// use std::time::Duration;
///
/// # async fn example() -> Result<(), rpcplugin_testkit::Error> {
/// let keepalive = Keepalive::every(Duration::from_secs(300));
/// let client = Client::builder().address("127.0.0.1:50051").keepalive(keepalive).connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// From one ping's answer to the next ping.
    pub interval: Duration,
    /// How long an answer may take. Default: 20 s.
    pub timeout: Duration,
    /// Whether to ping while no call is in flight. Default: `false`.
    pub without_calls: bool,
}

impl Keepalive {
    /// A ping this long after the last was answered, while calls are in flight.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self {
            interval,
            timeout: Duration::from_secs(20),
            without_calls: false,
        }
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Pings while no call is in flight, too.
    #[must_use]
    pub fn without_calls(mut self) -> Self {
        self.without_calls = true;
        self
    }

    /// The same, with longer intervals.
    pub(crate) fn slowed(mut self, factor: u32) -> Self {
        self.interval = self.interval.saturating_mul(factor);
        self
    }
}
