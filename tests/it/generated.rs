//! What is generated from `proto/` is kept in `proto/generated`, and is what its generators make of it today.

use std::{collections::BTreeMap, fs};

const COMPILED: &str = env!("OUT_DIR");
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/generated");

/// Packages that nobody here needs the code of.
const UNUSED: [&str; 1] = ["proto.rs"];

#[test]
fn what_is_kept_is_what_proto_compiles_to() {
    let (mut compiled, kept) = (files(COMPILED), files(KEPT));
    compiled.retain(|name, _| !UNUSED.contains(&name.as_str()));
    assert_eq!(
        kept.keys().collect::<Vec<_>>(),
        compiled.keys().collect::<Vec<_>>(),
        "the files of {KEPT}"
    );
    for (name, bytes) in &compiled {
        let is_same = kept[name] == *bytes;
        assert!(
            is_same,
            "{name} is stale: cp {COMPILED}/{name} {KEPT}/{name}"
        );
    }
}

fn files(directory: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("the directory is there");
    let named = entries.map(|entry| {
        let entry = entry.expect("it can be read");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        (name, fs::read(entry.path()).expect("a file"))
    });
    named.collect()
}
