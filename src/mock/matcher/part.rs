//! Matchers on one field, and on the messages of a stream.

use crate::mock::journal::Call;
use crate::mock::matcher::expect::{Expectation, IntoExpectation};
use crate::mock::matcher::request::no_schema;
use crate::mock::matcher::rule::{Matcher, Mismatch};
use crate::mock::times::Times;
use crate::schema::{FieldPath, Leaf, Method};
use serde_json::Value;
use std::borrow::Cow;

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
    ByType::new(Field {
        path: FieldPath::new(path),
        expected: expected.into_expectation(),
    })
}

/// How many messages the client's stream has: `message_count(2)`, `message_count(2..=3)`. It is decided when all are in, and so of no use for
/// calls that stream both ways, which are matched by their first message.
#[must_use]
pub fn message_count(count: impl Into<Times>) -> impl Matcher {
    Count(count.into())
}

/// The message of that number, from 0, is this JSON (as [`json`](crate::matchers::json)), or satisfies a closure.
#[must_use]
pub fn message<How>(number: usize, expected: impl IntoExpectation<How>) -> impl Matcher {
    ByType::new(Messages::new(
        Which::Number(number),
        expected.into_expectation(),
    ))
}

/// At least one message is this JSON, or satisfies a closure.
#[must_use]
pub fn some_message<How>(expected: impl IntoExpectation<How>) -> impl Matcher {
    ByType::new(Messages::new(Which::Some, expected.into_expectation()))
}

/// Every message is this JSON, or satisfies a closure. So it is with no messages at all.
#[must_use]
pub fn every_message<How>(expected: impl IntoExpectation<How>) -> impl Matcher {
    ByType::new(Messages::new(Which::Every, expected.into_expectation()))
}

/// A matcher that is told the method's types: when its stub is mounted, or else, for a stub that is for any method, when a
/// call comes.
struct ByType<M> {
    matcher: M,
    prepared: bool,
}

impl<M: Matcher + Clone> ByType<M> {
    fn new(matcher: M) -> Self {
        let prepared = false;
        Self { matcher, prepared }
    }

    /// The matcher for this call, or why there is none.
    fn of(&self, call: &Call) -> Result<Cow<'_, M>, String> {
        match call.schema_method() {
            Some(method) if !self.prepared => {
                let mut matcher = self.matcher.clone();
                matcher.prepare(method)?;
                Ok(Cow::Owned(matcher))
            }
            _ => Ok(Cow::Borrowed(&self.matcher)),
        }
    }
}

impl<M: Matcher + Clone> Matcher for ByType<M> {
    fn matches(&self, call: &Call) -> bool {
        self.of(call).is_ok_and(|matcher| matcher.matches(call))
    }

    fn describe(&self) -> String {
        self.matcher.describe()
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        match self.of(call) {
            Ok(matcher) => matcher.mismatch(call),
            Err(problem) => Mismatch::new(problem),
        }
    }

    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        self.prepared = true;
        self.matcher.prepare(method)
    }
}

#[derive(Clone)]
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

struct Count(Times);

impl Matcher for Count {
    fn matches(&self, call: &Call) -> bool {
        self.0.is_met(call.requests().len() as u64)
    }

    fn describe(&self) -> String {
        self.0.of("message")
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        Mismatch::new(format!("came {}", call.requests().len()))
    }
}

#[derive(Clone)]
enum Which {
    Every,
    Number(usize),
    Some,
}

#[derive(Clone)]
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
