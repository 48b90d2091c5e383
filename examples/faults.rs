//! What goes wrong, one fault of each layer, and what a client sees of it.
//!
//! ```console
//! cargo run --example faults
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::{
    Client, Code, Error, Fault, MockServer, Reason, Status, Stub, Value, client::Backoff, json,
};
use std::time::Duration;

async fn get(client: &Client) -> Result<Value, Error> {
    client.call("Get", json!({"key": "a"})).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let server = MockServer::start().await;
    server.mount(Stub::method("Get").reply(json!({"value": 1})));
    let backoff = Backoff {
        initial: Duration::from_millis(10),
        ..Backoff::default()
    };
    let builder = Client::builder().address(server.address());
    let client = builder.backoff(backoff).connect().await?;

    // RPC: the next two calls get a status, and the stub does not see them.
    let down = Fault::status(Status::unavailable("warming up")).method("Get");
    let down = server.inject(down.at_most(2));
    for _ in 0..2 {
        let error = get(&client).await.expect_err("it is down");
        assert_eq!(error.code(), Some(Code::Unavailable));
        println!("RPC:         {error}");
    }
    assert_eq!((get(&client).await?, down.hits()), (json!({"value": 1}), 2));

    // HTTP/2: the stub answers, and the reply is lost on its way.
    let lost = server.inject(Fault::reset(Reason::INTERNAL_ERROR).method("Get").once());
    let error = get(&client).await.expect_err("the reply is lost");
    assert_eq!((error.code(), lost.hits()), (Some(Code::Internal), 1));
    println!("HTTP/2:      {error}");

    // The byte stream: the connection ends while the call is in flight, exactly when the test says so.
    let cut = server.inject(Fault::cut_by_reset().method("Get").once().held());
    let held = client.call("Get", json!({"key": "a"}));
    let (error, ()) = tokio::join!(held, async {
        cut.hit().await;
        cut.release(1);
    });
    let error = error.expect_err("the connection is cut");
    assert_eq!(error.code(), Some(Code::Unavailable));
    println!("byte stream: {error}");

    // The listener: nobody gets a connection, until the fault is taken away.
    let refusal = server.inject(Fault::refuse());
    let error = get(&client).await.expect_err("nobody listens");
    assert!(error.is_connect());
    println!("listener:    {error}");
    refusal.remove();
    client
        .call("Get", json!({"key": "a"}))
        .wait_for_ready()
        .await?;

    println!("\nwhat the server saw:\n{}", server.journal());
    Ok(())
}
