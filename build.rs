//! Compiles the services of `proto/`: the schemaless plugin service, those that every plugin has, and the echo and
//! key-value services that the tests and examples speak.
//! `protox` is a protobuf compiler in Rust, so no `protoc` is needed.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let sets: [(&str, &[&str]); 5] = [
        ("plugin", &["rpcplugin/v1/plugin.proto"]),
        (
            "go_plugin",
            &[
                "plugin/grpc_broker.proto",
                "plugin/grpc_controller.proto",
                "plugin/grpc_stdio.proto",
            ],
        ),
        ("health", &["grpc/health/v1/health.proto"]),
        ("echo", &["echo/v1/echo.proto"]),
        ("kv", &["kv/kv.proto"]),
    ];
    for (name, protos) in sets {
        let files = protox::compile(protos, ["proto"])?;
        fs::write(out.join(format!("{name}.bin")), files.encode_to_vec())?;
        tonic_prost_build::configure()
            .build_transport(false)
            .compile_fds(files)?;
    }
    Ok(())
}
