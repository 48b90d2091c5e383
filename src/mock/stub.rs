//! A specification: which calls, how often, and what is answered.

use crate::mock::matcher::Matcher;
use crate::mock::reply::{IntoReply, Responder};
use crate::mock::sequence::Sequence;
use crate::mock::times::Times;
use crate::schema::{Method, MethodName};
use std::{fmt, panic::Location, sync::Arc};

/// Which calls, and what they get. Mount it with [`MockServer::mount`](crate::MockServer::mount).
///
/// A stub without a reply answers with a message whose fields have their defaults.
///
/// ```
/// use rpcplugin_testkit::{Call, Code, Reply, Status, Stub, json, matchers::{field, metadata}};
///
/// Stub::any().reply(|call: &Call| json!({"success": true, "method": call.method()}));
/// Stub::method("Get").when(json!({"key": "a"})).reply(json!({"value": 1}));
/// Stub::method("Put").when(field("entry.size", 0)).when(metadata("x-tenant", "blue")).reply(json!({}));
/// Stub::method("kv.v1.Store/Put").named("full disk").reply(Reply::status(Code::ResourceExhausted, "disk full"));
/// Stub::method("Slow").reply(|call: Call| async move { json!({"echo": call.request()}) });
///
/// // Fails twice, then succeeds, and expects three calls or four.
/// Stub::method("Get").reply(Status::unavailable("warming up")).repeat(2).then(json!({"value": 1})).times(3..=4);
/// ```
///
/// # Which stub serves a call
///
/// Of the stubs for the call's method, in this order, the first whose conditions accept the call and which has replies left:
///
/// 1. the one with the higher [priority](Self::priority);
/// 2. of equal priority, one for the method before one for [any](Self::any);
/// 3. of those, the one that was mounted later.
///
/// So a test puts its special case in front of what its fixture mounted. Calls that run at the same time are counted
/// exactly: a stub with [`at_most(2)`](Self::at_most) serves two of them, whichever come first.
#[must_use = "a stub does nothing until it is mounted"]
pub struct Stub {
    pub(crate) method: Option<MethodName>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) replies: Vec<Replies>,
    /// Whether the last reply serves all later calls.
    pub(crate) sticks: bool,
    pub(crate) times: Option<Times>,
    pub(crate) at_most: Option<u64>,
    pub(crate) priority: i32,
    pub(crate) sequence: Option<Sequence>,
    pub(crate) name: Option<String>,
    pub(crate) secret: bool,
    /// Where it is from, when that is no line of a test.
    origin: Option<String>,
    place: &'static Location<'static>,
}

/// A matcher, and where it was given.
pub(crate) struct Condition {
    pub(crate) matcher: Box<dyn Matcher>,
    /// `None` for one that stands in no test.
    pub(crate) place: Option<&'static Location<'static>>,
}

/// A reply, and how many calls in a row get it.
#[derive(Clone)]
pub(crate) struct Replies {
    pub(crate) responder: Arc<Responder>,
    pub(crate) count: u64,
}

impl Stub {
    /// A stub for every call.
    #[track_caller]
    pub fn any() -> Self {
        Self::new(None)
    }

    /// A stub for a method: `Method`, `Service.Method`, `pkg.Service.Method` or `pkg.Service/Method`.
    #[track_caller]
    pub fn method(name: impl AsRef<str>) -> Self {
        Self::new(Some(MethodName::new(name.as_ref())))
    }

    #[track_caller]
    fn new(method: Option<MethodName>) -> Self {
        Self {
            method,
            conditions: Vec::new(),
            replies: Vec::new(),
            sticks: true,
            times: None,
            at_most: None,
            priority: 0,
            sequence: None,
            name: None,
            secret: false,
            origin: None,
            place: Location::caller(),
        }
    }

    /// Narrows it to calls that the matcher accepts: JSON that the request equals, one of [`matchers`](crate::matchers), or
    /// a closure over the call. All of several must accept.
    #[track_caller]
    pub fn when(mut self, matcher: impl Matcher + 'static) -> Self {
        self.conditions.push(Condition {
            matcher: matcher.boxed(),
            place: Some(Location::caller()),
        });
        self
    }

    /// What it answers: JSON, a [`Reply`](crate::Reply), a [`Status`](crate::Status), or a closure; see [`IntoReply`]. It
    /// replaces all replies that were given before.
    pub fn reply<How>(mut self, reply: impl IntoReply<How>) -> Self {
        self.replies.clear();
        self.then(reply)
    }

    /// What it answers next, after each of the replies before was given once (or as often as [`repeat`](Self::repeat)
    /// says). The last one sticks, unless [`then_unmatched`](Self::then_unmatched) is said.
    pub fn then<How>(mut self, reply: impl IntoReply<How>) -> Self {
        self.replies.push(Replies {
            responder: Arc::new(reply.into_reply().0),
            count: 1,
        });
        self.sticks = true;
        self
    }

    /// How many calls in a row get the reply that was given last, when another one follows.
    ///
    /// # Panics
    ///
    /// When no reply was given, or `n` is zero.
    #[track_caller]
    pub fn repeat(mut self, n: u64) -> Self {
        let Some(last) = self.replies.last_mut() else {
            panic!("`repeat` is about the reply before it, and there is none");
        };
        assert!(n > 0, "a reply that is given to no call: leave it out");
        last.count = n;
        self
    }

    /// When all its replies were given, it stands aside: the next stub in order is asked.
    pub fn then_unmatched(mut self) -> Self {
        self.sticks = false;
        self
    }

    /// How many calls it expects: a number or a range. It goes on answering beyond that, and
    /// [verification](crate::MockServer::verify) fails.
    pub fn times(mut self, times: impl Into<Times>) -> Self {
        self.times = Some(times.into());
        self
    }

    /// It expects no call. One that comes gets `FAILED_PRECONDITION`, unless a reply was given, and
    /// [verification](crate::MockServer::verify) fails.
    pub fn never(self) -> Self {
        self.times(0)
    }

    /// It serves so many calls and then stands aside: the next stub in order is asked.
    pub fn at_most(mut self, n: u64) -> Self {
        self.at_most = Some(n);
        self
    }

    /// The higher comes first. Default: 0.
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// It serves only in its turn, and expects one call for each of its replies if [`times`](Self::times) does not say
    /// otherwise. See [`Sequence`].
    ///
    /// Its place is that of its mounting among the stubs of the sequence.
    pub fn in_sequence(mut self, sequence: &Sequence) -> Self {
        self.sequence = Some(sequence.clone());
        self
    }

    /// A name for it, shown in records and messages.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The messages of its calls are secrets: they are recorded, and neither printed nor [saved](crate::Journal::save).
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// What stands for its place in messages.
    pub(crate) fn from(mut self, origin: String) -> Self {
        self.origin = Some(origin);
        for condition in &mut self.conditions {
            condition.place = None;
        }
        self
    }

    /// What is wrong with its counts.
    fn check_counts(&self) -> Result<(), String> {
        let limit = self.at_most.unwrap_or(u64::MAX);
        match self.times {
            Some(times) if !times.is_possible(limit) => Err(match self.at_most {
                Some(limit) => format!("it expects {times} and serves at most {limit}"),
                None => format!("it expects {times}, which no number is"),
            }),
            _ => Ok(()),
        }
    }

    /// Whether it can be mounted, for this method if that is known.
    pub(crate) fn check(&mut self, method: Option<&Method>) -> Result<(), String> {
        self.check_counts()?;
        method.map_or(Ok(()), |method| self.prepare(method))
    }

    /// Tells its matchers the method's types.
    fn prepare(&mut self, method: &Method) -> Result<(), String> {
        let mut conditions = self.conditions.iter_mut();
        conditions.try_for_each(|condition| condition.prepare(method))
    }

    /// Its name, or its method, and a place.
    pub(crate) fn label(&self, place: &Location<'_>) -> String {
        if let Some(origin) = &self.origin {
            return origin.clone();
        }
        match (self.name.as_deref(), self.method.as_ref()) {
            (Some(name), _) => format!("`{name}` ({place})"),
            (None, Some(method)) => format!("Stub::method({:?}) ({place})", method.as_str()),
            (None, None) => format!("Stub::any() ({place})"),
        }
    }
}

impl Condition {
    /// Tells its matcher the method's types.
    pub(crate) fn prepare(&mut self, method: &Method) -> Result<(), String> {
        let told = self.describe();
        let prepared = self.matcher.prepare(method);
        prepared.map_err(|problem| {
            let method = method.full_name();
            format!("{told} can match no call of {method}: {problem}")
        })
    }

    /// What it wants, and where it was given.
    pub(crate) fn describe(&self) -> String {
        let what = self.matcher.describe();
        match self.place {
            Some(place) => format!("{what} ({place})"),
            None => what,
        }
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions = self.conditions.iter().map(|one| one.matcher.describe());
        let mut shown = f.debug_struct("Stub");
        shown.field("label", &self.label(self.place));
        if self.secret {
            return shown.finish_non_exhaustive();
        }
        shown
            .field("conditions", &conditions.collect::<Vec<_>>())
            .field("replies", &self.replies)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} × {}", self.responder, self.count)
    }
}
