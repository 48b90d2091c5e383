//! How many allocations a call costs the mock that records it, and the client that makes it: a regression shows by that
//! without a clock. They have a binary of their own, as the counting allocator serves a whole program.
//!
//! Only one thread is counted each time, and the other side runs on another: a bare tonic client for the mock.

use allocation_counter::measure;
use rpcplugin_testkit::{Client, MockServer, Reply, Stub, json, mock::MockServerBuilder};
use std::thread;
use tokio::{runtime::Builder, sync::oneshot};
use tonic::{
    Request,
    client::{Grpc, GrpcService},
    codegen::{Body, Bytes, StdError, http::uri::PathAndQuery},
    transport::Endpoint,
};
use tonic_prost::ProstCodec;

/// The messages of `Get` have one field each, which is on the wire as that of a `String`.
const KV: &[u8] = include_bytes!("../../proto/generated/kv.bin");
const REQUEST: &str = "a text of twenty-six bytes";
const REPLY: &str = "a reply of twenty-six bytes";
const WARM_UP: u64 = 200;
const CALLS: u64 = 1000;
/// How many a recorded call may take. Many are `h2`'s own; with bare tonic as the server there are some twenty more.
const MOST: u64 = 15;
/// How many with a schema, by which the request becomes JSON once.
const JSON_MOST: u64 = 20;
/// How many a call may take for who makes it, generated code and `h2` included.
const CLIENT_MOST: u64 = 32;

#[test]
fn a_recorded_unary_call_costs_few_allocations() {
    let reply = Reply::message(&REPLY.to_owned());
    let each = recorded(
        MockServer::builder(),
        Stub::method("proto.KV/Get").reply(reply),
    );
    assert!(each <= MOST, "{each} allocations a call, {MOST} at most");
    // Otherwise the mock's thread was not the one that was measured.
    assert!(
        each >= 5,
        "{each} allocations a call are too few to be true"
    );
}

#[test]
fn a_call_that_is_matched_and_answered_in_json_costs_few_more() {
    let builder = MockServer::builder().descriptor_set(KV);
    let get = Stub::method("proto.KV/Get").when(json!({"key": REQUEST}));
    let reply = json!({"value": "YSByZXBseSBvZiB0d2VudHktc2l4IGJ5dGVz"}); // REPLY
    let each = recorded(builder, get.reply(reply));
    assert!(
        each <= JSON_MOST,
        "{each} allocations a call, {JSON_MOST} at most"
    );
}

/// Allocations a call on the side of a mock with this stub.
fn recorded(builder: MockServerBuilder, stub: Stub) -> u64 {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime.block_on(builder.start());
    server.mount(stub);

    let (warm, is_warm) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    let uri = server.uri();
    let client = thread::spawn(move || {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(uri).expect("an address");
            let mut grpc = Grpc::new(endpoint.connect().await.expect("a connection"));
            call(&mut grpc, WARM_UP).await;
            warm.send(()).expect("the mock waits");
            call(&mut grpc, CALLS).await;
            done.send(()).expect("the mock waits");
        });
    });

    runtime.block_on(is_warm).expect("it calls");
    let measured = measure(|| runtime.block_on(is_done).expect("it calls"));
    client.join().expect("it does not panic");

    // Counted while it was recorded.
    assert_eq!(server.calls().len() as u64, WARM_UP + CALLS);
    measured.count_total.div_ceil(CALLS)
}

#[test]
fn a_unary_call_costs_its_client_few_allocations() {
    let (started, is_started) = oneshot::channel();
    let (done, is_done) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = MockServer::start().await;
            let reply = Reply::message(&REPLY.to_owned());
            server.mount(Stub::method("proto.KV/Get").reply(reply));
            started.send(server.uri()).unwrap();
            is_done.await.unwrap();
            server.calls().len() as u64
        })
    });

    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut grpc = runtime.block_on(async {
        let uri = is_started.await.unwrap();
        let mut grpc = Grpc::new(Client::connect(uri).await.unwrap());
        call(&mut grpc, WARM_UP).await;
        grpc
    });
    let measured = measure(|| runtime.block_on(call(&mut grpc, CALLS)));
    done.send(()).unwrap();

    assert_eq!(server.join().unwrap(), WARM_UP + CALLS);
    let each = measured.count_total.div_ceil(CALLS);
    assert!(
        each <= CLIENT_MOST,
        "{each} allocations a call, {CLIENT_MOST} at most"
    );
}

/// One after the other, so that the count does not depend on which calls meet.
async fn call<S>(grpc: &mut Grpc<S>, times: u64)
where
    S: GrpcService<tonic::body::Body, Error: Into<StdError>>,
    S::ResponseBody: Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    for _ in 0..times {
        grpc.ready().await.map_err(Into::into).expect("a channel");
        let request = Request::new(REQUEST.to_owned());
        let path = PathAndQuery::from_static("/proto.KV/Get");
        let codec = ProstCodec::<String, String>::default();
        let reply = grpc.unary(request, path, codec).await.expect("a reply");
        assert_eq!(reply.into_inner(), REPLY);
    }
}
