//! The shape of the crate: imports go up the list only, the wings are strangers, files stay small.

use std::{fs, path::Path};

/// The rooms from the ground to the roof. A room imports from earlier rows only; rooms of one row are strangers.
const ROWS: &[&[&str]] = &[
    &["error", "panics"],
    &["vars"],
    &["address", "proto", "tls"],
    &["endpoint", "handshake", "health", "schema"],
    &["wire"],
    &["net"],
    &["consul"],
    &["client::backoff"],
    // Plain data, what was seen, and decisions that need nothing else.
    &[
        "client::auth",
        "client::balance",
        "client::dice",
        "client::ejection",
        "client::health_policy",
        "client::keepalive",
        "client::replay",
        "client::retry",
        "client::timer",
        "client::token",
        "mock::journal",
        "mock::times",
        "mock::tls",
    ],
    &[
        "client::credentials",
        "client::discovery",
        "mock::auth",
        "mock::foreign",
        "mock::matcher",
        "mock::reading",
        "mock::reply",
        "mock::sequence",
    ],
    &[
        "client::codec",
        "client::config",
        "client::dial",
        "client::link",
        "mock::dice",
        "mock::outlet",
        "mock::stub",
    ],
    &[
        "client::connection",
        "client::env",
        "client::options",
        "client::telemetry",
        "mock::fault",
        "mock::login",
        "mock::mounted",
    ],
    &[
        "client::about",
        "client::events",
        "client::monitor",
        "client::negotiation",
        "client::stats",
        "client::upload",
        "mock::admission",
        "mock::line",
        "mock::registry",
    ],
    &[
        "client::resolver",
        "client::response_body",
        "client::telling",
        "mock::breaking",
        "mock::explain",
        "mock::handle",
        "mock::verify",
    ],
    &[
        "client::stream",
        "client::transport",
        "mock::backend",
        "mock::intake",
        "mock::respond",
    ],
    &["client::call", "client::channel", "mock::builtin"],
    &["client::authorize", "mock::serve"],
    &["client::handle", "mock::connection"],
    &["client::login", "mock::open"],
    &[
        "client::builder",
        "client::endpoints",
        "client::verbs",
        "mock::doors",
    ],
    &["mock::consul", "mock::registration", "mock::stopping"],
    &[
        "client::attach",
        "client::consul",
        "client::health",
        "client::pool",
        "client::stdio",
        "mock::server",
    ],
    &[
        "client::plugin",
        "mock::asserting",
        "mock::brokering",
        "mock::injecting",
        "mock::lifecycle",
        "mock::mounting",
        "mock::register",
        "mock::rotating",
    ],
    &["mock::chaos", "mock::recording"],
    &["mock::builder"],
    &["mock::cluster", "mock::plugin"],
    // The doors.
    &["client", "mock"],
    // The single place where the wings meet.
    &["fixture"],
];
const WINGS: [&str; 2] = ["client", "mock"];
const MAX_LINES: usize = 400;

/// The row and the name of the innermost room that holds this path.
fn room_of(path: &str) -> Option<(usize, &'static str)> {
    let inside = |room: &str| {
        path.strip_prefix(room)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let rooms = ROWS
        .iter()
        .enumerate()
        .flat_map(|(row, rooms)| rooms.iter().map(move |room| (row, *room)));
    rooms
        .filter(|(_, room)| inside(room))
        .max_by_key(|(_, room)| room.len())
}

fn wing_of(room: &str) -> Option<&str> {
    room.split("::").next().filter(|wing| WINGS.contains(wing))
}

/// Whether code in the one room may name the other.
fn may_import(from: (usize, &str), to: (usize, &str)) -> bool {
    let strangers =
        matches!((wing_of(from.1), wing_of(to.1)), (one, Some(other)) if one != Some(other));
    from.1 == to.1 || (to.0 < from.0 && (!strangers || from.1 == "fixture"))
}

/// Every module of the crate and its text.
fn modules(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            modules(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix("src")
                .expect("it is under src")
                .with_extension("");
            let name = name.to_string_lossy().replace(['/', '\\'], "::");
            let text = fs::read_to_string(&path).expect("a source is UTF-8");
            found.push((name.trim_end_matches("::mod").to_owned(), text));
        }
    }
}

/// The paths below `crate::` that a line of code names.
fn imports(line: &str) -> impl Iterator<Item = String> + '_ {
    let in_path = |c: &char| c.is_alphanumeric() || "_:".contains(*c);
    line.split("crate::")
        .skip(1)
        .map(move |rest| rest.chars().take_while(in_path).collect())
}

fn problems(module: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        problems.push(format!("{module} has {lines} lines"));
    }
    let Some(room) = room_of(module) else {
        return vec![format!("no row names the room of {module}")];
    };
    for line in text
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
    {
        if line.contains("super::") && line != "use super::*;" {
            problems.push(format!("{module}: write `crate::`, not `super::`: {line}"));
        }
        for path in imports(line) {
            if !room_of(&path).is_some_and(|target| may_import(room, target)) {
                problems.push(format!(
                    "{module}: `{}` must not import `crate::{path}`",
                    room.1
                ));
            }
        }
    }
    problems
}

#[test]
fn imports_go_up_the_list_and_files_stay_small() {
    let mut found = Vec::new();
    modules(Path::new("src"), &mut found);
    assert!(found.len() > 40, "the sources were not found");
    let found = found.iter().filter(|(module, _)| module != "lib");
    let problems: Vec<_> = found
        .flat_map(|(module, text)| problems(module, text))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_check_sees_what_it_is_for() {
    let cases = [
        (
            "client::call",
            "use crate::mock::journal::Call;",
            "`client::call` must not import `crate::mock::journal::Call`",
        ),
        (
            "mock::reply::script",
            "use crate::client::Client;",
            "must not import",
        ),
        (
            "wire::send",
            "use crate::mock::stub::Stub;",
            "`wire` must not import",
        ),
        (
            "mock::matcher",
            "use crate::mock::reply::Reply;",
            "must not import",
        ),
        (
            "mock::journal::log",
            "use crate::mock::MockServer;",
            "must not import",
        ),
        (
            "client::call",
            "use crate::Address;",
            "must not import `crate::Address`",
        ),
        (
            "client::call",
            "use super::handle::Client;",
            "not `super::`",
        ),
        ("attic", "", "no row names the room of attic"),
    ];
    for (module, line, expected) in cases {
        let found = problems(module, line).join("\n");
        assert!(found.contains(expected), "{module}: {line}: {found:?}");
    }
    assert!(
        problems(
            "fixture",
            "use crate::client::Client;\nuse crate::mock::MockServer;"
        )
        .is_empty()
    );
    assert!(!problems("error", &"\n".repeat(MAX_LINES + 1)).is_empty());
}

#[test]
fn the_manifest_version_has_a_heading_in_the_changelog() {
    let changelog = fs::read_to_string("CHANGELOG.md").expect("CHANGELOG.md");
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(
        changelog.contains(&heading),
        "CHANGELOG.md lacks `{heading}`"
    );
}

/// Handles are shared between tasks and tests; losing an auto trait would break their users.
const _: () = {
    use rpcplugin_testkit::{
        Address, Call, CallStream, Client, Error, MockCluster, MockServer, Reply, Schema, Stub,
        client, mock,
    };
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<(
        Address,
        Call,
        CallStream,
        Client,
        Error,
        MockCluster,
        MockServer,
        Reply,
        Schema,
    )>();
    shared::<(
        client::ClientBuilder,
        client::ClientConfig,
        mock::Chaos,
        mock::ChaosReport,
        mock::ClientGroup,
        mock::MockServerBuilder,
        mock::Partition,
        mock::RecordedMessage,
    )>();
    sent::<(Stub, mock::CallStreams)>();
    sent::<(
        client::UnaryCall<()>,
        client::StreamCall<()>,
        client::ResponseStream<()>,
    )>();
};
