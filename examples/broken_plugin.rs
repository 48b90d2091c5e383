//! A plugin that is broken in the way that its first argument says, to see what a host makes of it. Others go by what their
//! host says in variables, and so does `RPCPLUGIN_TCP=1`, by which it listens on TCP.
//!
//! ```console
//! BASIC_PLUGIN=hello cargo run --example broken_plugin garbage
//! ```

use rpcplugin_testkit::{
    MockServer, Stub, json,
    plugin::{self, OnShutdown, PluginFault},
};
use std::{env, process::ExitCode, time::Duration};

/// `proto/kv/kv.proto`, compiled by `build.rs`.
const KV: &[u8] = include_bytes!("../proto/generated/kv.bin");

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let how = env::args().nth(1).unwrap_or_default();
    let mut plugin = plugin::serve(MockServer::builder().descriptor_set(KV))
        .cookie("BASIC_PLUGIN", "hello")
        .versions([1, 2])
        .with_version(|server, version| {
            // `v1` or `v2`, as JSON has bytes.
            let value = if version == 1 { "djE=" } else { "djI=" };
            server.mount(Stub::method("Get").reply(json!({"value": value})));
            server.mount(Stub::method("Put").reply(json!({})));
        });
    if env::var_os("RPCPLUGIN_TCP").is_some() {
        plugin = plugin.tcp();
    }
    let fault = match how.as_str() {
        "none" => return plugin.await,
        "ignores shutdown" => {
            return plugin
                .with(|server| server.on_shutdown(OnShutdown::Ignore))
                .await;
        }
        "dies on shutdown" => {
            return plugin
                .with(|server| server.on_shutdown(OnShutdown::Die))
                .await;
        }
        "garbage" => PluginFault::Garbage("loading plugins".to_owned()),
        "no line" => PluginFault::NoLine,
        "late line" => PluginFault::Late(Duration::from_millis(300)),
        "byte by byte" => PluginFault::ByteByByte,
        "core version" => PluginFault::CoreVersion(2),
        "app version" => PluginFault::AppVersion(99),
        "network" => PluginFault::Network("udp".to_owned()),
        "protocol" => PluginFault::Protocol("netrpc".to_owned()),
        "certificate" => PluginFault::Certificate("!".repeat(60)),
        "fields" => PluginFault::Fields(3),
        "exit before" => PluginFault::ExitBefore(7),
        "exit after" => PluginFault::ExitAfter(7),
        "print" => PluginFault::Print("hello from the plugin\n".to_owned()),
        "crash" => PluginFault::CrashIn("Get".to_owned()),
        _ => return unknown(&how),
    };
    plugin.fault(fault).await
}

#[expect(clippy::print_stderr, reason = "an example says what it is for")]
fn unknown(how: &str) -> ExitCode {
    eprintln!(
        "a broken plugin can be broken by: none, ignores shutdown, dies on shutdown, garbage, no line, late line, \
         byte by byte, core version, app version, network, protocol, certificate, fields, exit before, exit after, \
         print, crash; not by `{how}`"
    );
    ExitCode::FAILURE
}
