//! Matchers on what comes with the headers, before any message.

use crate::address::Address;
use crate::mock::journal::{Call, REDACTED, text};
use crate::mock::matcher::rule::{Matcher, Mismatch};
use crate::tls::Certificate;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use http::HeaderValue;
use std::{
    fmt::{self, Debug},
    ops::{Bound, RangeBounds},
    time::Duration,
};

/// The request metadata has this pair, perhaps among other values of the key; or one of the values satisfies a closure
/// over its text.
///
/// ```
/// use rpcplugin_testkit::{Stub, json, matchers::metadata};
///
/// Stub::method("Get").when(metadata("x-tenant", "blue")).reply(json!({"value": 1}));
/// Stub::method("Get").when(metadata("authorization", |value: &str| value.starts_with("Bearer "))).reply(json!({}));
/// ```
#[must_use]
pub fn metadata<How>(key: &str, expected: impl IntoTextExpectation<How>) -> impl Matcher {
    Metadata {
        key: key.to_ascii_lowercase(),
        expected: expected.into_expectation(),
    }
}

/// The request metadata has this binary value under a key that ends with `-bin`.
#[must_use]
pub fn metadata_bin(key: &str, expected: impl AsRef<[u8]>) -> impl Matcher {
    Metadata {
        key: key.to_ascii_lowercase(),
        expected: TextExpectation(Inner::Bytes(expected.as_ref().to_vec())),
    }
}

/// The request metadata has no such key.
#[must_use]
pub fn no_metadata(key: &str) -> impl Matcher {
    Absent(key.to_ascii_lowercase())
}

/// The client sent a deadline, with so much time left: `deadline(Duration::from_secs(1)..)`; any at all: `deadline(..)`.
#[must_use]
pub fn deadline(left: impl RangeBounds<Duration> + Send + Sync) -> impl Matcher {
    Deadline(left)
}

/// The client sent no deadline.
#[must_use]
pub fn no_deadline() -> impl Matcher {
    NoDeadline
}

/// The [peer](Call::peer) satisfies a closure over its address.
#[must_use]
pub fn peer(accepts: impl Fn(&Address) -> bool + Send + Sync) -> impl Matcher {
    Peer(accepts)
}

/// The client has a [certificate](Call::client_certificate) with this name, as common name or alternative name; or one that
/// satisfies a closure.
///
/// ```
/// use rpcplugin_testkit::{Certificate, Stub, json, matchers::client_certificate};
///
/// Stub::method("Get").when(client_certificate("worker-1")).reply(json!({"value": 1}));
/// Stub::method("Get").when(client_certificate(|of: &Certificate| of.issuer() == "CN=old CA")).reply(json!({}));
/// ```
#[must_use]
pub fn client_certificate<How>(expected: impl IntoCertificateExpectation<How>) -> impl Matcher {
    ClientCertificate(expected.into_expectation())
}

/// The call came on this [connection](Call::connection_id), counted from 1.
#[must_use]
pub fn connection(id: u64) -> impl Matcher {
    Connection(id)
}

/// A text that is expected, or a closure that accepts it. See [`metadata`].
///
/// `How` tells the two apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an expectation of a text",
    note = "expected a text, or a closure whose argument type is written out: `|value: &str| …`"
)]
pub trait IntoTextExpectation<How> {
    /// The expectation.
    fn into_expectation(self) -> TextExpectation;
}

/// What a text must be. See [`IntoTextExpectation`].
pub struct TextExpectation(Inner);

impl Debug for TextExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a secret.
        f.write_str("TextExpectation")
    }
}

enum Inner {
    Bytes(Vec<u8>),
    Closure(Box<dyn Fn(&str) -> bool + Send + Sync>),
    Text(String),
}

impl<T: Into<String>> IntoTextExpectation<crate::mock::matcher::how::Value> for T {
    fn into_expectation(self) -> TextExpectation {
        TextExpectation(Inner::Text(self.into()))
    }
}

impl<F: Fn(&str) -> bool + Send + Sync + 'static>
    IntoTextExpectation<crate::mock::matcher::how::Closure> for F
{
    fn into_expectation(self) -> TextExpectation {
        TextExpectation(Inner::Closure(Box::new(self)))
    }
}

/// The name of a certificate, or a closure that accepts one. See [`client_certificate`].
///
/// `How` tells the two apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an expectation of a certificate",
    note = "expected a name, or a closure whose argument type is written out: `|of: &Certificate| …`"
)]
pub trait IntoCertificateExpectation<How> {
    /// The expectation.
    fn into_expectation(self) -> CertificateExpectation;
}

/// What a certificate must be. See [`IntoCertificateExpectation`].
pub struct CertificateExpectation(Expected);

enum Expected {
    Closure(Box<dyn Fn(&Certificate) -> bool + Send + Sync>),
    Name(String),
}

impl Debug for CertificateExpectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Expected::Closure(_) => f.write_str("a closure over the client's certificate"),
            Expected::Name(name) => write!(f, "a client certificate for `{name}`"),
        }
    }
}

impl<T: Into<String>> IntoCertificateExpectation<crate::mock::matcher::how::Value> for T {
    fn into_expectation(self) -> CertificateExpectation {
        CertificateExpectation(Expected::Name(self.into()))
    }
}

impl<F: Fn(&Certificate) -> bool + Send + Sync + 'static>
    IntoCertificateExpectation<crate::mock::matcher::how::Closure> for F
{
    fn into_expectation(self) -> CertificateExpectation {
        CertificateExpectation(Expected::Closure(Box::new(self)))
    }
}

struct ClientCertificate(CertificateExpectation);

impl Matcher for ClientCertificate {
    fn matches(&self, call: &Call) -> bool {
        let accepted = |certificate: &Certificate| match &self.0.0 {
            Expected::Closure(accepts) => accepts(certificate),
            Expected::Name(name) => certificate.has_name(name),
        };
        call.client_certificate().is_some_and(accepted)
    }

    fn describe(&self) -> String {
        format!("{:?}", self.0)
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        Mismatch::new(match (call.client_certificate(), &self.0.0) {
            (None, _) => "the client has no certificate".to_owned(),
            (Some(came), Expected::Closure(_)) => format!("the closure does not accept {came}"),
            (Some(came), Expected::Name(name)) => {
                let names = came.names().join(", ");
                format!("wanted `{name}`, came {came} with the names [{names}]")
            }
        })
    }

    fn reads_messages(&self) -> bool {
        false
    }
}

struct Metadata {
    key: String,
    expected: TextExpectation,
}

impl Metadata {
    fn accepts(&self, value: &HeaderValue) -> bool {
        match &self.expected.0 {
            Inner::Bytes(wanted) => binaries(value).any(|bytes| bytes == *wanted),
            Inner::Closure(accepts) => accepts(&String::from_utf8_lossy(value.as_bytes())),
            Inner::Text(wanted) => value.as_bytes() == wanted.as_bytes(),
        }
    }
}

/// The bytes of a `-bin` value, with or without padding; of several, if they were joined by commas on the way.
fn binaries(value: &HeaderValue) -> impl Iterator<Item = Vec<u8>> + '_ {
    let texts = value.to_str().unwrap_or_default().split(',');
    texts.filter_map(|text| {
        let text = text.trim().trim_end_matches('=');
        BASE64_STANDARD_NO_PAD.decode(text).ok()
    })
}

impl Matcher for Metadata {
    fn matches(&self, call: &Call) -> bool {
        let values = call.metadata().as_ref().get_all(&self.key);
        values.iter().any(|value| self.accepts(value))
    }

    fn describe(&self) -> String {
        format!("metadata `{}`", self.key)
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        let hidden = call.hides(&self.key);
        let values = call.metadata().as_ref().get_all(&self.key);
        let values: Vec<_> = values
            .iter()
            .map(|value| format!("{:?}", text(value)))
            .collect();
        let came = if values.is_empty() {
            "nothing".to_owned()
        } else {
            values.join(" and ")
        };
        Mismatch::new(match &self.expected.0 {
            Inner::Closure(_) => format!("the closure does not accept {came}"),
            _ if hidden => format!("wanted {REDACTED:?}, came {came}"),
            Inner::Bytes(wanted) => {
                let wanted = BASE64_STANDARD_NO_PAD.encode(wanted);
                format!("wanted {wanted:?}, came {came}")
            }
            Inner::Text(wanted) => format!("wanted {wanted:?}, came {came}"),
        })
    }

    fn reads_messages(&self) -> bool {
        false
    }
}

struct Absent(String);

impl Matcher for Absent {
    fn matches(&self, call: &Call) -> bool {
        !call.metadata().as_ref().contains_key(&self.0)
    }

    fn describe(&self) -> String {
        format!("no metadata `{}`", self.0)
    }

    fn mismatch(&self, _: &Call) -> Mismatch {
        Mismatch::new("it is there")
    }

    fn reads_messages(&self) -> bool {
        false
    }
}

struct Deadline<R>(R);

impl<R: RangeBounds<Duration> + Send + Sync> Matcher for Deadline<R> {
    fn matches(&self, call: &Call) -> bool {
        call.timeout().is_some_and(|left| self.0.contains(&left))
    }

    fn describe(&self) -> String {
        format!("a deadline, {} away", range_text(&self.0))
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        let wanted = range_text(&self.0);
        Mismatch::new(match call.timeout() {
            Some(left) => format!("wanted {wanted}, came {left:?}"),
            None => format!("wanted {wanted}, came no deadline"),
        })
    }

    fn reads_messages(&self) -> bool {
        false
    }
}

/// `2s to 3s`, `at least 2s`, as people say it.
fn range_text<T: Debug>(range: &impl RangeBounds<T>) -> String {
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

struct NoDeadline;

impl Matcher for NoDeadline {
    fn matches(&self, call: &Call) -> bool {
        call.timeout().is_none()
    }

    fn describe(&self) -> String {
        "no deadline".to_owned()
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        Mismatch::new(format!("came {:?}", call.timeout().unwrap_or_default()))
    }

    fn reads_messages(&self) -> bool {
        false
    }
}

struct Peer<F>(F);

impl<F: Fn(&Address) -> bool + Send + Sync> Matcher for Peer<F> {
    fn matches(&self, call: &Call) -> bool {
        (self.0)(call.peer())
    }

    fn describe(&self) -> String {
        "a closure over the peer".to_owned()
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        Mismatch::new(format!("the closure does not accept {}", call.peer()))
    }

    fn reads_messages(&self) -> bool {
        false
    }
}

struct Connection(u64);

impl Matcher for Connection {
    fn matches(&self, call: &Call) -> bool {
        call.connection_id() == self.0
    }

    fn describe(&self) -> String {
        format!("connection {}", self.0)
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        let (wanted, came) = (self.0, call.connection_id());
        Mismatch::new(format!("wanted {wanted}, came {came}"))
    }

    fn reads_messages(&self) -> bool {
        false
    }
}
