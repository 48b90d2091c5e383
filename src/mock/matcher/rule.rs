//! What a matcher is.

use crate::mock::journal::Call;
use crate::schema::Method;

/// Decides whether a stub is for a call.
///
/// A closure over the call is one, and so is JSON, which the request must equal: numbers by value, and fields that are
/// left out count as their defaults. The functions of [`matchers`](crate::matchers) make all others.
///
/// ```
/// # use rpcplugin_testkit::{Call, MockServer, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// server.mount(Stub::method("Get").when(json!({"id": 1})).reply(json!({"name": "one"})));
/// server.mount(Stub::method("Get").when(|call: &Call| call.request()["id"] == 2).reply(json!({"name": "two"})));
///
/// let client = server.client().await;
/// assert_eq!(client.call("Get", json!({"id": 2})).await.unwrap()["name"], "two");
/// # }
/// ```
///
/// It may be asked more than once for a call, and from several threads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a matcher",
    label = "not a matcher",
    note = "a stub's condition is JSON, one of `matchers::…`, or a closure whose argument type is written out: `|call: &Call|`"
)]
pub trait Matcher: Send + Sync {
    /// Whether this call is meant.
    ///
    /// A call whose client streams has all its messages here, and one with streams both ways has its first.
    fn matches(&self, call: &Call) -> bool;

    /// What it wants, in a few words, for failure messages.
    fn describe(&self) -> String {
        "a closure".to_owned()
    }

    /// Why this call is not meant, for failure messages. It is asked only of a call that is not.
    fn mismatch(&self, _call: &Call) -> Mismatch {
        Mismatch::new("it says no")
    }

    /// Called once, when its stub is mounted on a server whose schema has the stub's method.
    ///
    /// # Errors
    ///
    /// What can never match, such as JSON with a field that the request's type has not. Mounting panics with the text.
    fn prepare(&mut self, _method: &Method) -> Result<(), String> {
        Ok(())
    }

    /// Whether it looks at messages. If no matcher of a stub does, a call that streams both ways is answered before its
    /// first message.
    fn reads_messages(&self) -> bool {
        true
    }

    /// The hash that the JSON of the request has if this accepts it, so that stubs that want other JSON are not asked.
    #[doc(hidden)]
    fn request_hash(&self) -> Option<u64> {
        None
    }

    #[doc(hidden)]
    fn boxed(self) -> Box<dyn Matcher>
    where
        Self: Sized + 'static,
    {
        Box::new(self)
    }
}

impl<F: Fn(&Call) -> bool + Send + Sync> Matcher for F {
    fn matches(&self, call: &Call) -> bool {
        self(call)
    }
}

/// Why a matcher did not accept a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    lines: Vec<String>,
    /// How far the call is from what was wanted: the stub with the least is the nearest.
    differences: usize,
}

/// How many differences are told.
const TOLD: usize = 10;

impl Mismatch {
    /// One difference, in words: `wanted "a", came "b"`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self::of([text])
    }

    /// Several differences.
    #[must_use]
    pub fn of(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut lines: Vec<String> = texts.into_iter().map(Into::into).collect();
        let differences = lines.len();
        if lines.len() > TOLD {
            lines.truncate(TOLD);
            lines.push(format!("… and {} more", differences - TOLD));
        }
        Self { lines, differences }
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(crate) fn differences(&self) -> usize {
        self.differences
    }
}
