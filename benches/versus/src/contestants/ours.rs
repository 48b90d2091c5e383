//! This crate's mock, as its README shows it: all that it does by default is on.

use crate::contestants::Running;
use crate::echo::{DESCRIPTORS, EchoReply, SAY, TEXT};
use rpcplugin_testkit::{MockServer, Reply, Stub, json};

/// With one stub that answers with a prost message.
pub async fn ours(reply: &EchoReply) -> Running {
    let server = MockServer::builder()
        .descriptor_set(DESCRIPTORS)
        .start()
        .await;
    server.mount(Stub::method(SAY).reply(Reply::message(reply)));
    Running::new("ours", server.uri(), server)
}

/// The same with room for millions of calls.
pub async fn ours_roomy(reply: &EchoReply) -> Running {
    let builder = MockServer::builder().descriptor_set(DESCRIPTORS);
    let server = builder.journal_limit(8 << 30).start().await;
    server.mount(Stub::method(SAY).reply(Reply::message(reply)));
    Running::new("ours", server.uri(), server)
}

/// With so many stubs that each want another message and answer in JSON. The one that wants [`TEXT`] is asked last.
pub async fn ours_json(name: &'static str, stubs: usize) -> Running {
    let server = MockServer::builder()
        .descriptor_set(DESCRIPTORS)
        .start()
        .await;
    // Of equals the later comes first.
    let wanted = Stub::method(SAY).when(json!({"message": TEXT}));
    server.mount(wanted.reply(json!({"message": TEXT})));
    for number in 1..stubs {
        let message = format!("something else, number {number}");
        let other = Stub::method(SAY).when(json!({"message": message}));
        server.mount(other.reply(json!({"message": message})).times(0..));
    }
    Running::new(name, server.uri(), server)
}

/// With one stub that answers with a prost message, and without a schema: it needs none.
pub async fn ours_bare(reply: &EchoReply) -> Running {
    let server = MockServer::start().await;
    server.mount(Stub::method(SAY).reply(Reply::message(reply)));
    Running::new("ours", server.uri(), server)
}
