//! Where two JSON values differ.

use crate::schema::json::same;
use serde_json::{Map, Value};
use std::fmt;

/// One place where what came is not what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// `user.tags[0]`; empty for the value itself.
    path: String,
    wanted: Option<Value>,
    came: Option<Value>,
}

/// How much must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything, and nothing else.
    Whole,
    /// The fields that are named; there may be others. `null` stands for a field that is not set.
    Named,
}

/// Every place where they differ. Numbers are compared by value.
pub(crate) fn differences(wanted: &Value, came: &Value, extent: Extent) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(wanted), Some(came), extent, &mut found);
    found
}

fn compare(
    path: String,
    wanted: Option<&Value>,
    came: Option<&Value>,
    extent: Extent,
    found: &mut Vec<Difference>,
) {
    match (wanted, came) {
        (Some(Value::Object(wanted)), Some(Value::Object(came))) => {
            compare_objects(&path, wanted, came, extent, found);
        }
        (Some(Value::Array(wanted)), Some(Value::Array(came))) => {
            for index in 0..wanted.len().max(came.len()) {
                let path = format!("{path}[{index}]");
                compare(path, wanted.get(index), came.get(index), extent, found);
            }
        }
        (Some(Value::Null), None) if extent == Extent::Named => {}
        (Some(wanted), Some(came)) if same(wanted, came) => {}
        (wanted, came) => found.push(Difference {
            path,
            wanted: wanted.cloned(),
            came: came.cloned(),
        }),
    }
}

fn compare_objects(
    path: &str,
    wanted: &Map<String, Value>,
    came: &Map<String, Value>,
    extent: Extent,
    found: &mut Vec<Difference>,
) {
    let inner = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    for (name, value) in wanted {
        compare(inner(name), Some(value), came.get(name), extent, found);
    }
    if extent == Extent::Whole {
        let unwanted = came.iter().filter(|(name, _)| !wanted.contains_key(*name));
        for (name, value) in unwanted {
            compare(inner(name), None, Some(value), extent, found);
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        let [wanted, came] = [&self.wanted, &self.came].map(|value| match value {
            Some(value) => brief(&value.to_string()),
            None => "nothing".to_owned(),
        });
        write!(f, "wanted {wanted}, came {came}")
    }
}

/// A value in a line of a message.
pub(crate) fn brief(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::schema::diff::{Extent, differences};
    use serde_json::json;

    #[test]
    fn every_place_is_named_once() {
        let wanted = json!({"a": 1, "b": {"c": [1, 2], "d": null}, "same": 1.0});
        let came = json!({"a": 2, "b": {"c": [1], "e": true}, "same": 1});
        let texts = |extent| {
            let found = differences(&wanted, &came, extent);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let named = ["a: wanted 1, came 2", "b.c[1]: wanted 2, came nothing"];
        assert_eq!(texts(Extent::Named), named);
        let whole = [
            "a: wanted 1, came 2",
            "b.c[1]: wanted 2, came nothing",
            "b.d: wanted null, came nothing",
            "b.e: wanted nothing, came true",
        ];
        assert_eq!(texts(Extent::Whole), whole);
        assert_eq!(
            differences(&json!(1), &json!("1"), Extent::Whole)[0].to_string(),
            r#"wanted 1, came "1""#
        );
    }
}
