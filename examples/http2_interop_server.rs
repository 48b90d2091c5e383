//! The server of gRPC's [negative HTTP/2 interop tests](https://github.com/grpc/grpc/blob/master/doc/negative-http2-interop-test-descriptions.md):
//! the negative client of any language can be run against it.
//!
//! ```console
//! cargo run --example http2_interop_server 8080           # all cases, on ports 8080 to 8087, in the order of `CASES`
//! cargo run --example http2_interop_server 8080 goaway    # one case
//! cargo run --example http2_interop_server                # plays the client too, and ends
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::{Call, Client, Code, Error, Fault, MockServer, Reason, Reply, Stub};
use std::{
    env,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
};

/// As the server in gRPC's own repository numbers them.
pub(crate) const CASES: [&str; 8] = [
    "data_frame_padding",
    "goaway",
    "max_streams",
    "no_df_padding_sanity_test",
    "ping",
    "rst_after_data",
    "rst_after_header",
    "rst_during_data",
];
const UNARY_CALL: &str = "/grpc.testing.TestService/UnaryCall";

/// What a case makes of a call.
fn inject(server: &MockServer, case: &str) {
    match case {
        "data_frame_padding" => {
            server.inject(Fault::frame_size(5));
            server.inject(Fault::padding(255));
        }
        "goaway" => {
            server.inject(Fault::go_away(Reason::NO_ERROR).nth_call_on_connection(1));
        }
        "max_streams" => {
            server.inject(Fault::max_concurrent_streams(1));
        }
        "no_df_padding_sanity_test" => {
            server.inject(Fault::frame_size(5));
        }
        "ping" => {
            server.inject(Fault::pings(1).nth_call(1..));
            server.inject(Fault::pings(1).after_messages(0));
            server.inject(Fault::pings(1).after_messages(1));
        }
        "rst_after_data" => {
            server.inject(Fault::reset_before_trailers(Reason::NO_ERROR));
        }
        "rst_after_header" => {
            server.inject(Fault::reset_after_headers(Reason::NO_ERROR));
        }
        "rst_during_data" => {
            server.inject(Fault::reset_mid_message(Reason::NO_ERROR));
        }
        unknown => panic!("{unknown} is none of the cases {CASES:?}"),
    }
}

pub(crate) async fn serve(case: &str, port: u16) -> Result<MockServer, Error> {
    let builder = MockServer::builder().address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let server = builder.verify_on_drop(false).try_start().await?;
    server.mount(Stub::method(UNARY_CALL).reply(answer));
    inject(&server, case);
    println!("{case}: {}", server.address());
    Ok(server)
}

/// As many bytes as are asked for.
fn answer(call: &Call) -> Reply {
    let request: SimpleRequest = call.message().expect("a SimpleRequest");
    let size = usize::try_from(request.response_size).unwrap_or_default();
    let body = vec![0; size];
    let payload = Some(Payload { body });
    Reply::message(&SimpleResponse { payload })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = env::args().skip(1);
    let Some(port) = arguments.next() else {
        return play_all().await;
    };
    let port: u16 = port.parse().expect("the first argument is a port");
    let mut servers = Vec::new();
    match arguments.next() {
        Some(case) => servers.push(serve(&case, port).await?),
        None => {
            for (case, port) in CASES.iter().zip(port..) {
                servers.push(serve(case, port).await?);
            }
        }
    }
    pending().await
}

/// The client's side, as the descriptions have it.
pub(crate) async fn play_all() -> Result<(), Error> {
    for case in CASES {
        let server = serve(case, 0).await?;
        let client = Client::connect(server.address()).await?;
        let calls = match case {
            "goaway" => 2,
            "max_streams" => 10,
            _ => 1,
        };
        let mut running = Vec::new();
        for _ in 0..calls {
            let client = client.clone();
            let call = tokio::spawn(async move { large_unary(&client).await });
            if case == "goaway" {
                assert_eq!(call.await.expect("no panic"), Ok(RESPONSE));
            } else {
                running.push(call);
            }
        }
        for call in running {
            let expected = match case {
                "rst_after_data" | "rst_after_header" | "rst_during_data" => {
                    Err(Some(Code::Internal))
                }
                _ => Ok(RESPONSE),
            };
            assert_eq!(call.await.expect("no panic"), expected, "{case}");
        }
        println!("  {calls} × as it should be");
    }
    Ok(())
}

pub(crate) const RESPONSE: usize = 314_159;

/// The size of the response, or the code of the failure.
async fn large_unary(client: &Client) -> Result<usize, Option<Code>> {
    let request = SimpleRequest {
        response_size: i32::try_from(RESPONSE).expect("it fits"),
        payload: Some(Payload {
            body: vec![0; 271_828],
        }),
    };
    let called = client.unary::<SimpleRequest, SimpleResponse>(UNARY_CALL, request);
    match called.wait_for_ready().await {
        Ok(response) => Ok(response.payload.unwrap_or_default().body.len()),
        Err(error) => Err(error.code()),
    }
}

/// `grpc.testing`'s messages, as far as the cases need them.
#[derive(Clone, PartialEq, prost::Message)]
struct SimpleRequest {
    #[prost(int32, tag = "2")]
    response_size: i32,
    #[prost(message, optional, tag = "3")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SimpleResponse {
    #[prost(message, optional, tag = "1")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
}
