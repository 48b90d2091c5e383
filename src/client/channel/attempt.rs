//! One attempt of a call, and what its end says of its endpoint.

use crate::client::channel::member::Member;
use crate::client::channel::set::Channel;
use crate::client::connection::Patience;
use crate::client::ejection::{self, Ejection};
use crate::client::events::ClientEvent;
use crate::client::telemetry::{AttemptTelemetry, Traffic};
use std::sync::{Arc, Weak};
use tokio::time::Instant;
use tonic::Code;

/// One attempt of a call, in flight until its response has ended. Dropped before, it is cancelled, which says nothing of the
/// endpoint.
#[derive(Debug)]
pub(super) struct Attempt {
    /// A response that is still read keeps no client alive.
    channel: Weak<Channel>,
    pub(super) member: Arc<Member>,
    /// What it does while its endpoint is not connected.
    pub(super) patience: Patience,
    /// Whether it tries an endpoint that is ejected.
    is_probe: bool,
    is_open: bool,
    pub(super) telemetry: AttemptTelemetry,
}

impl Attempt {
    pub(super) fn start(
        channel: &Arc<Channel>,
        member: Arc<Member>,
        patience: Patience,
        is_probe: bool,
        path: &str,
    ) -> Self {
        member.load.start();
        member.counters.started();
        Self {
            telemetry: AttemptTelemetry::begin(path, member.transport.target()),
            channel: Arc::downgrade(channel),
            member,
            patience,
            is_probe,
            is_open: true,
        }
    }

    /// Where its messages are counted.
    pub(super) fn traffic(&self) -> Traffic {
        self.telemetry.traffic()
    }

    /// It ended with this code.
    pub(super) fn ended(mut self, code: Code) {
        self.close();
        self.member.counters.ended(code);
        self.telemetry.ended(code);
        if let Some(channel) = self.channel.upgrade() {
            channel.judge(&self.member, code, self.is_probe);
        }
    }

    /// It never reached the endpoint, which says nothing of how that answers.
    pub(super) fn unsent(mut self) {
        self.close();
        self.member.counters.unsent();
        self.telemetry.ended(Code::Unavailable);
        self.give_back();
    }

    fn close(&mut self) {
        self.is_open = false;
        self.member.load.end();
    }

    fn give_back(&self) {
        if self.is_probe {
            self.member.breaker().give_back_probe();
            if let Some(channel) = self.channel.upgrade() {
                channel.arrange();
            }
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_open {
            self.close();
            self.member.counters.cancelled();
            self.telemetry.ended(Code::Cancelled);
            self.give_back();
        }
    }
}

impl Channel {
    /// Learns from the end of an attempt whether its endpoint is to be called.
    fn judge(&self, member: &Arc<Member>, code: Code, is_probe: bool) {
        if code == Code::Ok
            && let Some(tokens) = &self.tokens
        {
            tokens.succeeded();
        }
        let has_failed = ejection::counts(code);
        let now = Instant::now();
        if has_failed {
            member.load.failed(now);
        }
        match &self.config.ejection {
            Some(policy) if !self.snapshot().is_lone() => {
                if has_failed {
                    self.failed(policy, member, now, is_probe);
                } else {
                    self.succeeded(member, is_probe);
                }
            }
            _ => {}
        }
    }

    fn succeeded(&self, member: &Member, is_probe: bool) {
        let mut breaker = member.breaker();
        let was_ejected = breaker.is_ejected();
        breaker.succeeded(is_probe);
        let is_back = was_ejected && !breaker.is_ejected();
        drop(breaker);
        if is_back {
            self.arrange();
            let address = member.endpoint.address.clone();
            tracing::debug!(%address, "reinstated");
            self.events.tell(ClientEvent::Reinstated(address));
        }
    }

    fn failed(&self, policy: &Ejection, member: &Member, now: Instant, is_probe: bool) {
        // One after the other, so that the last one that takes calls is never ejected.
        let until = self.change(|snapshot| {
            let may_eject = snapshot.has_other(member);
            let mut breaker = member.breaker();
            breaker.failed(policy, now, self.dice.roll(), may_eject, is_probe)
        });
        if let Some(until) = until {
            let address = member.endpoint.address.clone();
            let penalty = until.saturating_duration_since(now);
            tracing::warn!(%address, ?penalty, "ejected after failures in a row");
            self.events.tell(ClientEvent::Ejected { address, penalty });
        }
    }
}
