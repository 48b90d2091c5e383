//! Faults of the RPC layer.

use crate::mock::fault::effect::{CallEffect, Mangle};
use crate::mock::fault::spec::Fault;
use crate::mock::reply::Delay;
use crate::wire::status;
use http::{HeaderValue, StatusCode};
use tonic::Status;

/// RPC: the answer to a call is late, or wrong.
impl Fault {
    /// Holds the answer back this long, on tokio's clock: a `Duration`, or a [`Delay`]. Its stub is chosen before, and its closure runs after; with
    /// [`after_messages`](Self::after_messages) the answer stops there for so long.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::delay(Duration::from_secs(3600)).nth_call(2));
    ///
    /// let client = server.client().await;
    /// client.call("Get", json!({})).await.unwrap();
    /// let late = client.call("Get", json!({})).timeout(Duration::from_millis(50)).await;
    /// assert!(late.unwrap_err().is_timeout());
    /// # }
    /// ```
    pub fn delay(delay: impl Into<Delay>) -> Self {
        Self::call("Fault::delay", CallEffect::Delay(delay.into()))
    }

    /// Holds the answer back until it is [released](crate::mock::InjectedFault::release), or the fault is taken away: a call that
    /// hangs for as long as the test wants.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let hold = server.inject(Fault::hold().method("Get"));
    /// let client = server.client().await;
    /// let call = tokio::spawn(async move { client.call("Get", json!({})).await });
    ///
    /// hold.hit().await;
    /// assert!(!call.is_finished());
    /// hold.release(1);
    /// call.await.unwrap().unwrap();
    /// # }
    /// ```
    pub fn hold() -> Self {
        Self::call("Fault::hold", CallEffect::Hold)
    }

    /// Answers with this status, its details and its metadata, and asks no stub and no service. With
    /// [`after_messages`](Self::after_messages) the answer breaks off there with it.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Status, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::status(Status::unavailable("warming up")).at_most(2));
    ///
    /// let client = server.client().await;
    /// for _ in 0..2 {
    ///     let error = client.call("Get", json!({})).await.unwrap_err();
    ///     assert_eq!(error.code(), Some(Code::Unavailable));
    /// }
    /// client.call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    pub fn status(status: Status) -> Self {
        let name = format!("Fault::status({})", status::name(status.code()));
        Self::call(name, CallEffect::Status(Box::new(status)))
    }

    /// Leaves the next message of the answer out. A unary call gets a status without a reply.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::no_message());
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Internal));
    /// # }
    /// ```
    pub fn no_message() -> Self {
        Self::mangle("Fault::no_message", Mangle::NoMessage)
    }

    /// Sends the next message of the answer twice. A unary call gets two replies.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::two_messages());
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Internal));
    /// # }
    /// ```
    pub fn two_messages() -> Self {
        Self::mangle("Fault::two_messages", Mangle::TwoMessages)
    }

    /// Ends the answer without `grpc-status`.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::missing_status());
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unknown));
    /// # }
    /// ```
    pub fn missing_status() -> Self {
        Self::mangle("Fault::missing_status", Mangle::MissingStatus)
    }

    /// Ends the answer with this in the place of a status code.
    ///
    /// # Panics
    ///
    /// When it cannot be a header's value.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::malformed_status("fine"));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unknown));
    /// # }
    /// ```
    #[track_caller]
    pub fn malformed_status(status: &str) -> Self {
        let status = header_value(status);
        Self::mangle("Fault::malformed_status", Mangle::MalformedStatus(status))
    }

    /// Puts the status into the response's headers, and sends no trailers behind the messages: the mistake of servers that take
    /// `grpc-status` for a header. gRPC's C core and grpc-go fail the call; tonic takes an `OK`.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let fault = server.inject(Fault::status_in_headers());
    ///
    /// let _tonic_takes_it = server.client().await.call("Get", json!({})).await;
    /// assert_eq!(fault.hits(), 1);
    /// # }
    /// ```
    pub fn status_in_headers() -> Self {
        Self::mangle("Fault::status_in_headers", Mangle::StatusInHeaders)
    }

    /// Answers with this content type.
    ///
    /// # Panics
    ///
    /// When it cannot be a header's value.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::content_type("text/html"));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unknown));
    /// # }
    /// ```
    #[track_caller]
    pub fn content_type(value: &str) -> Self {
        let value = header_value(value);
        Self::mangle("Fault::content_type", Mangle::ContentType(value))
    }

    /// Answers with this HTTP status and a page of HTML, as a proxy in front of the server does. Clients
    /// [map it](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md) to a code; tonic takes the page for a message
    /// first, and fails the call with `INTERNAL`.
    ///
    /// # Panics
    ///
    /// When it is not from 200 to 999.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::http_status(503));
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unavailable));
    /// # }
    /// ```
    #[track_caller]
    pub fn http_status(status: u16) -> Self {
        let known = StatusCode::from_u16(status).ok();
        let Some(known) = known.filter(|status| !status.is_informational()) else {
            panic!("{status} is no HTTP status of a response: those are from 200 to 999");
        };
        let name = format!("Fault::http_status({status})");
        Self::mangle(name, Mangle::HttpStatus(known))
    }

    /// Says that the next message is compressed by gzip, which it is not. Clients fail the call with `INTERNAL`, or with
    /// `UNIMPLEMENTED` when they take no gzip at all (tonic by default).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::bad_compression());
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Internal));
    /// # }
    /// ```
    pub fn bad_compression() -> Self {
        Self::mangle("Fault::bad_compression", Mangle::BadCompression)
    }

    /// Sends bytes in the place of the next message that are no message of any type.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::garbage_message());
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap_err();
    /// # }
    /// ```
    pub fn garbage_message() -> Self {
        Self::mangle("Fault::garbage_message", Mangle::Garbage)
    }

    /// Sends the first half of the next message, and what comes after it: its length says that there is more.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::truncated_message());
    ///
    /// let error = server.client().await.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Internal));
    /// # }
    /// ```
    pub fn truncated_message() -> Self {
        Self::mangle("Fault::truncated_message", Mangle::Truncated)
    }

    /// Sends a message of so many bytes in the place of the next: one that is valid, and all of an unknown field. Clients take up to
    /// 4 MiB by default, and fail the call with `RESOURCE_EXHAUSTED` (tonic: `OUT_OF_RANGE`).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// server.inject(Fault::oversized_message(5 << 20));
    ///
    /// server.client().await.call("Get", json!({})).await.unwrap_err();
    /// # }
    /// ```
    pub fn oversized_message(bytes: usize) -> Self {
        Self::mangle("Fault::oversized_message", Mangle::OversizedMessage(bytes))
    }

    /// Adds metadata of so many bytes to the response's headers, under the key `x-oversized`. Clients have
    /// [limits](https://grpc.io/docs/guides/metadata/) from 8 KiB to some MiB; `h2` takes 16 MiB if it is not told otherwise.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let fault = server.inject(Fault::oversized_metadata(20_000));
    ///
    /// let _whatever_the_client_makes_of_it = server.client().await.call("Get", json!({})).await;
    /// assert_eq!(fault.hits(), 1);
    /// # }
    /// ```
    pub fn oversized_metadata(bytes: usize) -> Self {
        Self::mangle(
            "Fault::oversized_metadata",
            Mangle::OversizedMetadata(bytes),
        )
    }
}

#[track_caller]
fn header_value(text: &str) -> HeaderValue {
    match HeaderValue::from_str(text) {
        Ok(value) => value,
        Err(_) => panic!("{text:?} cannot be the value of a header"),
    }
}
