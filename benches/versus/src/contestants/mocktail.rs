//! mocktail. It records nothing, and stops never.

use crate::contestants::Running;
use crate::echo::{EchoReply, SAY_PATH};
use mocktail::{MockSet, server::MockServer};

/// With one stub.
pub async fn mocktail(reply: &EchoReply) -> Running {
    let mut mocks = MockSet::new();
    mocks.mock(|when, then| {
        when.path(SAY_PATH);
        then.pb(reply.clone());
    });
    let server = MockServer::new_grpc("echo").with_mocks(mocks);
    server.start().await.expect("a port");
    let port = server.port().expect("it runs");
    Running::new("mocktail", format!("http://127.0.0.1:{port}"), server)
}
