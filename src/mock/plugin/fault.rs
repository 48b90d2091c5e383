//! A plugin that is broken on purpose.

use crate::handshake::{CORE_VERSION, Handshake};
use std::time::Duration;

/// One thing that a plugin does wrong to its host, on its way up or after. A fault of the mock's connections and calls is a
/// [`Fault`](crate::Fault).
///
/// Give it to [`Serve::fault`](crate::plugin::Serve::fault). What is quoted below is what a host of go-plugin prints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginFault {
    /// Prints this line before the one that is expected: `Unrecognized remote plugin message`.
    Garbage(String),
    /// Prints no line, and goes on: `timeout while waiting for plugin to start`, after the host's start timeout (a minute).
    NoLine,
    /// Prints the line so much later.
    Late(Duration),
    /// Writes the line in single bytes, which is none: a host reads a line.
    ByteByByte,
    /// Tells another version of go-plugin's own protocol: `Incompatible core API version with plugin`.
    CoreVersion(u32),
    /// Tells another version of the application's protocol: `Incompatible API version with plugin`.
    AppVersion(u32),
    /// Tells a network other than `tcp` and `unix`: `Unknown address type`.
    Network(String),
    /// Tells another protocol than `grpc`: `Unsupported plugin protocol`.
    Protocol(String),
    /// Tells this certificate, in place of that of AutoMTLS or of none: `error parsing server cert`. Hosts take no more than 50
    /// characters for something else.
    Certificate(String),
    /// Tells only so many of its six fields. With fewer than 4: `Unrecognized remote plugin message`.
    Fields(usize),
    /// Exits with this code in place of the line: `plugin exited before we could connect`.
    ExitBefore(u8),
    /// Exits with this code after the line.
    ExitAfter(u8),
    /// Prints this to stdout as the first call comes. Hosts read it, and do nothing with it.
    Print(String),
    /// Crashes in a call of this method, before it answers: its process exits with the code 2, as by a panic in Go.
    CrashIn(String),
}

/// What is done in place of printing a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Write(Vec<u8>),
    Wait(Duration),
    Exit(u8),
}

/// The time between two bytes, so that they are read one by one.
const BETWEEN_BYTES: Duration = Duration::from_millis(1);

/// How the line is told, with what is wrong with it.
pub(super) fn announcement(handshake: &Handshake, faults: &[PluginFault]) -> Vec<Step> {
    let mut steps = Vec::new();
    if !faults.contains(&PluginFault::NoLine) {
        let mut line = line(handshake, faults);
        line.push('\n');
        let line = line.into_bytes();
        if faults.contains(&PluginFault::ByteByByte) {
            let bytes = line.into_iter().flat_map(|byte| {
                let write = Step::Write(vec![byte]);
                [write, Step::Wait(BETWEEN_BYTES)]
            });
            steps.extend(bytes);
        } else {
            steps.push(Step::Write(line));
        }
    }
    // What comes before it, in the order in which it was said.
    let before = faults.iter().filter_map(|fault| match fault {
        PluginFault::Garbage(text) => Some(Step::Write(format!("{text}\n").into_bytes())),
        PluginFault::Late(late) => Some(Step::Wait(*late)),
        PluginFault::ExitBefore(code) => Some(Step::Exit(*code)),
        _ => None,
    });
    let after = faults.iter().filter_map(|fault| match fault {
        PluginFault::ExitAfter(code) => Some(Step::Exit(*code)),
        _ => None,
    });
    before.chain(steps).chain(after).collect()
}

fn line(handshake: &Handshake, faults: &[PluginFault]) -> String {
    let line = handshake.to_string();
    let mut fields: Vec<String> = line.split('|').map(str::to_owned).collect();
    debug_assert_eq!(fields[0], CORE_VERSION.to_string());
    for fault in faults {
        match fault {
            PluginFault::CoreVersion(version) => fields[0] = version.to_string(),
            PluginFault::AppVersion(version) => fields[1] = version.to_string(),
            PluginFault::Network(network) => fields[2].clone_from(network),
            PluginFault::Protocol(protocol) => fields[4].clone_from(protocol),
            PluginFault::Certificate(certificate) => fields[5].clone_from(certificate),
            _ => {}
        }
    }
    let few = faults.iter().find_map(|fault| match fault {
        PluginFault::Fields(few) => Some(*few),
        _ => None,
    });
    fields.truncate(few.unwrap_or(usize::MAX));
    fields.join("|")
}
