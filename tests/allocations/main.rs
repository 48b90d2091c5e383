//! How many allocations a call costs the mock that records it, and the client that makes it: a regression shows by that
//! without a clock. They have a binary of their own, as the counting allocator serves a whole program.
//!
//! Only one thread is counted each time, and the other side runs on another: a bare tonic client for the mock.

use allocation_counter::measure;
use rpcplugin_testkit::{Client, MockServer, Reply, Stub};
use std::thread;
use tokio::{runtime::Builder, sync::oneshot};
use tonic::{
    Request,
    client::{Grpc, GrpcService},
    codegen::{Body, Bytes, StdError, http::uri::PathAndQuery},
    transport::Endpoint,
};
use tonic_prost::ProstCodec;

const WARM_UP: u64 = 200;
const CALLS: u64 = 1000;
/// How many a recorded call may take. Many are `h2`'s own; with bare tonic as the server there are about nineteen more.
const MOST: u64 = 18;
/// How many a call may take for who makes it, generated code and `h2` included.
const CLIENT_MOST: u64 = 32;

#[test]
fn a_recorded_unary_call_costs_few_allocations() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(MockServer::start());
    let reply = Reply::message(&"a reply of twenty-six bytes".to_owned());
    server.mount(Stub::method("test.Echo/Say").reply(reply));

    let (warm, is_warm) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    let uri = server.uri();
    let client = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
            let mut grpc = Grpc::new(channel);
            call(&mut grpc, WARM_UP).await;
            warm.send(()).unwrap();
            call(&mut grpc, CALLS).await;
            done.send(()).unwrap();
        });
    });

    runtime.block_on(is_warm).unwrap();
    let measured = measure(|| runtime.block_on(is_done).unwrap());
    client.join().unwrap();

    // Counted while it was recorded.
    assert_eq!(server.calls().len() as u64, WARM_UP + CALLS);
    let each = measured.count_total.div_ceil(CALLS);
    assert!(each <= MOST, "{each} allocations a call, {MOST} at most");
    // Otherwise the mock's thread was not the one that was measured.
    assert!(
        each >= 5,
        "{each} allocations a call are too few to be true"
    );
}

#[test]
fn a_unary_call_costs_its_client_few_allocations() {
    let (started, is_started) = oneshot::channel();
    let (done, is_done) = oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = MockServer::start().await;
            let reply = Reply::message(&"a reply of twenty-six bytes".to_owned());
            server.mount(Stub::method("test.Echo/Say").reply(reply));
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
        let request = Request::new("a text of twenty-six bytes".to_owned());
        let path = PathAndQuery::from_static("/test.Echo/Say");
        let codec = ProstCodec::<String, String>::default();
        let reply = grpc.unary(request, path, codec).await.expect("a reply");
        assert_eq!(reply.into_inner(), "a reply of twenty-six bytes");
    }
}
