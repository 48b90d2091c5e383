//! A pool of direct connections: more callers than connections, taking turns; a server that dies and comes back; and
//! closing.
//!
//! ```console
//! cargo run --example pool
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::client::Backoff;
use rpcplugin_testkit::{Call, Client, Code, Error, MockServer, Pool, Stub, Value, json};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let server = MockServer::start().await;
    server.mount(Stub::method("Process").reply(|call: &Call| json!({"done": call.request()["n"]})));

    // Each lease is a connection of its own, as in a pool of database connections. Without `exclusive` many leases share
    // one, as HTTP/2 is meant to be used.
    let backoff = Backoff {
        initial: Duration::from_millis(10),
        ..Backoff::default()
    };
    let client = Client::builder().backoff(backoff);
    let pool = Pool::builder(server.address())
        .size(2)
        .max(4)
        .exclusive()
        .client(client.timeout(Duration::from_secs(5)))
        .acquire_timeout(Duration::from_secs(10))
        .connect()
        .await?;

    let mut callers = Vec::new();
    for n in 0..20 {
        let pool = pool.clone();
        callers.push(tokio::spawn(async move { process(&pool, n).await }));
    }
    for (n, caller) in callers.into_iter().enumerate() {
        let reply = caller.await.expect("no caller panics")?;
        assert_eq!(reply, json!({"done": n}));
    }
    let stats = pool.stats();
    assert!(stats.size <= 4 && stats.leases == 0, "{stats:?}");
    println!(
        "20 callers shared {} connections, {} of them waited",
        stats.size, stats.waits
    );

    server.kill().await;
    server.restart().await;
    let reply = loop {
        // A connection may die under a call. Then, while the server is away, there is no lease, and the error says why.
        match process(&pool, 20).await {
            Ok(reply) => break reply,
            Err(error) => assert_eq!(error.code(), Some(Code::Unavailable), "{error:?}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(reply, json!({"done": 20}));
    let lost = pool.stats().closed.lost;
    println!("the server died and came back; connections lost: {lost}");

    pool.close().await;
    assert!(pool.acquire().await.is_err_and(|error| error.is_closed()));
    println!("closed: {:?}", pool.stats().closed);
    Ok(())
}

/// One call on a connection that nobody else has meanwhile. The lease goes back when it drops, however the call ends.
async fn process(pool: &Pool, n: u32) -> Result<Value, Error> {
    let lease = pool.acquire().await?;
    lease.call("Process", json!({"n": n})).await
}
