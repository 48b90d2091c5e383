//! wiremock-grpc. It records headers, and stops never.

use crate::contestants::Running;
use crate::echo::EchoReply;
use crate::load::HEADER;
use wiremock_grpc::{MockBuilder, Then as _, generate_svc};

generate_svc! {
    package echo.v1;
    service Echo as Mock {
        Say,
    }
}

/// With one stub.
pub async fn wiremock(reply: &EchoReply) -> Running {
    let mut server = Mock::start_default().await;
    let stub = MockBuilder::when().path_say().then();
    server.setup(stub.return_body(|| reply.clone()));
    running("wiremock-grpc", server)
}

/// With so many stubs that each want another value of a header: `0`, `1` … It asks them in this order.
pub async fn wiremock_by_header(name: &'static str, stubs: usize, reply: &EchoReply) -> Running {
    let mut server = Mock::start_default().await;
    for number in 0..stubs {
        let when = MockBuilder::when().path_say();
        let when = when.header(HEADER, number.to_string());
        server.setup(when.then().return_body(|| reply.clone()));
    }
    running(name, server)
}

fn running(name: &'static str, server: Mock) -> Running {
    let uri = format!("http://{}", server.address());
    // Dropping it panics about stubs that were not called, and stops nothing.
    Running::new(name, uri, std::mem::ManuallyDrop::new(server))
}
