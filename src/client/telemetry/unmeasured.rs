//! What stands in place of the metrics without the feature `metrics`: nothing.
#![expect(clippy::unused_self, reason = "there is nothing to use")]

use crate::client::telemetry::payload::Meter;
use std::{sync::Arc, time::Duration};
use tonic::Code;

pub(super) struct Call;

impl Call {
    pub(super) fn begin(_path: &str, _target: impl Fn() -> Arc<str>) -> Self {
        Self
    }

    pub(super) fn retried(&self, _transparent: bool) {}

    pub(super) fn hedged(&self) {}

    pub(super) fn waited(&self, _delay: Duration) {}

    pub(super) fn ended(&self, _code: Code) {}
}

#[derive(Debug)]
pub(super) struct Attempt;

impl Attempt {
    pub(super) fn begin(_path: &str, _target: &str) -> Self {
        Self
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic
    }

    pub(super) fn ended(&self, _code: Code) {}
}

#[derive(Debug)]
pub(crate) struct Traffic;

impl Traffic {
    pub(crate) fn of_nobody() -> Self {
        Self
    }

    pub(crate) fn sent(&self) -> Meter {
        Meter
    }

    pub(crate) fn received(&self) -> Meter {
        Meter
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ConnectionEvent<'a> {
    Connected,
    DialFailed,
    Lost(&'a str),
}

pub(crate) fn connection(_target: &str, event: ConnectionEvent<'_>) {
    if let ConnectionEvent::Lost(_why) = event {}
}
