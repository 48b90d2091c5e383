//! Plugins and hosts that are processes of their own: this crate's examples, and programs in other languages.

use crate::process::Running;
use rpcplugin_testkit::plugin::Handshake;
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Where `cargo test` puts this crate's examples.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = env::current_exe().expect("this test is a program");
    let built = test.parent().and_then(Path::parent);
    let path = built.expect("it is in target/debug/deps").join("examples");
    let path = path.join(name);
    assert!(
        path.exists(),
        "{} is not built: `cargo build --examples` does it, and so does `cargo test`",
        path.display()
    );
    path
}

/// The program that a variable names.
pub(crate) fn judge(variable: &str) -> PathBuf {
    let path = env::var_os(variable);
    path.map(PathBuf::from)
        .unwrap_or_else(|| panic!("{variable} names no program: see .ci/run"))
}

/// A plugin as a host launches it.
pub(crate) fn launch(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
    let mut command = Command::new(example(name));
    command.env("BASIC_PLUGIN", "hello").args(arguments);
    Running::start(command.envs(variables.iter().copied()))
}

/// One that is served, and the line that it told.
pub(crate) async fn launched(
    name: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (Running, Handshake) {
    let mut plugin = launch(name, arguments, variables);
    let line = plugin.line().await;
    let handshake = line.parse();
    (plugin, handshake.expect("it tells where it serves"))
}
