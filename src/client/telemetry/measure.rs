//! The metrics, by gRPC's names.

use crate::client::telemetry::payload::Meter;
use crate::wire::status;
use metrics::{Label, counter, gauge, histogram};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tonic::Code;

pub(super) struct Call {
    began: Instant,
    labels: Vec<Label>,
    retries: AtomicU32,
    transparent_retries: AtomicU32,
    hedges: AtomicU32,
    /// In nanoseconds.
    delay: AtomicU64,
}

impl Call {
    pub(super) fn begin(path: &str, target: impl Fn() -> Arc<str>) -> Self {
        Self {
            began: Instant::now(),
            labels: labels(path, &target()),
            retries: AtomicU32::new(0),
            transparent_retries: AtomicU32::new(0),
            hedges: AtomicU32::new(0),
            delay: AtomicU64::new(0),
        }
    }

    pub(super) fn retried(&self, transparent: bool) {
        let count = if transparent {
            &self.transparent_retries
        } else {
            &self.retries
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hedged(&self) {
        self.hedges.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waited(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.delay.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, code: Code) {
        let seconds = self.began.elapsed().as_secs_f64();
        let labels = with_status(&self.labels, code);
        histogram!("grpc.client.call.duration", labels).record(seconds);
        // A call without any is not recorded, as the proposal has it.
        let record = |name: &'static str, value: f64| {
            if value > 0.0 {
                histogram!(name, self.labels.clone()).record(value);
            }
        };
        let count = |count: &AtomicU32| f64::from(count.load(Ordering::Relaxed));
        record("grpc.client.call.retries", count(&self.retries));
        let transparent = count(&self.transparent_retries);
        record("grpc.client.call.transparent_retries", transparent);
        record("grpc.client.call.hedges", count(&self.hedges));
        let delay = Duration::from_nanos(self.delay.load(Ordering::Relaxed));
        record("grpc.client.call.retry_delay", delay.as_secs_f64());
    }
}

#[derive(Debug)]
pub(super) struct Attempt {
    began: Instant,
    labels: Vec<Label>,
    traffic: Traffic,
}

impl Attempt {
    pub(super) fn begin(path: &str, target: &str) -> Self {
        let labels = labels(path, target);
        counter!("grpc.client.attempt.started", labels.clone()).increment(1);
        Self {
            began: Instant::now(),
            labels,
            traffic: Traffic::default(),
        }
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    pub(super) fn ended(&self, code: Code) {
        let labels = with_status(&self.labels, code);
        let record = |name: &'static str, value: f64| {
            histogram!(name, labels.clone()).record(value);
        };
        let seconds = self.began.elapsed().as_secs_f64();
        record("grpc.client.attempt.duration", seconds);
        let (sent, received) = (self.traffic.sent.load(), self.traffic.received.load());
        record(
            "grpc.client.attempt.sent_total_compressed_message_size",
            sent,
        );
        record(
            "grpc.client.attempt.rcvd_total_compressed_message_size",
            received,
        );
    }
}

fn labels(path: &str, target: &str) -> Vec<Label> {
    let method = path.trim_start_matches('/').to_owned();
    vec![
        Label::new("grpc.method", method),
        Label::new("grpc.target", target.to_owned()),
    ]
}

fn with_status(labels: &[Label], code: Code) -> Vec<Label> {
    let mut labels = labels.to_vec();
    labels.push(Label::new("grpc.status", status::name(code)));
    labels
}

/// The bytes of an attempt's messages, as they are compressed and without their prefixes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    sent: Total,
    received: Total,
}

impl Traffic {
    /// What no attempt of a call sends.
    pub(crate) fn of_nobody() -> Self {
        Self::default()
    }

    pub(crate) fn sent(&self) -> Meter {
        Meter::new(self.sent.clone())
    }

    pub(crate) fn received(&self) -> Meter {
        Meter::new(self.received.clone())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Total(Arc<AtomicU64>);

impl Total {
    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a histogram takes floating-point numbers"
    )]
    fn load(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// What becomes of the connection to an endpoint. (Its `tracing` events are those of the connection itself.)
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConnectionEvent<'a> {
    Connected,
    DialFailed,
    Lost(&'a str),
}

pub(crate) fn connection(target: &str, event: ConnectionEvent<'_>) {
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
