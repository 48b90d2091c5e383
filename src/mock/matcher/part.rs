//! Matchers on one field, and on the messages of a stream.

use crate::mock::journal::Call;
use crate::mock::matcher::expect::{Expectation, IntoExpectation};
use crate::mock::matcher::request::no_schema;
use crate::mock::matcher::rule::{Matcher, Mismatch};
use crate::schema::{FieldPath, Leaf, Method};
use serde_json::Value;
use std::{
    fmt::Debug,
    ops::{Bound, RangeBounds},
};

/// One field of the request is this value, or satisfies a closure over its JSON.
///
/// The path is `user.tags[0]` or, for names with dots in them, the
/// [JSON pointer](https://www.rfc-editor.org/rfc/rfc6901) `/user/tags/0`; in a call whose client streams it begins with
/// the number of the message. A field that is not set is `null`, one without presence its default.
///
/// ```
/// use rpcplugin_testkit::{Stub, Value, json, matchers::field};
///
/// Stub::method("Put")
///     .when(field("entry.key", "a"))
///     .when(field("entry.size", |size: &Value| size.as_u64() > Some(1024)))
///     .reply(json!({}));
/// ```
#[must_use]
pub fn field<How>(path: &str, expected: impl IntoExpectation<How>) -> impl Matcher {
    Field {
        path: FieldPath::new(path),
        expected: expected.into_expectation(),
    }
}

/// How many messages the client's stream has: `message_count(2..=3)`. It is decided when all are in, and so of no use for
/// calls that stream both ways, which are matched by their first message.
#[must_use]
pub fn message_count(range: impl RangeBounds<usize> + Send + Sync + Debug) -> impl Matcher {
    Count(range)
}

/// The message of that number, from 0, is this JSON (as [`json`](crate::matchers::json)), or satisfies a closure.
#[must_use]
pub fn message<How>(number: usize, expected: impl IntoExpectation<How>) -> impl Matcher {
    Messages::new(Which::Number(number), expected.into_expectation())
}

/// At least one message is this JSON, or satisfies a closure.
#[must_use]
pub fn some_message<How>(expected: impl IntoExpectation<How>) -> impl Matcher {
    Messages::new(Which::Some, expected.into_expectation())
}

/// Every message is this JSON, or satisfies a closure. So it is with no messages at all.
#[must_use]
pub fn every_message<How>(expected: impl IntoExpectation<How>) -> impl Matcher {
    Messages::new(Which::Every, expected.into_expectation())
}

struct Field {
    path: FieldPath,
    expected: Expectation,
}

impl Matcher for Field {
    fn matches(&self, call: &Call) -> bool {
        self.expected.accepts(self.path.find(&call.request_ref()))
    }

    fn describe(&self) -> String {
        format!("`{}` {}", self.path.written(), self.expected.describe())
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        if call.shape().is_none() {
            return no_schema();
        }
        let request = call.request_ref();
        Mismatch::new(self.expected.mismatch(self.path.find(&request)))
    }

    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        let leaf = self.path.resolve(method)?;
        self.expected.canonicalize(|value| leaf.canonical(value))
    }
}

struct Count<R>(R);

impl<R: RangeBounds<usize> + Send + Sync + Debug> Matcher for Count<R> {
    fn matches(&self, call: &Call) -> bool {
        self.0.contains(&call.requests().len())
    }

    fn describe(&self) -> String {
        format!("{} messages", range_text(&self.0))
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        let came = call.requests().len();
        Mismatch::new(format!("wanted {}, came {came}", range_text(&self.0)))
    }
}

/// `2 to 3`, `at least 2`, as people say it.
pub(super) fn range_text<T: Debug>(range: &impl RangeBounds<T>) -> String {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Unbounded, Bound::Unbounded) => "any".to_owned(),
        (Bound::Included(from), Bound::Unbounded) => format!("at least {from:?}"),
        (Bound::Excluded(from), Bound::Unbounded) => format!("more than {from:?}"),
        (Bound::Unbounded, Bound::Included(to)) => format!("at most {to:?}"),
        (Bound::Unbounded, Bound::Excluded(to)) => format!("less than {to:?}"),
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to)) => {
            format!("{from:?} to {to:?}")
        }
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => {
            format!("{from:?} to less than {to:?}")
        }
    }
}

enum Which {
    Every,
    Number(usize),
    Some,
}

struct Messages {
    which: Which,
    expected: Expectation,
}

impl Messages {
    fn new(which: Which, expected: Expectation) -> Self {
        Self { which, expected }
    }
}

fn messages(call: &Call) -> Vec<Value> {
    let requests = call.requests();
    requests.iter().map(|message| message.json()).collect()
}

impl Matcher for Messages {
    fn matches(&self, call: &Call) -> bool {
        let messages = messages(call);
        let mut all = messages.iter().map(Some);
        match self.which {
            Which::Every => all.all(|message| self.expected.accepts(message)),
            Which::Number(number) => {
                let message = messages.get(number);
                message.is_some() && self.expected.accepts(message)
            }
            Which::Some => all.any(|message| self.expected.accepts(message)),
        }
    }

    fn describe(&self) -> String {
        let which = match self.which {
            Which::Every => "every message".to_owned(),
            Which::Number(number) => format!("message {number}"),
            Which::Some => "some message".to_owned(),
        };
        format!("{which} {}", self.expected.describe())
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        if call.shape().is_none() {
            return no_schema();
        }
        let messages = messages(call);
        let refused = |message| !self.expected.accepts(Some(message));
        Mismatch::new(match self.which {
            Which::Every => match messages
                .iter()
                .enumerate()
                .find(|(_, message)| refused(message))
            {
                Some((number, message)) => {
                    format!(
                        "message {number}: {}",
                        self.expected.mismatch(Some(message))
                    )
                }
                None => "it says no".to_owned(),
            },
            Which::Number(number) => self.expected.mismatch(messages.get(number)),
            Which::Some => format!("none of {} messages is", messages.len()),
        })
    }

    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        let leaf = Leaf::Message(method.input().clone());
        self.expected.canonicalize(|value| leaf.canonical(value))
    }
}

/// Whether the values are equal, as [`Expectation`] has it.
#[cfg(test)]
mod tests {
    use crate::mock::matcher::part::range_text;

    #[test]
    fn ranges_are_told_in_words() {
        assert_eq!(range_text(&(2..=3)), "2 to 3");
        assert_eq!(range_text(&(2..4)), "2 to less than 4");
        assert_eq!(range_text(&(2..)), "at least 2");
        assert_eq!(range_text(&(..=2)), "at most 2");
        assert_eq!(range_text(&(..2)), "less than 2");
        assert_eq!(range_text::<u8>(&(..)), "any");
    }
}
