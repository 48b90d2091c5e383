//! A method by which clients log in.

use crate::mock::auth::{Auth, Grant};
use crate::mock::journal::Call;
use crate::mock::reply::Reply;
use crate::mock::stub::Stub;
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Status;

impl Auth {
    /// A stub for a method that is open to everybody and issues a token: to a call with exactly these arguments it replies
    /// `token`, and `expires_in` seconds if the grant has an end; to any other `UNAUTHENTICATED`.
    ///
    /// Its messages are [secret](Stub::secret). It is what [`TokenAuth::login`](crate::TokenAuth::login) calls. Mount it on the server that this guards.
    ///
    /// ```
    /// use rpcplugin_testkit::{Auth, Grant, MockServer, json};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let auth = Auth::tokens();
    /// let server = MockServer::builder().auth(auth.clone()).start().await;
    /// let grant = Grant::new().expires_in(Duration::from_secs(60));
    /// server.mount(auth.login("auth.Authenticate", json!({"api_key": "k-1"}), grant));
    ///
    /// let client = server.client().await;
    /// let reply = client.call("auth.Authenticate", json!({"api_key": "k-1"})).await.unwrap();
    /// assert_eq!(reply["expires_in"], 60);
    /// # }
    /// ```
    #[track_caller]
    pub fn login(&self, method: impl Into<String>, arguments: Value, grant: Grant) -> Stub {
        let method = method.into();
        self.open(method.clone());
        let auth = self.clone();
        let name = method.clone();
        let stub = Stub::method(method).secret();
        stub.reply(move |call: &Call| {
            if *call != (name.as_str(), arguments.clone()) {
                let refusal = Status::unauthenticated("the credentials are wrong");
                return Reply::from(refusal);
            }
            let mut reply = json!({"token": auth.issue(grant.clone())});
            if let Some(lifetime) = grant.lifetime() {
                reply["expires_in"] = seconds(lifetime);
            }
            Reply::from(reply)
        })
    }
}

/// Whole seconds without a fraction, which an integer field takes too.
fn seconds(lifetime: Duration) -> Value {
    if lifetime.subsec_nanos() == 0 {
        json!(lifetime.as_secs())
    } else {
        json!(lifetime.as_secs_f64())
    }
}
