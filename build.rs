//! Compiles the schemaless plugin service of `proto/`, and the echo service that the tests and examples speak.
//! `protox` is a protobuf compiler in Rust, so no `protoc` is needed.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    for (name, file) in [
        ("plugin", "rpcplugin/v1/plugin.proto"),
        ("echo", "echo/v1/echo.proto"),
    ] {
        let files = protox::compile([file], ["proto"])?;
        fs::write(out.join(format!("{name}.bin")), files.encode_to_vec())?;
        tonic_prost_build::configure()
            .build_transport(false)
            .compile_fds(files)?;
    }
    Ok(())
}
