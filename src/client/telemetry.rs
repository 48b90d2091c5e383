//! What is told of calls and connections while they happen: `tracing` spans and events, and metrics by gRPC's names.
//!
//! Metrics are those of the proposals [A66](https://github.com/grpc/proposal/blob/master/A66-otel-stats.md),
//! [A94](https://github.com/grpc/proposal/blob/master/A94-subchannel-otel-metrics.md) and
//! [A96](https://github.com/grpc/proposal/blob/master/A96-retry-otel-stats.md), through the
//! [`metrics`](https://docs.rs/metrics) facade, with the feature `metrics`; without it nothing is measured.

use crate::wire::status;
use std::sync::Arc;
use tonic::Code;
use tracing::{Span, field::Empty};

/// One call, until it has ended.
pub(crate) struct CallTelemetry {
    pub(crate) span: Span,
    #[cfg(feature = "metrics")]
    measured: measure::Timed,
}

impl CallTelemetry {
    pub(crate) fn begin(path: &str, target: impl Fn() -> Arc<str>) -> Self {
        Self {
            span: tracing::debug_span!("call", rpc.method = path, target = %target(), code = Empty),
            #[cfg(feature = "metrics")]
            measured: measure::Timed::new(path, &target()),
        }
    }

    /// It has ended with this code.
    pub(crate) fn ended(&self, code: Code) {
        self.span.record("code", status::name(code));
        #[cfg(feature = "metrics")]
        self.measured.call_ended(code);
    }

    /// It has its last attempt, after so many of each kind.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "nothing is measured")
    )]
    pub(crate) fn repeated(&self, retries: u32, transparent: u32, hedges: u32) {
        #[cfg(feature = "metrics")]
        self.measured.repeated(retries, transparent, hedges);
        #[cfg(not(feature = "metrics"))]
        let _ = (retries, transparent, hedges);
    }
}

/// One attempt of a call, until it has ended.
#[derive(Debug)]
pub(crate) struct AttemptTelemetry {
    #[cfg(feature = "metrics")]
    measured: measure::Timed,
}

impl AttemptTelemetry {
    pub(crate) fn begin(path: &str, target: &str) -> Self {
        tracing::trace!(path, target, "attempt");
        Self {
            #[cfg(feature = "metrics")]
            measured: measure::Timed::attempt(path, target),
        }
    }

    #[cfg_attr(
        not(feature = "metrics"),
        expect(clippy::unused_self, reason = "nothing is measured")
    )]
    pub(crate) fn ended(&self, code: Code) {
        tracing::trace!(code = status::name(code), "the attempt has ended");
        #[cfg(feature = "metrics")]
        self.measured.attempt_ended(code);
    }
}

/// What becomes of the connection to an endpoint. (Its `tracing` events are those of the connection itself.)
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "nothing is measured")
)]
pub(crate) enum ConnectionEvent<'a> {
    Connected,
    DialFailed,
    Lost(&'a str),
}

pub(crate) fn connection(target: &str, event: ConnectionEvent<'_>) {
    #[cfg(feature = "metrics")]
    measure::connection(target, event);
    #[cfg(not(feature = "metrics"))]
    let _ = (target, event);
}

#[cfg(feature = "metrics")]
mod measure {
    use crate::client::telemetry::ConnectionEvent;
    use crate::wire::status;
    use metrics::{Label, counter, gauge, histogram};
    use tokio::time::Instant;
    use tonic::Code;

    #[derive(Debug)]
    pub(super) struct Timed {
        began: Instant,
        labels: Vec<Label>,
    }

    impl Timed {
        pub(super) fn new(path: &str, target: &str) -> Self {
            let method = path.trim_start_matches('/').to_owned();
            let labels = vec![
                Label::new("grpc.method", method),
                Label::new("grpc.target", target.to_owned()),
            ];
            Self {
                began: Instant::now(),
                labels,
            }
        }

        pub(super) fn attempt(path: &str, target: &str) -> Self {
            let this = Self::new(path, target);
            counter!("grpc.client.attempt.started", this.labels.clone()).increment(1);
            this
        }

        pub(super) fn attempt_ended(&self, code: Code) {
            let labels = self.with_status(code);
            let seconds = self.began.elapsed().as_secs_f64();
            histogram!("grpc.client.attempt.duration", labels).record(seconds);
        }

        pub(super) fn call_ended(&self, code: Code) {
            let labels = self.with_status(code);
            let seconds = self.began.elapsed().as_secs_f64();
            histogram!("grpc.client.call.duration", labels).record(seconds);
        }

        pub(super) fn repeated(&self, retries: u32, transparent: u32, hedges: u32) {
            // A call without any is not recorded, as the proposal has it.
            let record = |name: &'static str, count: u32| {
                if count > 0 {
                    histogram!(name, self.labels.clone()).record(f64::from(count));
                }
            };
            record("grpc.client.call.retries", retries);
            record("grpc.client.call.transparent_retries", transparent);
            record("grpc.client.call.hedges", hedges);
        }

        fn with_status(&self, code: Code) -> Vec<Label> {
            let mut labels = self.labels.clone();
            labels.push(Label::new("grpc.status", status::name(code)));
            labels
        }
    }

    pub(super) fn connection(target: &str, event: ConnectionEvent<'_>) {
        let labels = vec![Label::new("grpc.target", target.to_owned())];
        match event {
            ConnectionEvent::Connected => {
                counter!(
                    "grpc.subchannel.connection_attempts_succeeded",
                    labels.clone()
                )
                .increment(1);
                gauge!("grpc.subchannel.open_connections", labels).increment(1.0);
            }
            ConnectionEvent::DialFailed => {
                counter!("grpc.subchannel.connection_attempts_failed", labels).increment(1);
            }
            ConnectionEvent::Lost(why) => {
                gauge!("grpc.subchannel.open_connections", labels.clone()).decrement(1.0);
                let mut labels = labels;
                labels.push(Label::new("grpc.disconnect_error", why.to_owned()));
                counter!("grpc.subchannel.disconnections", labels).increment(1);
            }
        }
    }
}
