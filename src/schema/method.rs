//! One method of a schema.

use http::uri::PathAndQuery;
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use prost_types::method_options;
use std::fmt;

/// Which sides of a call are streams.
///
/// See [the four kinds of service method](https://grpc.io/docs/what-is-grpc/core-concepts/#rpc-life-cycle).
///
/// ```
/// use rpcplugin_testkit::Shape;
///
/// assert!(Shape::BidiStreaming.streams_requests());
/// assert_eq!(Shape::ServerStreaming.to_string(), "server-streaming");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "gRPC has these four and no others")]
pub enum Shape {
    /// Many requests, many replies.
    BidiStreaming,
    /// Many requests, one reply.
    ClientStreaming,
    /// One request, many replies.
    ServerStreaming,
    /// One request, one reply.
    Unary,
}

impl Shape {
    fn of(method: &MethodDescriptor) -> Self {
        match (method.is_client_streaming(), method.is_server_streaming()) {
            (true, true) => Self::BidiStreaming,
            (true, false) => Self::ClientStreaming,
            (false, true) => Self::ServerStreaming,
            (false, false) => Self::Unary,
        }
    }

    /// Whether the client sends a stream.
    #[must_use]
    pub const fn streams_requests(self) -> bool {
        matches!(self, Self::BidiStreaming | Self::ClientStreaming)
    }

    /// Whether the server sends a stream.
    #[must_use]
    pub const fn streams_replies(self) -> bool {
        matches!(self, Self::BidiStreaming | Self::ServerStreaming)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BidiStreaming => "bidi-streaming",
            Self::ClientStreaming => "client-streaming",
            Self::ServerStreaming => "server-streaming",
            Self::Unary => "unary",
        })
    }
}

/// One method of a [`Schema`](crate::Schema).
#[derive(Clone, Debug)]
pub struct Method {
    path: PathAndQuery,
    shape: Shape,
    input: MessageDescriptor,
    output: MessageDescriptor,
    idempotent: bool,
}

fn is_idempotent(descriptor: &MethodDescriptor) -> bool {
    let options = descriptor.method_descriptor_proto().options.as_ref();
    options.is_some_and(|options| {
        matches!(
            options.idempotency_level(),
            method_options::IdempotencyLevel::NoSideEffects
                | method_options::IdempotencyLevel::Idempotent
        )
    })
}

impl Method {
    pub(super) fn new(descriptor: &MethodDescriptor) -> Option<Self> {
        let service = descriptor.parent_service().full_name().to_owned();
        let path = format!("/{service}/{}", descriptor.name());
        Some(Self {
            path: PathAndQuery::try_from(path).ok()?,
            shape: Shape::of(descriptor),
            input: descriptor.input(),
            output: descriptor.output(),
            idempotent: is_idempotent(descriptor),
        })
    }

    /// Whether the schema says that it may be called more than once with the effect of once: its option `idempotency_level` is
    /// `NO_SIDE_EFFECTS` or `IDEMPOTENT`
    /// ([descriptor.proto](https://github.com/protocolbuffers/protobuf/blob/main/src/google/protobuf/descriptor.proto)).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The path on the wire: `/pkg.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    pub(crate) fn path_and_query(&self) -> &PathAndQuery {
        &self.path
    }

    /// The full name: `pkg.Service/Method`.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.path()[1..]
    }

    /// The full name of its service: `pkg.Service`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.full_name()
            .rsplit_once('/')
            .map_or("", |(service, _)| service)
    }

    /// Which sides are streams.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The type of a request message.
    #[must_use]
    pub fn input(&self) -> &MessageDescriptor {
        &self.input
    }

    /// The type of a reply message.
    #[must_use]
    pub fn output(&self) -> &MessageDescriptor {
        &self.output
    }
}
