//! The service that everybody here serves and calls, and the messages that go to and fro.

/// Generated.
mod v1 {
    tonic::include_proto!("echo.v1");
}

pub use v1::{EchoReply, EchoRequest, echo_client::EchoClient, echo_server};

/// The encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/echo.bin"));

/// The method that is called, as stubs name it.
pub const SAY: &str = "echo.v1.Echo/Say";

/// Its path on the wire.
pub const SAY_PATH: &str = "/echo.v1.Echo/Say";

/// What is said: with its tag and length 26 bytes.
pub const TEXT: &str = "say this and nothing els";

/// A request of 26 bytes.
pub fn request() -> EchoRequest {
    EchoRequest {
        message: TEXT.to_owned(),
        ..EchoRequest::default()
    }
}

/// A request with so many bytes on top of a little framing.
pub fn request_of(bytes: usize) -> EchoRequest {
    EchoRequest {
        blob: vec![7; bytes],
        ..EchoRequest::default()
    }
}

/// What is answered to it.
pub fn reply_to(request: EchoRequest) -> EchoReply {
    EchoReply {
        message: request.message,
        count: 0,
        blob: request.blob,
    }
}
