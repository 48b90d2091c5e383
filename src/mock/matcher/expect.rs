//! What matchers on parts of a call take: a value, or a closure over it.

use crate::error::Error;
use crate::schema::{brief, json};
use serde_json::Value;
use std::{fmt, sync::Arc};

/// A value that is expected, or a closure that accepts it. See [`field`](crate::matchers::field).
///
/// `How` tells the two apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an expectation of a JSON value",
    note = "expected a value such as `3`, `\"a\"` or `json!(..)`, or a closure `|value: &Value| …`"
)]
pub trait IntoExpectation<How> {
    /// The expectation.
    fn into_expectation(self) -> Expectation;
}

/// What a JSON value must be. See [`IntoExpectation`].
#[derive(Clone)]
pub struct Expectation(Inner);

#[derive(Clone)]
enum Inner {
    Closure(Arc<dyn Fn(&Value) -> bool + Send + Sync>),
    Value(Value),
}

/// The two ways to expect. They are inferred and never written.
#[expect(clippy::exhaustive_enums, reason = "markers without values")]
pub mod how {
    /// A closure over the value.
    #[derive(Debug)]
    pub enum Closure {}
    /// The value itself.
    #[derive(Debug)]
    pub enum Value {}
}

impl<V: Into<Value>> IntoExpectation<how::Value> for V {
    fn into_expectation(self) -> Expectation {
        Expectation(Inner::Value(self.into()))
    }
}

impl<F: Fn(&Value) -> bool + Send + Sync + 'static> IntoExpectation<how::Closure> for F {
    fn into_expectation(self) -> Expectation {
        Expectation(Inner::Closure(Arc::new(self)))
    }
}

impl Expectation {
    /// Whether the value is as expected. What is absent counts as `null`.
    pub(super) fn accepts(&self, value: Option<&Value>) -> bool {
        let value = value.unwrap_or(&Value::Null);
        match &self.0 {
            Inner::Closure(accepts) => accepts(value),
            Inner::Value(wanted) => json::same(wanted, value),
        }
    }

    /// Brings a value into the form in which it is printed.
    pub(super) fn canonicalize(
        &mut self,
        canonical: impl FnOnce(&Value) -> Result<Value, Error>,
    ) -> Result<(), String> {
        if let Inner::Value(value) = &mut self.0 {
            *value = canonical(value).map_err(|error| error.chain())?;
        }
        Ok(())
    }

    pub(super) fn describe(&self) -> String {
        match &self.0 {
            Inner::Closure(_) => "satisfies a closure".to_owned(),
            Inner::Value(value) => format!("is {}", brief(&value.to_string())),
        }
    }

    /// What was wanted and what came.
    pub(super) fn mismatch(&self, value: Option<&Value>) -> String {
        let came = value.map_or_else(|| "nothing".to_owned(), |value| brief(&value.to_string()));
        match &self.0 {
            Inner::Closure(_) => format!("the closure does not accept {came}"),
            Inner::Value(wanted) => format!("wanted {}, came {came}", brief(&wanted.to_string())),
        }
    }
}

impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}
