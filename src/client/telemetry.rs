//! What is told of calls and connections while they happen: `tracing` spans and events, and metrics by gRPC's names.
//!
//! Metrics are those of the proposals [A66](https://github.com/grpc/proposal/blob/master/A66-otel-stats.md),
//! [A94](https://github.com/grpc/proposal/blob/master/A94-subchannel-otel-metrics.md) and
//! [A96](https://github.com/grpc/proposal/blob/master/A96-retry-otel-stats.md), through the
//! [`metrics`](https://docs.rs/metrics) facade, with the feature `metrics`; without it nothing is measured.

mod payload;

#[cfg(feature = "metrics")]
mod measure;
#[cfg(not(feature = "metrics"))]
#[path = "telemetry/unmeasured.rs"]
mod measure;

pub(crate) use measure::{ConnectionEvent, Traffic, connection};
pub(crate) use payload::Counted;

use crate::wire::status;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tonic::Code;
use tracing::{Span, field::Empty};

/// One call, until it has ended. Dropped before, it is cancelled.
pub(crate) struct CallTelemetry {
    pub(crate) span: Span,
    has_ended: AtomicBool,
    measured: measure::Call,
}

impl CallTelemetry {
    pub(crate) fn begin(path: &str, target: impl Fn() -> Arc<str>) -> Self {
        Self {
            span: tracing::debug_span!("call", rpc.method = path, target = %target(), code = Empty),
            has_ended: AtomicBool::new(false),
            measured: measure::Call::begin(path, target),
        }
    }

    /// It is made again; transparently, if the server has not processed it.
    pub(crate) fn retried(&self, transparent: bool) {
        self.measured.retried(transparent);
    }

    /// It is made once more beside the attempts in flight.
    pub(crate) fn hedged(&self) {
        self.measured.hedged();
    }

    /// No attempt was in flight for so long.
    pub(crate) fn waited(&self, delay: Duration) {
        self.measured.waited(delay);
    }

    /// It has ended with this code.
    pub(crate) fn ended(&self, code: Code) {
        if !self.has_ended.swap(true, Ordering::Relaxed) {
            self.span.record("code", status::name(code));
            self.measured.ended(code);
        }
    }
}

impl Drop for CallTelemetry {
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}

/// One attempt of a call, until it has ended.
#[derive(Debug)]
pub(crate) struct AttemptTelemetry {
    /// That of its call: whoever sees its end may be outside.
    span: Span,
    measured: measure::Attempt,
}

impl AttemptTelemetry {
    pub(crate) fn begin(path: &str, target: &str) -> Self {
        tracing::trace!(path, target, "attempt");
        Self {
            span: Span::none(),
            measured: measure::Attempt::begin(path, target),
        }
    }

    /// It is one of this call, in whose span its end is told.
    pub(crate) fn inside(&mut self, call: &CallTelemetry) {
        self.span = call.span.clone();
    }

    /// Where its messages are counted.
    pub(crate) fn traffic(&self) -> Traffic {
        self.measured.traffic()
    }

    pub(crate) fn ended(&self, code: Code) {
        let code_name = status::name(code);
        self.span
            .in_scope(|| tracing::trace!(code = code_name, "the attempt has ended"));
        self.measured.ended(code);
    }
}
