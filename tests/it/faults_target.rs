//! What faults happen to: all that can serve a call.

use crate::probe::{Wire, said};
use crate::services::Real;
use crate::support::echo::echo_server::EchoServer;
use rpcplugin_testkit::{Code, MockServer, Reply, Stub, json};

/// What serves the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A stub with a reply.
    Unary,
    /// A stub with three replies.
    Streaming,
    /// A stub with a status and nothing else.
    StatusOnly,
    /// A service of tonic's, behind the stubs.
    Service,
    /// One that answers with a status and nothing else.
    ServiceStatus,
    /// The mock's own.
    Check,
    /// One that does not end.
    Watch,
}

impl Target {
    pub(crate) const ALL: [Self; 7] = [
        Self::Unary,
        Self::Streaming,
        Self::StatusOnly,
        Self::Service,
        Self::ServiceStatus,
        Self::Check,
        Self::Watch,
    ];

    pub(crate) async fn start(wire: Wire) -> MockServer {
        let server = wire.start().await;
        server.mount(
            Stub::method("Squawk")
                .reply(json!({"message": "hi"}))
                .times(0..),
        );
        let words = ["a", "b", "c"].map(|word| json!({"message": word}));
        server.mount(Stub::method("Split").reply(Reply::stream(words)).times(0..));
        let gone = Reply::status(Code::NotFound, "gone");
        server.mount(Stub::method("Parrot/Say").reply(gone).times(0..));
        server.mount_service(EchoServer::new(Real));
        server
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Unary => "/echo.v1.Parrot/Squawk",
            Self::Streaming => "/echo.v1.Echo/Split",
            Self::StatusOnly => "/echo.v1.Parrot/Say",
            Self::Service | Self::ServiceStatus => "/echo.v1.Echo/Say",
            Self::Check => "/grpc.health.v1.Health/Check",
            Self::Watch => "/grpc.health.v1.Health/Watch",
        }
    }

    pub(crate) fn request(self) -> Vec<u8> {
        match self {
            Self::Check | Self::Watch => Vec::new(),
            Self::ServiceStatus => said("fail"),
            _ => said("x"),
        }
    }

    /// The messages of its answer.
    pub(crate) fn replies(self) -> Vec<Vec<u8>> {
        match self {
            Self::Unary => vec![said("hi")],
            Self::Streaming => ["a", "b", "c"].map(said).to_vec(),
            Self::StatusOnly | Self::ServiceStatus => Vec::new(),
            Self::Service => vec![said("real x")],
            // SERVING.
            Self::Check | Self::Watch => vec![vec![8, 1]],
        }
    }

    /// What it ends with.
    pub(crate) fn end(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::StatusOnly => Some(("5", "gone")),
            Self::ServiceStatus => Some(("15", "gone")),
            Self::Watch => None,
            _ => Some(("0", "")),
        }
    }

    pub(crate) fn is_own(self) -> bool {
        matches!(self, Self::Check | Self::Watch)
    }
}
