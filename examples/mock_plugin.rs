//! A plugin that a real host launches: the key-value store of go-plugin's
//! [own example](https://github.com/hashicorp/go-plugin/tree/main/examples/grpc), mocked by two stubs. By hand it only says
//! what it is:
//!
//! ```console
//! BASIC_PLUGIN=hello cargo run --example mock_plugin
//! ```

use rpcplugin_testkit::{Call, MockServer, Status, Stub, Value, json, plugin};
use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
};

/// `proto/kv/kv.proto`, compiled by `build.rs`.
const KV: &[u8] = include_bytes!("../proto/generated/kv.bin");

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    plugin::serve(MockServer::builder().descriptor_set(KV))
        .cookie("BASIC_PLUGIN", "hello")
        .with(mount)
        .await
}

fn mount(server: &MockServer) {
    let stored = Arc::new(Mutex::new(HashMap::<String, Value>::new()));
    let put = Arc::clone(&stored);
    server.mount(Stub::method("Put").reply(move |call: &Call| {
        let mut stored = put.lock().unwrap_or_else(PoisonError::into_inner);
        stored.insert(key(call), call.request()["value"].clone());
        json!({})
    }));
    server.mount(Stub::method("Get").reply(move |call: &Call| {
        let stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
        match stored.get(&key(call)) {
            Some(value) => Ok(json!({"value": value})),
            None => Err(Status::not_found(format!("no such key: {}", key(call)))),
        }
    }));
}

fn key(call: &Call) -> String {
    call.request()["key"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
