//! One failure of each layer, as a test injects it, and what the client makes of it.
//!
//! ```console
//! cargo run --example faults
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::{Client, Code, Error, Fault, MockServer, Reason, Status, Stub, json};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let server = MockServer::start().await;
    server.mount(Stub::any().reply(json!({"value": 1})));
    let client = Client::connect(server.address()).await?;

    // RPC: the first two calls fail, before any stub is asked.
    let warming = Fault::status(Status::unavailable("warming up"));
    let warming = server.inject(warming.method("Get").at_most(2));
    for _ in 0..2 {
        assert_eq!(get(&client).await, Err(Some(Code::Unavailable)));
    }
    assert_eq!(get(&client).await, Ok(()));
    println!("RPC: {warming:?}");

    // An HTTP/2 stream: the reply is lost behind its headers, though the stub has answered.
    let lost = server.inject_scoped(Fault::reset_after_headers(Reason::INTERNAL_ERROR).times(1));
    assert_eq!(get(&client).await, Err(Some(Code::Internal)));
    println!("HTTP/2 stream: {:?}", *lost);
    drop(lost);

    // An HTTP/2 connection: it is told to go, and the next call goes by another.
    let told = server.inject(Fault::go_away(Reason::NO_ERROR).method("Get").once());
    assert_eq!(get(&client).await, Ok(()));
    assert_eq!(get(&client).await, Ok(()));
    let connections = server.calls().into_iter().map(|call| call.connection_id());
    println!("HTTP/2 connection: {told:?}, {:?}", connections.last());

    // The byte stream: everything is late, until the guard drops.
    {
        let late = server.inject_scoped(Fault::latency(Duration::from_secs(3600)).outgoing());
        let call = client
            .call("Get", json!({}))
            .timeout(Duration::from_millis(20));
        assert!(call.await.is_err_and(|error| error.is_timeout()));
        println!("byte stream: {:?}", *late);
    }

    // The byte stream: cut exactly while a call is in flight.
    let cut = server.inject(Fault::cut_by_reset().method("Put").held());
    let put = client.call("Put", json!({})).into_future();
    let put = tokio::spawn(put);
    cut.hit().await;
    cut.release(1);
    assert!(put.await.is_ok_and(|called| called.is_err()));
    println!("byte stream: {cut:?}");

    // The listener: who dials is refused.
    let refusal = server.inject(Fault::refuse());
    assert!(Client::connect(server.address()).await.is_err());
    refusal.remove();
    Client::connect(server.address()).await?;
    println!("listener: {refusal:?}");

    println!("the journal:\n{}", server.journal());
    Ok(())
}

/// The code, if it fails.
async fn get(client: &Client) -> Result<(), Option<Code>> {
    let called = client.call("Get", json!({})).wait_for_ready().await;
    called.map(drop).map_err(|error| error.code())
}
