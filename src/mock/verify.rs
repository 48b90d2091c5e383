//! Whether the server got what its stubs expect, and nothing else.

use crate::mock::fault::Faults;
use crate::mock::journal::{Call, Journal, Unfinished};
use crate::mock::mounted::Mounted;
use crate::mock::registry::Registry;
use std::{
    error, fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What went wrong so far, whatever the stubs' counts say.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Found>);

#[derive(Clone, Debug, Default)]
struct Found {
    unmatched: Vec<Unmatched>,
    /// With those that are not kept.
    unmatched_count: usize,
    panics: Vec<String>,
}

#[derive(Clone, Debug)]
struct Unmatched {
    call: Call,
    explanation: String,
}

/// How many unmatched calls and panics are kept and told.
const KEPT: usize = 10;

impl Findings {
    /// A call that nothing served; `explain` is asked when it is one of those that are told.
    pub(crate) fn add_unmatched(&self, call: &Call, explanation: &str) {
        let mut found = self.lock();
        found.unmatched_count += 1;
        if found.unmatched.len() < KEPT {
            found.unmatched.push(Unmatched {
                call: call.clone(),
                explanation: explanation.to_owned(),
            });
        }
    }

    /// A closure of a stub that panicked.
    pub(crate) fn add_panic(&self, text: String) {
        let mut found = self.lock();
        if found.panics.len() < KEPT {
            found.panics.push(text);
        }
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Found::default();
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why verification failed: what each stub expected and got, the calls that no stub accepted with the stubs that came
/// nearest, closures that panicked, and all calls that came.
///
/// It is what [`verify`](crate::MockServer::verify) gives, of a server or of a [cluster](crate::MockCluster::verify), and the text that the server panics with when it is dropped.
/// `{:?}`, which `unwrap()` prints, is the same text.
#[derive(Clone)]
#[non_exhaustive]
pub struct Report {
    head: String,
    problems: Vec<String>,
    unmatched: Vec<Call>,
    journal: String,
    drawn: Option<Box<Drawn>>,
}

impl Report {
    /// The calls that no stub accepted: the first ten.
    #[must_use]
    pub fn unmatched(&self) -> &[Call] {
        &self.unmatched
    }

    /// Each problem in words.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// What is judged.
pub(crate) struct Judged<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) findings: &'a Findings,
    pub(crate) faults: &'a Faults,
    pub(crate) allow_unmatched: bool,
    /// Calls that were waited for in vain.
    pub(crate) unfinished: Unfinished,
}

/// What is not as expected.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    texts: Vec<String>,
    unmatched: Vec<Call>,
}

/// What was random, and the seed that it was drawn from.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) what: String,
    pub(crate) seed: u64,
}

impl Drawn {
    /// `None`, when nothing was. `choices`: which servers of a cluster.
    pub(crate) fn new(seed: u64, delays: bool, choices: bool, chaos: bool) -> Option<Self> {
        let kinds = [
            (delays, "delays"),
            (delays, "faults"),
            (choices, "choices of servers"),
            (chaos, "events of chaos"),
        ];
        let mut drawn: Vec<_> = kinds
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, what)| *what)
            .collect();
        let last = drawn.pop()?;
        let what = match drawn[..] {
            [] => last.to_owned(),
            _ => format!("{} and {last}", drawn.join(", ")),
        };
        Some(Self { what, seed })
    }
}

/// The variable that repeats what is random.
pub(crate) const SEED: &str = "RPCPLUGIN_TESTKIT_SEED";

impl Problems {
    /// The stubs of this registry that did not get what they expect, and the faults that did not happen as they were to:
    /// `shared` as in [`Faults::unmet`].
    pub(crate) fn unmet(registry: &Registry, faults: &Faults, shared: bool) -> Self {
        let stubs = registry.own();
        let unmet = stubs.iter().map(Arc::as_ref).filter_map(Mounted::unmet);
        Self {
            texts: unmet.chain(faults.unmet(shared)).collect(),
            unmatched: Vec::new(),
        }
    }

    /// Adds those of one server of several.
    pub(crate) fn add(&mut self, server: &str, others: Self) {
        let texts = others.texts.iter();
        self.texts
            .extend(texts.map(|text| format!("{server}: {text}")));
        self.unmatched.extend(others.unmatched);
    }

    /// `Err` with all of them, if there are any.
    pub(crate) fn report(
        self,
        head: String,
        journal: &Journal,
        drawn: Option<Drawn>,
    ) -> Result<(), Report> {
        if self.texts.is_empty() {
            return Ok(());
        }
        Err(Report {
            head,
            problems: self.texts,
            unmatched: self.unmatched,
            journal: journal.listing(),
            drawn: drawn.map(Box::new),
        })
    }
}

impl Judged<'_> {
    /// Everything that is not as expected.
    pub(crate) fn problems(self) -> Problems {
        let found = self.findings.lock().clone();
        let mut problems = Problems::unmet(self.registry, self.faults, false).texts;
        problems.extend(found.panics);
        let mut unmatched = Vec::new();
        if !self.allow_unmatched {
            for one in found.unmatched {
                problems.push(format!("unmatched call: {}\n{}", one.call, one.explanation));
                unmatched.push(one.call);
            }
            let more = found.unmatched_count - unmatched.len();
            if more > 0 {
                problems.push(format!("… and {more} more unmatched calls"));
            }
        }
        let Unfinished {
            in_flight,
            arriving,
            nameless,
        } = self.unfinished;
        let in_flight = in_flight.iter();
        problems.extend(in_flight.map(|call| format!("a call has not ended: {call}")));
        let arriving = arriving.iter();
        problems
            .extend(arriving.map(|call| format!("the request of a call has not arrived: {call}")));
        if nameless > 0 {
            problems.push(format!("calls that have not told their method: {nameless}"));
        }
        Problems {
            texts: problems,
            unmatched,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        for (number, problem) in self.problems.iter().enumerate() {
            let problem = problem.replace('\n', "\n   ");
            write!(f, "\n{}. {problem}", number + 1)?;
        }
        match self.journal.as_str() {
            "" => f.write_str("\nno calls came")?,
            journal => write!(f, "\nall calls:{journal}")?,
        }
        match self.drawn.as_deref() {
            Some(Drawn { what, seed }) => write!(
                f,
                "\n{what} were drawn from a seed: {SEED}={seed} repeats them"
            ),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Report {}
