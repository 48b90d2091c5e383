//! The attempts of a call that failed, and how they are told.

use crate::client::channel::member::Member;
use crate::client::channel::snapshot::Snapshot;
use crate::error::{Error, Kind};
use crate::wire::status;
use std::{fmt::Write as _, time::Duration};
use tokio::time::Instant;

/// The attempts of one call that failed.
#[derive(Debug)]
pub(super) struct Tries {
    began: Instant,
    failed: Vec<Try>,
    /// Endpoints with an attempt in flight.
    busy: Vec<u64>,
}

#[derive(Debug)]
struct Try {
    key: u64,
    target: String,
    error: Error,
    after: Duration,
}

impl Tries {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            began,
            failed: Vec::new(),
            busy: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether an attempt went to that endpoint.
    pub(super) fn has(&self, key: u64) -> bool {
        self.failed.iter().any(|one| one.key == key) || self.busy.contains(&key)
    }

    /// An attempt goes to that endpoint beside others.
    pub(super) fn occupy(&mut self, key: u64) {
        self.busy.push(key);
    }

    pub(super) fn push(&mut self, key: u64, target: &str, error: Error) {
        self.failed.push(Try {
            key,
            target: target.to_owned(),
            error,
            after: self.began.elapsed(),
        });
    }

    /// The error of the call: that of its only attempt, or the last with all of them in its text.
    pub(super) fn conclude(self, path: &str, last: Error, why: &str) -> Error {
        let count = self.failed.len();
        if count == 0 || (count == 1 && why.is_empty()) {
            return last;
        }
        let attempts = if count == 1 { "attempt" } else { "attempts" };
        let mut text = format!("{path} failed after {count} {attempts}");
        if !why.is_empty() {
            text = format!("{text}, {why}");
        }
        text.push(':');
        for one in &self.failed {
            let (target, after, error) = (&one.target, one.after, short(&one.error));
            let _ = write!(text, "\n  {target} after {after:.1?}: {error}");
        }
        last.retold(text)
    }
}

/// A failed attempt without what all of them have in common.
fn short(error: &Error) -> String {
    match error.status() {
        Some(status) if status.message().is_empty() => status::name(status.code()).to_owned(),
        Some(status) => format!("{}: {}", status::name(status.code()), status.message()),
        None => error.chain(),
    }
}

/// Why no endpoint takes a call: each with its own cause, and how long ago that was.
pub(super) fn nobody(snapshot: &Snapshot, path: Option<&str>, now: Instant) -> Error {
    // Nobody has called the reflection that looks a name up.
    let path = path.filter(|path| !path.starts_with("/grpc.reflection."));
    let call = path.map(|path| format!("{path} cannot be called: "));
    let mut text = call.unwrap_or_default();
    if snapshot.all.is_empty() {
        text.push_str("the client has no endpoints");
        return snapshot.found.none(&text);
    }
    text.push_str("no endpoint takes calls:");
    for member in &snapshot.all {
        let _ = write!(text, "\n  {}", trouble(member, now));
    }
    Error::new(Kind::Connect, text)
}

fn trouble(member: &Member, now: Instant) -> String {
    let (why, since) = member.trouble();
    let target = &**member.transport.target();
    let told = match why.contains(target) {
        true => why,
        false => format!("{target}: {why}"),
    };
    match since {
        Some(since) => {
            let ago = now.saturating_duration_since(since);
            format!("{told} ({ago:.1?} ago)")
        }
        None => told,
    }
}
