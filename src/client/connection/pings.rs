//! Pings on a connection, so that one whose peer is gone without a word is noticed.

use crate::client::keepalive::Keepalive;
use h2::{Ping, PingPong};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// The pings of one connection.
pub(super) struct Pings {
    keepalive: Keepalive,
    ping_pong: PingPong,
    /// To the next ping, or to the end of the wait for its answer.
    sleep: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl Pings {
    pub(super) fn new(keepalive: Keepalive, ping_pong: PingPong) -> Self {
        let at = later(keepalive.interval);
        Self {
            keepalive,
            ping_pong,
            sleep: Box::pin(sleep_until(at)),
            is_waiting: false,
        }
    }

    /// Sends what is due. Ready, when an answer did not come in time.
    pub(super) fn poll_silent(
        &mut self,
        cx: &mut Context<'_>,
        has_calls: impl Fn() -> bool,
    ) -> Poll<Duration> {
        loop {
            if self.is_waiting && self.ping_pong.poll_pong(cx).is_ready() {
                // An error is the end of the connection, which its own future tells.
                self.is_waiting = false;
                self.sleep.as_mut().reset(later(self.keepalive.interval));
            }
            ready!(self.sleep.as_mut().poll(cx));
            if self.is_waiting {
                return Poll::Ready(self.keepalive.timeout);
            }
            let is_due = self.keepalive.without_calls || has_calls();
            self.is_waiting = is_due && self.ping_pong.send_ping(Ping::opaque()).is_ok();
            let wait = if self.is_waiting {
                self.keepalive.timeout
            } else {
                self.keepalive.interval
            };
            self.sleep.as_mut().reset(later(wait));
        }
    }
}

/// A wait beyond the clock's end is one of a month; one of nothing would never let go of the task.
fn later(wait: Duration) -> Instant {
    let now = Instant::now();
    let month = Duration::from_secs(30 * 24 * 3600);
    now.checked_add(wait.max(Duration::from_millis(1)))
        .unwrap_or_else(|| now + month)
}
