//! A fault as it is written down: what is done, and when.

use crate::mock::fault::effect::{
    Admission, ByteEffect, CallEffect, Effect, LineEffect, Mangle, Position,
};
use crate::mock::matcher::Matcher;
use crate::mock::reply::Delay;
use crate::mock::stub::Condition;
use crate::mock::times::Times;
use crate::net::Way;
use crate::schema::{Method, MethodName};
use std::{fmt, panic::Location};

/// Something that goes wrong, and when. Inject it into [a server](crate::MockServer::inject) or [a cluster](crate::MockCluster::inject).
///
/// There are four layers. What is farther down the list is closer to the wire:
///
/// | layer | faults | happens to |
/// |---|---|---|
/// | RPC | [`delay`](Self::delay), [`hold`](Self::hold), [`status`](Self::status), [`no_message`](Self::no_message), [`two_messages`](Self::two_messages), [`missing_status`](Self::missing_status), [`malformed_status`](Self::malformed_status), [`status_in_headers`](Self::status_in_headers), [`content_type`](Self::content_type), [`http_status`](Self::http_status), [`bad_compression`](Self::bad_compression), [`garbage_message`](Self::garbage_message), [`truncated_message`](Self::truncated_message), [`oversized_message`](Self::oversized_message), [`oversized_metadata`](Self::oversized_metadata) | the answer to a call |
/// | HTTP/2 stream | [`reset`](Self::reset), [`reset_after_headers`](Self::reset_after_headers), [`reset_mid_message`](Self::reset_mid_message), [`reset_before_trailers`](Self::reset_before_trailers), [`padding`](Self::padding), [`frame_size`](Self::frame_size) | the answer to a call |
/// | HTTP/2 connection | [`go_away`](Self::go_away), [`max_concurrent_streams`](Self::max_concurrent_streams), [`withhold_settings`](Self::withhold_settings), [`withhold_window_updates`](Self::withhold_window_updates), [`unanswered_pings`](Self::unanswered_pings), [`pings`](Self::pings), [`invalid_frame`](Self::invalid_frame), [`raw_bytes`](Self::raw_bytes) | a connection |
/// | byte stream, below TLS | [`latency`](Self::latency), [`bandwidth`](Self::bandwidth), [`slices`](Self::slices), [`stall`](Self::stall), [`cut`](Self::cut), [`cut_by_reset`](Self::cut_by_reset), [`flip_bytes`](Self::flip_bytes) | a connection |
/// | listener | [`refuse`](Self::refuse), [`close_on_accept`](Self::close_on_accept), [`silence`](Self::silence), [`slow_accept`](Self::slow_accept), [`tls_failure`](Self::tls_failure), [`tls_stall`](Self::tls_stall), [`max_connections`](Self::max_connections) | a connection that comes |
///
/// They are the same for stubs, for [tonic services](crate::MockServer::mount_service) and for the mock's own services (health,
/// reflection), on all transports, with and without TLS.
///
/// ```
/// use rpcplugin_testkit::{Fault, Reason, Status, matchers::metadata};
/// use std::time::Duration;
///
/// Fault::status(Status::unavailable("down")).method("Get").at_most(2);
/// Fault::reset_after_headers(Reason::INTERNAL_ERROR).when(metadata("x-tenant", "blue")).nth_call(3);
/// Fault::cut_by_reset().method("Watch").after_messages(2).held();
/// Fault::latency(Duration::from_millis(50)).connection(2..);
/// Fault::hold().method("grpc.health.v1.Health/Check");
/// Fault::delay(Duration::from_secs(1)).probability(0.2);
/// ```
///
/// # When
///
/// Without further words it happens to every call, or to every connection: those that are open when it is injected and those
/// that come. Calls of the mock's own services are in no list of calls, and get only faults that name their
/// [method](Self::method): a client's look-up of the schema is none of the test's calls.
///
/// The conditions narrow that, and all of several must hold. They are asked in this order: method, connection and matchers; then
/// the count of calls; then the dice; then how often it may happen. So `nth_call(3)` is the third of the calls that the method
/// and the matchers accept.
///
/// A fault of a *connection* with a condition about *calls* begins when such a call comes (or when its answer has come as far
/// as [`after_messages`](Self::after_messages) says), on the connection of that call.
///
/// # Several at once
///
/// Each has its own dice and counts. They work from the wire upwards: listener, byte stream, connection, call. A connection or a
/// call gets them in the order in which they were injected, and delays add up. Of those that *break* an answer (a status, a
/// malformed answer, a reset), a call gets one: the one that was injected first. The others count the
/// call and throw their dice, and are not hit.
///
/// A call that [`Auth`](crate::Auth) refuses gets no fault. A [status](Self::status) comes before any stub or service is asked
/// and counted; all other faults break the answer of the one that serves the call.
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    pub(crate) name: String,
    pub(crate) effect: Effect,
    pub(crate) position: Position,
    /// Of faults in the byte stream; `None` for both.
    pub(crate) way: Option<Way>,
    pub(crate) when: When,
    /// Conditions that say the same twice, or that this fault cannot have.
    mistake: Option<String>,
}

/// When a fault happens.
#[derive(Default)]
pub(crate) struct When {
    pub(crate) method: Option<MethodName>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) nth_call: Option<Times>,
    pub(crate) nth_on_connection: Option<Times>,
    pub(crate) connection: Option<Times>,
    pub(crate) after_messages: Option<u64>,
    pub(crate) after_bytes: Option<u64>,
    pub(crate) at_most: Option<u64>,
    pub(crate) probability: Option<f64>,
    pub(crate) times: Option<Times>,
    pub(crate) held: bool,
}

impl When {
    /// Whether a call decides when it happens.
    pub(crate) fn is_about_calls(&self) -> bool {
        self.method.is_some()
            || !self.conditions.is_empty()
            || self.nth_call.is_some()
            || self.nth_on_connection.is_some()
            || self.after_messages.is_some()
    }

    fn is_about_anything(&self) -> bool {
        self.is_about_calls()
            || self.connection.is_some()
            || self.after_bytes.is_some()
            || self.at_most.is_some()
            || self.probability.is_some()
            || self.held
    }
}

/// When.
impl Fault {
    /// Only calls of a method: `Method`, `Service.Method`, `pkg.Service.Method` or `pkg.Service/Method`. Of the mock's own
    /// services too: `grpc.health.v1.Health/Check`.
    pub fn method(mut self, name: impl AsRef<str>) -> Self {
        self.when.method = Some(MethodName::new(name.as_ref()));
        self
    }

    /// Only calls that the matcher accepts, as in [`Stub::when`](crate::Stub::when). All of several must accept.
    ///
    /// If it looks at messages they are waited for: the first of a call that streams both ways, and all of one whose client
    /// streams, before anything is answered.
    #[track_caller]
    pub fn when(mut self, matcher: impl Matcher + 'static) -> Self {
        self.when.conditions.push(Condition {
            matcher: matcher.boxed(),
            place: Some(Location::caller()),
        });
        self
    }

    /// Only the nth of these calls since it was injected, counted from 1 over all connections: a number or a range.
    pub fn nth_call(mut self, nth: impl Into<Times>) -> Self {
        self.when.nth_call = Some(nth.into());
        self
    }

    /// Only the nth of these calls on each connection since it was injected, counted from 1: a number or a range.
    pub fn nth_call_on_connection(mut self, nth: impl Into<Times>) -> Self {
        self.when.nth_on_connection = Some(nth.into());
        self
    }

    /// Only the nth connection, or what comes on it: a number or a range. It is the
    /// [`connection_id`](crate::Call::connection_id) of its calls: connections are counted from 1 for as long as the server
    /// lives.
    pub fn connection(mut self, nth: impl Into<Times>) -> Self {
        self.when.connection = Some(nth.into());
        self
    }

    /// Only once so many messages of the call's answer have been sent; if it breaks one, the next. A call that ends before is
    /// not hit.
    pub fn after_messages(mut self, messages: u64) -> Self {
        self.when.after_messages = Some(messages);
        self
    }

    /// Only once so many bytes have been sent. For a fault of a call, or of a connection by a call, those are the bytes of the
    /// call's answer (messages with their five-byte prefixes); for one of the byte stream, what passes that way on the wire; for
    /// one of an HTTP/2 connection, all that it sends. They are counted for each call and each connection.
    pub fn after_bytes(mut self, bytes: u64) -> Self {
        self.when.after_bytes = Some(bytes);
        self
    }

    /// It happens so many times and no more.
    pub fn at_most(mut self, n: u64) -> Self {
        self.when.at_most = Some(n);
        self
    }

    /// It happens once and no more.
    pub fn once(self) -> Self {
        self.at_most(1)
    }

    /// Of those calls or connections, each is hit with this probability, from 0 to 1. Each fault has dice of its own, drawn from
    /// the server's [seed](crate::mock::MockServerBuilder::seed): the nth is hit again when the test runs with the same seed.
    ///
    /// # Panics
    ///
    /// When it is not from 0 to 1.
    #[track_caller]
    pub fn probability(mut self, probability: f64) -> Self {
        assert!(
            (0.0..=1.0).contains(&probability),
            "a probability is from 0 to 1, and {probability} is not"
        );
        self.when.probability = Some(probability);
        self
    }

    /// How many times it is expected to happen: a number or a range. It happens beyond that too, and
    /// [verification](crate::MockServer::verify) fails; so does a fault that never came to pass.
    pub fn times(mut self, times: impl Into<Times>) -> Self {
        self.when.times = Some(times.into());
        self
    }

    /// It comes up to the moment, counts as hit, and waits there until it is
    /// [released](crate::mock::InjectedFault::release). So a test can wait for the moment, look at it, and go on.
    pub fn held(mut self) -> Self {
        self.when.held = true;
        self
    }

    /// Only what the client sends. For faults of the byte stream.
    pub fn incoming(self) -> Self {
        self.one_way(Way::In)
    }

    /// Only what the server sends. For faults of the byte stream.
    pub fn outgoing(self) -> Self {
        self.one_way(Way::Out)
    }

    fn one_way(mut self, way: Way) -> Self {
        if !matches!(self.effect, Effect::Line(LineEffect::Bytes(_))) {
            self.mistake = Some("only a fault of the byte stream has a direction".to_owned());
        }
        self.way = Some(way);
        self
    }
}

/// Making and checking.
impl Fault {
    pub(super) fn new(name: impl Into<String>, effect: Effect) -> Self {
        Self {
            name: name.into(),
            effect,
            position: Position::Start,
            way: None,
            when: When::default(),
            mistake: None,
        }
    }

    pub(super) fn call(name: impl Into<String>, effect: CallEffect) -> Self {
        Self::new(name, Effect::Call(effect))
    }

    pub(super) fn mangle(name: impl Into<String>, mangle: Mangle) -> Self {
        let trailing = mangle.is_of_trailers();
        let fault = Self::call(name, CallEffect::Mangle(mangle));
        match trailing {
            true => fault.at(Position::Trailers),
            false => fault.at(Position::Messages(0)),
        }
    }

    pub(super) fn line(name: impl Into<String>, effect: LineEffect) -> Self {
        Self::new(name, Effect::Line(effect))
    }

    pub(super) fn bytes(name: impl Into<String>, effect: ByteEffect) -> Self {
        Self::line(name, LineEffect::Bytes(effect))
    }

    pub(super) fn admission(name: impl Into<String>, effect: Admission) -> Self {
        Self::new(name, Effect::Admission(effect))
    }

    pub(super) fn at(mut self, position: Position) -> Self {
        self.position = position;
        self
    }

    /// Where in an answer it happens.
    pub(crate) fn resolved(&self) -> Position {
        match (
            self.when.after_messages,
            self.when.after_bytes,
            self.position,
        ) {
            (Some(messages), _, Position::MidMessage(_)) => Position::MidMessage(messages),
            (Some(0), _, Position::Start | Position::Answer) | (None, Some(0), _) => {
                Position::Headers
            }
            (Some(messages), ..) => Position::Messages(messages),
            (None, Some(bytes), _) => Position::Bytes(bytes),
            (None, None, position) => position,
        }
    }

    /// Whether it throws dice.
    pub(crate) fn is_random(&self) -> bool {
        let delay = match &self.effect {
            Effect::Call(CallEffect::Delay(delay))
            | Effect::Admission(Admission::Slow(delay))
            | Effect::Line(LineEffect::Bytes(ByteEffect::Latency(delay))) => Some(delay),
            _ => None,
        };
        self.when.probability.is_some() || delay.is_some_and(Delay::is_random)
    }

    /// Tells its matchers the method's types.
    pub(crate) fn prepare(&mut self, method: &Method) -> Result<(), String> {
        let mut conditions = self.when.conditions.iter_mut();
        conditions.try_for_each(|condition| condition.prepare(method))
    }

    /// Whether it is told to happen somewhere else than its name says.
    fn says_itself_where(&self) -> bool {
        let (messages, bytes) = (self.when.after_messages, self.when.after_bytes);
        match self.position {
            Position::Start | Position::Answer => false,
            Position::MidMessage(_) => bytes.is_some(),
            _ => messages.is_some() || bytes.is_some(),
        }
    }

    /// What is wrong with it, for a server with or without TLS.
    pub(crate) fn check(&self, tls: bool) -> Result<(), String> {
        if let Some(mistake) = &self.mistake {
            return Err(mistake.clone());
        }
        let when = &self.when;
        if when.after_messages.is_some() && when.after_bytes.is_some() {
            return Err("it is after so many messages and after so many bytes: say one".to_owned());
        }
        if when.nth_call.is_some() && when.nth_on_connection.is_some() {
            return Err("it counts calls in two ways: say one".to_owned());
        }
        let counted = [when.nth_call, when.nth_on_connection, when.connection];
        if counted.into_iter().flatten().any(|nth| nth.most() == 0) {
            return Err("calls and connections are counted from 1".to_owned());
        }
        let late = when.after_messages.is_some() || when.after_bytes.is_some();
        match &self.effect {
            Effect::Call(CallEffect::Reset(_)) if self.says_itself_where() => Err(
                "it says itself where in the answer it happens: use `Fault::reset`".to_owned(),
            ),
            Effect::Refusal if when.is_about_anything() => Err(
                "a dial is refused before the server knows anything of it, so it has no condition; use \
                 `Fault::close_on_accept` for some connections and not for others"
                    .to_owned(),
            ),
            Effect::Admission(_) if when.is_about_calls() || when.after_bytes.is_some() => Err(
                "it happens before any call comes and any byte passes, so it has no condition about those"
                    .to_owned(),
            ),
            Effect::Admission(Admission::TlsFailure | Admission::TlsStall) if !tls => {
                Err("the server speaks no TLS: build it with `.tls(..)` or `.mtls()`".to_owned())
            }
            Effect::Call(CallEffect::Mangle(mangle))
                if late && (mangle.is_of_headers() || mangle.is_of_trailers()) =>
            {
                Err("it is not about a message, and so after none".to_owned())
            }
            Effect::Call(CallEffect::Mangle(_)) if when.after_bytes.is_some() => {
                Err("it is about a message: use `after_messages`".to_owned())
            }
            Effect::Call(CallEffect::Frames { .. }) if late => {
                Err("it is about all frames of an answer, and so after nothing".to_owned())
            }
            Effect::Call(CallEffect::Frames { .. }) if when.held => {
                Err("it is about all frames of an answer, and so has no moment to be held at".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = &self.when;
        let conditions = when.conditions.iter().map(|one| one.matcher.describe());
        f.debug_struct("Fault")
            .field("name", &self.name)
            .field("method", &when.method.as_ref().map(MethodName::as_str))
            .field("conditions", &conditions.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
