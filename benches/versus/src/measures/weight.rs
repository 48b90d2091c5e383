//! What the crate adds to a project: crates, and time to build.

use crate::quartiles::short;
use crate::report::{Report, Target};
use crate::rounds::Plan;
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// What a project that speaks gRPC has.
const BASE: &str = "prost = \"0.14\"\n\
    tokio = { version = \"1\", features = [\"macros\", \"net\", \"rt-multi-thread\", \"time\"] }\n\
    tonic = { version = \"0.14\", features = [\"tls-ring\"] }\n";

/// What it would need to write by hand what this crate does.
const BY_HAND: &str = "rcgen = \"0.14\"\ntonic-health = \"0.14\"\n";

const WIREMOCK: &str = "wiremock-grpc = \"0.4\"\n";

const MOCKTAIL: &str = "mocktail = \"0.3\"\n";

fn ours() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    format!("rpcplugin-testkit = {{ path = {here:?} }}\n")
}

/// Crates that each adds, by `cargo tree`.
pub fn crates(_: &Plan) -> Vec<Report> {
    let base = (
        Project::new("base", BASE, "").tree("normal"),
        Project::new("base", BASE, "").tree("normal,build"),
    );
    let added = |name: &str, more: &str| {
        let project = Project::new(name, BASE, more);
        let all = project.tree("normal,build");
        let more = all.difference(&base.1).cloned().collect::<Vec<_>>();
        let normal = project.tree("normal").difference(&base.0).count();
        (more, normal)
    };
    let rows = [
        ("wiremock-grpc", added("wiremock", WIREMOCK)),
        ("mocktail", added("mocktail", MOCKTAIL)),
        ("rcgen, tonic-health", added("by-hand", BY_HAND)),
        ("ours", added("ours", &ours())),
    ];
    let ours = rows[3].1.0.len() as f64;
    let stage = format!(
        "added to {} that tonic with TLS, prost and tokio are",
        base.1.len()
    );
    let mut report = Report::text("crates", stage);
    for (name, (more, normal)) in &rows {
        let (all, names) = (more.len(), more.join(" "));
        report.notes.push(format!(
            "{name:<20} {all:>4} ({normal} without those that build scripts use): {names}"
        ));
    }
    vec![report.figure("crates", ours, Target::AtMost(30.0))]
}

/// Clean dev builds, of the same test by this crate and by hand.
pub fn build(plan: &Plan) -> Vec<Report> {
    let by_hand = Project::new("build-by-hand", BASE, BY_HAND);
    let own = Project::new("build-ours", BASE, &ours());
    let mut ratios = Vec::new();
    let mut report = Report::text("build", "clean, dev profile, cargo's own number of jobs");
    for _ in 0..if plan.quick { 1 } else { 3 } {
        let seconds = [&by_hand, &own].map(Project::built);
        ratios.push(seconds[1] / seconds[0]);
        report.notes.push(format!(
            "tonic (TLS), tonic-health, prost, rcgen {} s; ours {} s",
            short(seconds[0]),
            short(seconds[1]),
        ));
    }
    let ratio = crate::quartiles::Quartiles::of(ratios).median;
    vec![report.figure("build", ratio, Target::AtMost(1.35))]
}

/// A project that is generated, with the versions that this one has.
struct Project(PathBuf);

impl Project {
    fn new(name: &str, base: &str, more: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let place = here.join("target/projects").join(name);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{base}{more}"
        );
        fs::create_dir_all(place.join("src")).expect("a directory");
        fs::write(place.join("Cargo.toml"), manifest).expect("a manifest");
        fs::write(place.join("src/lib.rs"), "").expect("a source");
        // Without it cargo looks for versions of its own.
        let _ = fs::copy(here.join("Cargo.lock"), place.join("Cargo.lock"));
        Self(place)
    }

    /// Its crates, without itself.
    fn tree(&self, edges: &str) -> BTreeSet<String> {
        let output = self.cargo(&["tree", "--prefix", "none", "--edges", edges]);
        let names = output.lines().skip(1).filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        });
        names
            .map(|(name, version)| format!("{name}-{}", version.trim_start_matches('v')))
            .collect()
    }

    /// How long it takes to build all of it, in seconds.
    fn built(&self) -> f64 {
        let _ = fs::remove_dir_all(self.0.join("target"));
        self.cargo(&["fetch"]);
        let begin = Instant::now();
        self.cargo(&["build"]);
        begin.elapsed().as_secs_f64()
    }

    fn cargo(&self, arguments: &[&str]) -> String {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.0);
        command.env_remove("CARGO_TARGET_DIR");
        let output = command.output().expect("cargo runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
