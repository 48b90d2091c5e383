//! How many allocations a recorded call costs the mock: a regression shows by that without a clock. It has a binary of its
//! own, as the counting allocator serves a whole program.
//!
//! Only one thread is counted, which is the mock's: its client, a bare tonic one, runs on another.

use allocation_counter::measure;
use rpcplugin_testkit::{MockServer, Reply, Stub};
use std::thread;
use tokio::{runtime::Builder, sync::oneshot};
use tonic::{Request, client::Grpc, codegen::http::uri::PathAndQuery, transport::Endpoint};
use tonic_prost::ProstCodec;

const WARM_UP: u64 = 200;
const CALLS: u64 = 1000;
/// How many a call may take. Many are `h2`'s own; with bare tonic as the server there are about nineteen more.
const MOST: u64 = 18;

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

/// One after the other, so that the count does not depend on which calls meet.
async fn call(grpc: &mut Grpc<tonic::transport::Channel>, times: u64) {
    for _ in 0..times {
        grpc.ready().await.expect("a channel");
        let request = Request::new("a text of twenty-six bytes".to_owned());
        let path = PathAndQuery::from_static("/test.Echo/Say");
        let codec = ProstCodec::<String, String>::default();
        let reply = grpc.unary(request, path, codec).await.expect("a reply");
        assert_eq!(reply.into_inner(), "a reply of twenty-six bytes");
    }
}
