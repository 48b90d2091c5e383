//! Compiles `proto/` anew, for the test that holds `proto/generated` to it (`tests/it/generated.rs`).
//!
//! Only with the feature `codegen`: users take the code that is there already, and need neither `protoc` nor any of the
//! crates that this takes.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    #[cfg(feature = "codegen")]
    codegen::compile()?;
    Ok(())
}

#[cfg(feature = "codegen")]
mod codegen {
    use prost::Message as _;
    use std::{env, error::Error, fs, path::PathBuf};

    /// Each is one descriptor set, and a file of code for each of its packages.
    const SETS: [(&str, &[&str]); 6] = [
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
        (
            "reflection",
            &[
                "grpc/reflection/v1/reflection.proto",
                "grpc/reflection/v1alpha/reflection.proto",
            ],
        ),
        ("echo", &["echo/v1/echo.proto"]),
        ("kv", &["kv/kv.proto"]),
    ];

    pub(super) fn compile() -> Result<(), Box<dyn Error>> {
        let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
        for (name, protos) in SETS {
            let files = protox::compile(protos, ["proto"])?;
            fs::write(out.join(format!("{name}.bin")), files.encode_to_vec())?;
            tonic_prost_build::configure()
                .build_transport(false)
                .compile_fds(files)?;
        }
        Ok(())
    }
}
