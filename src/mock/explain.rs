//! Why no stub serves a call: the stubs that came nearest, and what kept each of them from it.

use crate::mock::journal::Call;
use crate::mock::mounted::Mounted;
use crate::mock::registry::Registry;
use crate::panics::caught;
use crate::schema::{brief, list};
use std::fmt::Write as _;
use std::sync::Arc;

/// What is known of an unmatched call.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// Some stub is for its method.
    pub(crate) named: bool,
    /// One line, for a status message.
    pub(crate) short: String,
    /// All lines, for a report.
    pub(crate) long: String,
}

/// How many stubs are compared with a call at most: more would take time, and nobody reads them.
const COMPARED: usize = 256;
/// How many of the nearest are told.
const TOLD: usize = 3;
/// How many stubs for other methods are listed.
const LISTED: usize = 10;

/// One stub that did not take the call.
struct Near {
    stub: Arc<Mounted>,
    /// What keeps it from any call.
    aside: Option<String>,
    conditions: Vec<Checked>,
}

struct Checked {
    what: String,
    /// What is wrong, empty when it holds.
    lines: Vec<String>,
    differences: usize,
}

/// Looks for the stubs that came nearest.
pub(crate) fn explain(registry: &Registry, call: &Call) -> Explanation {
    let name = call.full_name().trim_start_matches('/');
    let naming = registry.naming(call);
    if naming.is_empty() {
        return unnamed(name, &registry.all());
    }
    let count = naming.len();
    let compared = naming.into_iter().take(COMPARED);
    let mut near: Vec<_> = compared.map(|stub| compare(stub, call)).collect();
    // Stable: of equally near ones the first in order stays first.
    near.sort_by_key(Near::distance);

    let of = match count {
        count if count > COMPARED => format!("the first {COMPARED} of {count}"),
        count => count.to_string(),
    };
    let mut long = format!("no stub for {name} accepts it; nearest of {of}:");
    for near in near.iter().take(TOLD) {
        near.write(&mut long);
    }
    let nearest = &near[0];
    Explanation {
        named: true,
        short: format!(
            "no stub for {name} accepts this call; the nearest is {}: {}",
            nearest.stub.label(),
            nearest.reason()
        ),
        long,
    }
}

fn unnamed(name: &str, all: &[Arc<Mounted>]) -> Explanation {
    let labels: Vec<_> = all.iter().map(|stub| stub.label()).collect();
    let text = if labels.is_empty() {
        format!("no stub for {name}: nothing is mounted")
    } else {
        format!("no stub for {name}; mounted are {}", list(&labels, LISTED))
    };
    Explanation {
        named: false,
        short: text.clone(),
        long: text,
    }
}

fn compare(stub: Arc<Mounted>, call: &Call) -> Near {
    let conditions = stub.conditions.iter().map(|condition| {
        let matcher = &condition.matcher;
        let checked = caught(|| (!matcher.matches(call)).then(|| matcher.mismatch(call)));
        let secret = stub.is_secret();
        let (lines, differences) = match checked {
            Ok(None) => (Vec::new(), 0),
            Ok(Some(mismatch)) if secret => {
                (vec!["secret".to_owned()], mismatch.differences().max(1))
            }
            Ok(Some(mismatch)) => (mismatch.lines().to_vec(), mismatch.differences().max(1)),
            Err(panic) => (vec![format!("it panicked: {panic}")], 1),
        };
        let what = if secret {
            Ok("a condition of a secret stub".to_owned())
        } else {
            caught(|| condition.describe())
        };
        Checked {
            what: what
                .unwrap_or_else(|panic| format!("a condition whose `describe` panicked: {panic}")),
            lines,
            differences,
        }
    });
    Near {
        conditions: conditions.collect(),
        aside: stub.stands_aside(),
        stub,
    }
}

impl Near {
    /// Failing conditions count more than the differences of one.
    fn distance(&self) -> (usize, usize) {
        let failing = self.conditions.iter().filter(|one| one.differences > 0);
        let differences = self.conditions.iter().map(|one| one.differences).sum();
        (failing.count(), differences)
    }

    /// In one line.
    fn reason(&self) -> String {
        let failing = self.conditions.iter().filter(|one| one.differences > 0);
        let mut reasons: Vec<_> = failing
            .map(|one| format!("{}: {}", one.what, one.lines.join("; ")))
            .collect();
        reasons.extend(self.aside.clone());
        reasons.join("; ")
    }

    fn write(&self, text: &mut String) {
        let _ = write!(text, "\n  {}", self.stub.label());
        for one in &self.conditions {
            if one.lines.is_empty() {
                let _ = write!(text, "\n    ok  {}", one.what);
                continue;
            }
            let _ = write!(text, "\n    NO  {}", one.what);
            for line in &one.lines {
                let _ = write!(text, "\n          {}", brief(line));
            }
        }
        if let Some(aside) = &self.aside {
            let _ = write!(text, "\n    NO  {aside}");
        }
    }
}
