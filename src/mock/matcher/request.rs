//! Matchers on the request's messages.

use crate::error::Error;
use crate::mock::journal::Call;
use crate::mock::matcher::rule::{Matcher, Mismatch};
use crate::schema::{Difference, Extent, Method, Shape, canonical, differences, json};
use prost::Message;
use serde_json::Value;
use std::{borrow::Cow, marker::PhantomData};

/// The request equals this JSON: numbers by value, fields that are left out as their defaults.
///
/// It is the array of all messages for a call whose client streams, and the first message for one that streams both
/// ways. `when(json!(..))` is the same.
///
/// ```
/// use rpcplugin_testkit::{Stub, json, matchers};
///
/// Stub::method("Get").when(matchers::json(json!({"key": "a"}))).reply(json!({"value": 1}));
/// ```
#[must_use]
pub fn json(expected: impl Into<Value>) -> impl Matcher {
    Json::new(expected.into(), Extent::Whole)
}

/// The request has these fields, whatever else it has. Within lists, each element has the named fields; `null` stands
/// for a field that is not set.
///
/// ```
/// use rpcplugin_testkit::{Stub, json, matchers::json_subset};
///
/// let admins = json_subset(json!({"user": {"role": "ADMIN"}}));
/// Stub::method("Delete").when(admins).reply(json!({}));
/// ```
#[must_use]
pub fn json_subset(expected: impl Into<Value>) -> impl Matcher {
    Json::new(expected.into(), Extent::Named)
}

/// The JSON of the request satisfies a closure.
///
/// ```
/// use rpcplugin_testkit::{Stub, Value, json, matchers};
///
/// let long = matchers::request(|request: &Value| request["text"].as_str().is_some_and(|text| text.len() > 80));
/// Stub::method("Post").when(long).reply(json!({}));
/// ```
#[must_use]
pub fn request(accepts: impl Fn(&Value) -> bool + Send + Sync) -> impl Matcher {
    Request(accepts)
}

/// The first request message, decoded as a prost type, satisfies a closure. It needs no schema.
///
/// ```
/// use rpcplugin_testkit::{Stub, json, matchers, proto::rpcplugin::v1::CallRequest};
///
/// Stub::method("Call").when(matchers::typed(|request: &CallRequest| request.method == "Get")).reply(json!({}));
/// ```
#[must_use]
pub fn typed<M: Message + Default>(accepts: impl Fn(&M) -> bool + Send + Sync) -> impl Matcher {
    Typed {
        accepts,
        message: PhantomData::<fn(&M)>,
    }
}

/// JSON that `when` was given.
impl Matcher for Value {
    fn matches(&self, call: &Call) -> bool {
        Json::new(self.clone(), Extent::Whole).matches(call)
    }

    fn boxed(self) -> Box<dyn Matcher> {
        Box::new(Json::new(self, Extent::Whole))
    }
}

struct Json {
    extent: Extent,
    written: Value,
    /// In the form in which the request is printed, when the method is known.
    canonical: Option<Value>,
}

impl Json {
    fn new(written: Value, extent: Extent) -> Self {
        Self {
            extent,
            written,
            canonical: None,
        }
    }

    /// The expectation as the request of this method would be printed.
    fn canonical_for(&self, method: &Method) -> Result<Value, Error> {
        let one = |part: &Value| match self.extent {
            Extent::Whole => {
                json::to_message(method.input(), part).map(|message| json::from_message(&message))
            }
            Extent::Named => canonical(method.input(), part),
        };
        match (method.shape(), &self.written) {
            (Shape::ClientStreaming, Value::Array(many)) => many.iter().map(one).collect(),
            // It is matched by its first message, which may be written as itself or as a list of one.
            (Shape::BidiStreaming, Value::Array(many)) if many.len() == 1 => one(&many[0]),
            (_, written) => one(written),
        }
    }

    /// What is wanted, in the form in which this call's request is printed.
    fn wanted(&self, call: &Call) -> Cow<'_, Value> {
        match (&self.canonical, call.schema_method()) {
            (Some(canonical), _) => Cow::Borrowed(canonical),
            (None, Some(method)) => match self.canonical_for(method) {
                Ok(canonical) => Cow::Owned(canonical),
                Err(_) => Cow::Borrowed(&self.written),
            },
            // A schemaless request's numbers are doubles.
            (None, None) => Cow::Owned(json::rounded(&self.written)),
        }
    }

    /// Every place where the call is not as wanted.
    fn differences(&self, call: &Call) -> Vec<Difference> {
        let (wanted, request) = (self.wanted(call), call.request_ref());
        differences(&wanted, compared(call, &wanted, &request), self.extent)
    }
}

/// What streams both ways is matched by its first message.
fn compared<'a>(call: &Call, wanted: &Value, request: &'a Value) -> &'a Value {
    match call.shape() {
        Some(Shape::BidiStreaming) if !wanted.is_array() => request.get(0).unwrap_or_default(),
        _ => request,
    }
}

impl Matcher for Json {
    fn matches(&self, call: &Call) -> bool {
        match self.extent {
            Extent::Whole => {
                let (wanted, request) = (self.wanted(call), call.request_ref());
                json::same(&wanted, compared(call, &wanted, &request))
            }
            Extent::Named => self.differences(call).is_empty(),
        }
    }

    fn describe(&self) -> String {
        match self.extent {
            Extent::Whole => "the request as JSON".to_owned(),
            Extent::Named => "fields of the request as JSON".to_owned(),
        }
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        if call.shape().is_none() {
            return no_schema();
        }
        let found = self.differences(call);
        Mismatch::of(found.iter().map(ToString::to_string))
    }

    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        match (method.shape(), &self.written) {
            (Shape::ClientStreaming, written) if !written.is_array() => {
                return Err(
                    "the client streams: expected an array with all its messages".to_owned(),
                );
            }
            (Shape::BidiStreaming, Value::Array(many)) if many.len() != 1 => {
                return Err(
                    "a call that streams both ways is matched by its first message: expected that one alone"
                        .to_owned(),
                );
            }
            _ => {}
        }
        self.canonical = Some(self.canonical_for(method).map_err(|error| error.chain())?);
        Ok(())
    }

    fn request_hash(&self) -> Option<u64> {
        let wanted = match (&self.canonical, &self.written) {
            (Some(canonical), _) => canonical,
            // It may be for a call that streams both ways, whose one message is hashed by itself.
            (None, Value::Array(many)) if many.len() == 1 => return None,
            (None, written) => written,
        };
        (self.extent == Extent::Whole).then(|| json::hash(wanted))
    }
}

struct Request<F>(F);

impl<F: Fn(&Value) -> bool + Send + Sync> Matcher for Request<F> {
    fn matches(&self, call: &Call) -> bool {
        (self.0)(&call.request_ref())
    }

    fn describe(&self) -> String {
        "a closure over the request".to_owned()
    }
}

struct Typed<M, F> {
    accepts: F,
    message: PhantomData<fn(&M)>,
}

impl<M: Message + Default, F: Fn(&M) -> bool + Send + Sync> Matcher for Typed<M, F> {
    fn matches(&self, call: &Call) -> bool {
        call.message().is_ok_and(|message| (self.accepts)(&message))
    }

    fn describe(&self) -> String {
        format!("a closure over {}", std::any::type_name::<M>())
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        match call.message::<M>() {
            Ok(_) => Mismatch::new("it says no"),
            Err(error) => Mismatch::new(error.chain()),
        }
    }
}

pub(super) fn no_schema() -> Mismatch {
    Mismatch::new("the mock has no schema for this method, so its messages have no JSON")
}
