//! Which calls a stub is for.

use crate::mock::journal::Call;
use serde_json::Value;

/// Decides whether a stub is for a call.
///
/// A closure over the call is one, and so is JSON, which the request must equal: numbers by value, and fields that are
/// left out count as their defaults.
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
pub trait Matcher: Send + Sync {
    /// Whether this call is meant.
    ///
    /// A call whose client streams has all its messages here, and one with streams both ways has its first.
    fn matches(&self, call: &Call) -> bool;
}

impl<F: Fn(&Call) -> bool + Send + Sync> Matcher for F {
    fn matches(&self, call: &Call) -> bool {
        self(call)
    }
}

impl Matcher for Value {
    fn matches(&self, call: &Call) -> bool {
        call.request_is(self)
    }
}
