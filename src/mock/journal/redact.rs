//! Metadata that is never printed or saved.

use crate::wire::metadata::SECRET;
use http::{HeaderMap, HeaderName, HeaderValue};

/// What stands in place of a secret.
pub(crate) const REDACTED: &str = "<redacted>";

/// The names of the headers that hold secrets.
#[derive(Clone, Debug)]
pub(crate) struct Redaction(Vec<HeaderName>);

impl Default for Redaction {
    fn default() -> Self {
        Self(SECRET.map(HeaderName::from_static).into())
    }
}

impl Redaction {
    pub(crate) fn add(&mut self, name: HeaderName) {
        self.0.push(name);
    }

    /// Marks the secrets, so that `{:?}` of the headers prints `Sensitive` in their place, and so does `text`.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut() {
            if self.0.contains(name) {
                value.set_sensitive(true);
            }
        }
    }

    pub(crate) fn hides(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|hidden| hidden.as_str().eq_ignore_ascii_case(name))
    }
}

/// A header's value for people, without its secret.
pub(crate) fn text(value: &HeaderValue) -> String {
    if value.is_sensitive() {
        REDACTED.to_owned()
    } else {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    }
}
