//! Comparing a call with what was expected, and printing it.

use crate::mock::journal::call::Call;
use crate::mock::journal::message::RecordedMessage;
use crate::mock::journal::target::Target;
use crate::schema::{Shape, json};
use serde_json::Value;
use std::{borrow::Cow, fmt};

impl Call {
    /// Whether the request is this JSON: numbers by value, fields that are left out as their defaults.
    #[must_use]
    pub fn request_is(&self, expected: &Value) -> bool {
        let expected = self.normalize(expected);
        json::same(&self.request_ref(), &expected)
    }

    /// The JSON with the defaults of its message type filled in, or as it is when it does not fit the type.
    fn normalize<'a>(&self, expected: &'a Value) -> Cow<'a, Value> {
        let method = match self.target() {
            Target::Opaque(_) => return Cow::Borrowed(expected),
            // Its numbers are doubles.
            Target::Schemaless { .. } => return Cow::Owned(json::rounded(expected)),
            Target::Typed(method) => method,
        };
        let one =
            |expected| json::filled(method.input(), expected).unwrap_or_else(|_| expected.clone());
        Cow::Owned(match expected {
            Value::Array(many) if method.shape().streams_requests() => {
                many.iter().map(one).collect()
            }
            expected => one(expected),
        })
    }
}

impl<N: AsRef<str>> PartialEq<(N, Value)> for Call {
    fn eq(&self, (name, request): &(N, Value)) -> bool {
        self.is(name.as_ref()) && self.request_is(request)
    }
}

impl<N: AsRef<str>> PartialEq<Call> for (N, Value) {
    fn eq(&self, call: &Call) -> bool {
        call == self
    }
}

impl Call {
    /// The request as JSON without the fields that have their default.
    fn sparse(&self) -> Value {
        let Target::Typed(method) = self.target() else {
            return self.request();
        };
        let requests = self.requests();
        let one = |bytes| json::sparse(method.input(), bytes).unwrap_or_default();
        let mut all = requests.iter().map(|message| one(message.bytes()));
        if method.shape().streams_requests() {
            all.collect()
        } else {
            all.next().unwrap_or_default()
        }
    }
}

/// As the tuple it compares with, and what became of it: `("Echo", {"n":1}) from 127.0.0.1:40112 → OK {"ok":true}`, and by which
/// [faults](Self::faults): `… → broken off by a fault · Fault::reset(CANCEL) (tests/a.rs:12:5)`.
///
/// `{:#?}` is the tuple alone, printed as the tuple would be, so that a diff (of `pretty_assertions`, for example) shows
/// what differs and nothing else. Fields that have their default are left out there.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let mut tuple = f.debug_tuple("");
            if self.is_secret() {
                return tuple.field(&self.method()).field(&"secret").finish();
            }
            return tuple.field(&self.method()).field(&self.sparse()).finish();
        }
        let (requests, secret) = (self.requests(), self.is_secret());
        write!(f, "({:?}, ", self.method())?;
        match (
            secret && !requests.is_empty(),
            self.shape().is_some_and(Shape::streams_requests),
            requests.as_slice(),
        ) {
            (true, ..) => f.write_str("secret")?,
            (_, false, []) => f.write_str("no request")?,
            (_, false, [only]) => write!(f, "{only:?}")?,
            (_, _, many) => write_many(f, many)?,
        }
        write!(f, ") from {} → ", self.peer())?;
        match self.outcome() {
            Some(outcome) => write!(f, "{outcome}")?,
            None => f.write_str("in flight")?,
        }
        match self.replies().as_slice() {
            [] => {}
            _ if secret => f.write_str(" secret")?,
            [only] => write!(f, " {only:?}")?,
            many => {
                f.write_str(" ")?;
                write_many(f, many)?;
            }
        }
        let mut faults = self.faults().into_iter();
        faults.try_for_each(|fault| write!(f, " · {fault}"))
    }
}

/// How many messages of a stream are printed, beside the last.
const PRINTED: usize = 10;

fn write_many(f: &mut fmt::Formatter<'_>, messages: &[RecordedMessage]) -> fmt::Result {
    f.write_str("[")?;
    let last = messages.len().saturating_sub(1);
    for (number, message) in messages.iter().enumerate() {
        match number {
            0 => write!(f, "{message:?}")?,
            number if number < PRINTED || number == last => write!(f, ", {message:?}")?,
            PRINTED => write!(f, ", … {} more …", last - PRINTED)?,
            _ => {}
        }
    }
    f.write_str("]")
}

/// One line, as in `{:?}`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
