//! Matchers made of matchers.

use crate::mock::journal::Call;
use crate::mock::matcher::rule::{Matcher, Mismatch};
use crate::schema::Method;

/// All of them accept. A stub with several `.when(..)` is the same.
///
/// ```
/// use rpcplugin_testkit::{Stub, json, matchers::{all, any, field, metadata, not}};
///
/// let blue = all((metadata("x-tenant", "blue"), not(field("key", ""))));
/// Stub::method("Get").when(any((blue, json!({"key": "public"})))).reply(json!({"value": 1}));
/// ```
#[must_use]
pub fn all(matchers: impl MatcherList) -> impl Matcher {
    All(matchers.into_list())
}

/// At least one of them accepts.
#[must_use]
pub fn any(matchers: impl MatcherList) -> impl Matcher {
    Any(matchers.into_list())
}

/// It does not accept.
#[must_use]
pub fn not(matcher: impl Matcher + 'static) -> impl Matcher {
    Not(matcher.boxed())
}

/// Several matchers: a tuple of up to eight, or a `Vec` of one type.
pub trait MatcherList {
    /// The matchers, one by one.
    fn into_list(self) -> Vec<Box<dyn Matcher>>;
}

impl<M: Matcher + 'static> MatcherList for Vec<M> {
    fn into_list(self) -> Vec<Box<dyn Matcher>> {
        self.into_iter().map(Matcher::boxed).collect()
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: Matcher + 'static),+> MatcherList for ($($name,)+) {
            #[expect(non_snake_case, reason = "a variable for each type")]
            fn into_list(self) -> Vec<Box<dyn Matcher>> {
                let ($($name,)+) = self;
                vec![$($name.boxed()),+]
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);

struct All(Vec<Box<dyn Matcher>>);
struct Any(Vec<Box<dyn Matcher>>);
struct Not(Box<dyn Matcher>);

/// The lines of one matcher's mismatch, behind its description.
fn told(matcher: &dyn Matcher, call: &Call) -> Vec<String> {
    let mismatch = matcher.mismatch(call);
    let lines = mismatch.lines().iter();
    lines
        .map(|line| format!("{}: {line}", matcher.describe()))
        .collect()
}

fn describe(matchers: &[Box<dyn Matcher>], between: &str) -> String {
    let all: Vec<_> = matchers.iter().map(|matcher| matcher.describe()).collect();
    format!("({})", all.join(between))
}

fn prepare(matchers: &mut [Box<dyn Matcher>], method: &Method) -> Result<(), String> {
    matchers
        .iter_mut()
        .try_for_each(|matcher| matcher.prepare(method))
}

fn reads_messages(matchers: &[Box<dyn Matcher>]) -> bool {
    matchers.iter().any(|matcher| matcher.reads_messages())
}

impl Matcher for All {
    fn matches(&self, call: &Call) -> bool {
        self.0.iter().all(|matcher| matcher.matches(call))
    }

    fn describe(&self) -> String {
        describe(&self.0, " and ")
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        let failing = self.0.iter().filter(|matcher| !matcher.matches(call));
        Mismatch::of(failing.flat_map(|matcher| told(&**matcher, call)))
    }

    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        prepare(&mut self.0, method)
    }

    fn reads_messages(&self) -> bool {
        reads_messages(&self.0)
    }

    fn request_hash(&self) -> Option<u64> {
        self.0.iter().find_map(|matcher| matcher.request_hash())
    }
}

impl Matcher for Any {
    fn matches(&self, call: &Call) -> bool {
        self.0.iter().any(|matcher| matcher.matches(call))
    }

    fn describe(&self) -> String {
        describe(&self.0, " or ")
    }

    fn mismatch(&self, call: &Call) -> Mismatch {
        Mismatch::of(self.0.iter().flat_map(|matcher| told(&**matcher, call)))
    }

    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        prepare(&mut self.0, method)
    }

    fn reads_messages(&self) -> bool {
        reads_messages(&self.0)
    }
}

impl Matcher for Not {
    fn matches(&self, call: &Call) -> bool {
        !self.0.matches(call)
    }

    fn describe(&self) -> String {
        format!("not {}", self.0.describe())
    }

    fn mismatch(&self, _: &Call) -> Mismatch {
        Mismatch::new("it is so")
    }

    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        self.0.prepare(method)
    }

    fn reads_messages(&self) -> bool {
        self.0.reads_messages()
    }
}
