//! The main job: a mock plugin server on each of the three transports, called by the direct client with JSON, with
//! prost messages and in streams, and the journal of what it saw.
//!
//! ```console
//! cargo run --example quickstart
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::{
    Call, CallStream, Client, Error, MockServer, Reply, Status, Stub, json,
    proto::rpcplugin::v1::CallRequest,
};
use tokio_stream::StreamExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let servers = [
        ("TCP", MockServer::start().await),
        ("Unix socket", MockServer::unix().await),
        ("in-process pipe", MockServer::memory().await),
    ];
    for (transport, server) in &servers {
        println!("{transport}: {}", server.address());
        mount_plugin(server);
        call_plugin(&Client::connect(server.address()).await?).await?;
        println!(
            "  the journal:\n{}\n",
            indented(&server.journal().to_string())
        );
    }
    Ok(())
}

/// What the plugin answers.
fn mount_plugin(server: &MockServer) {
    server.mount(
        Stub::method("Echo").reply(|call: &Call| json!({"message": call.request()["message"]})),
    );
    server.mount(Stub::method("Get").reply(Status::not_found("no such key")));
    server.mount(
        Stub::method("Get")
            .when(json!({"key": "a"}))
            .reply(json!({"value": 1})),
    );
    server.mount(
        Stub::method("Watch").reply(Reply::stream([json!({"value": 1}), json!({"value": 2})])),
    );
    server.mount(
        Stub::method("Chat").reply(|mut stream: CallStream| async move {
            while let Some(message) = stream.recv().await? {
                stream.send(json!({"you said": message["say"]})).await?;
            }
            Ok(())
        }),
    );
}

/// What a plugin host would do.
async fn call_plugin(client: &Client) -> Result<(), Error> {
    let echoed = client.call("Echo", json!({"message": "Hello"})).await?;
    println!("  a dynamic call:       Echo answers {echoed}");

    let request = CallRequest {
        method: "Echo".to_owned(),
        args: None,
    };
    let typed: prost_types::Struct = client.unary("/rpcplugin.v1.Plugin/Call", request).await?;
    println!(
        "  a typed call:         Echo answers a Struct of {} field",
        typed.fields.len()
    );

    let watched = client
        .call_server_stream("Watch", json!({"key": "a"}))
        .await?;
    let watched: Vec<_> = watched.collect::<Result<_, _>>().await?;
    println!("  a server stream:      Watch answers {}", json!(watched));

    let said = tokio_stream::iter(["hello", "bye"]).map(|word| json!({"say": word}));
    let answers: Vec<_> = client
        .call_bidi_stream("Chat", said)
        .await?
        .collect::<Result<_, _>>()
        .await?;
    println!("  streams both ways:    Chat answers {}", json!(answers));

    let missing = client
        .call("Get", json!({"key": "b"}))
        .await
        .expect_err("only `a` is there");
    println!("  an error:             {missing}");
    client.call("Get", json!({"key": "a"})).await?;
    client.health_check().await?;
    client.close().await;
    Ok(())
}

fn indented(journal: &str) -> String {
    journal
        .lines()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
