//! A call, from its first attempt to its last.

use crate::client::balance::Candidate as _;
use crate::client::channel::attempt::Attempt;
use crate::client::channel::head::Head;
use crate::client::channel::hedge;
use crate::client::channel::set::Channel;
use crate::client::channel::tries::Tries;
use crate::client::options::{CallOptions, Served};
use crate::client::replay::Kept;
use crate::client::response_body::{ResponseBody, status_of};
use crate::client::retry::{Class, Course, Failure, Pushback, Verdict, Why};
use crate::client::telemetry::CallTelemetry;
use crate::client::timer::{Deadline, Timer};
use crate::client::transport::Broken;
use crate::error::{Error, Kind};
use http::{Extensions, HeaderValue, Request, Response, Uri, request::Parts};
use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status, body::Body};
use tracing::Instrument as _;

/// [How often a call was made before](https://github.com/grpc/proposal/blob/master/A6-client-retries.md).
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

impl Channel {
    /// Makes a call, as often as its policy lets it, and gives its response when that has begun.
    ///
    /// The deadline is that of the call, of the `grpc-timeout` header, or of the configuration; it goes on over the body.
    /// Dropping the future, or later the body, resets the stream.
    pub(crate) fn send<E: From<Error>>(
        self: Arc<Self>,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, E>> + Send {
        // Here and below a future is made of what has been taken out of its arguments: an `async fn` has room for both.
        let call = Calling::new(self, request);
        async move {
            let telemetry = Arc::clone(&call.telemetry);
            let span = telemetry.span.clone();
            let hedge = call.channel.config.retry.hedge;
            let answered = match hedge.filter(|_| call.is_idempotent()) {
                Some(hedge) => Box::pin(hedge::run(call, hedge)).instrument(span).await,
                None => call.run().instrument(span).await,
            };
            match answered {
                Ok(response) => {
                    if let Some(code) = status_of(response.headers()) {
                        telemetry.ended(code);
                    }
                    Ok(response)
                }
                Err(error) => {
                    telemetry.ended(error.code().unwrap_or(Code::Unknown));
                    Err(error.into())
                }
            }
        }
    }
}

/// One call under way.
pub(super) struct Calling {
    pub(super) channel: Arc<Channel>,
    head: Head,
    pub(super) options: CallOptions,
    pub(super) kept: Kept,
    /// Is told who serves it.
    served: Option<Served>,
    pub(super) telemetry: Arc<CallTelemetry>,
    /// Asked for only when it matters.
    idempotent: OnceLock<bool>,
}

/// An attempt that failed.
pub(super) struct Failed {
    pub(super) key: u64,
    pub(super) target: Arc<str>,
    pub(super) class: Class,
    pub(super) code: Code,
    pub(super) pushback: Option<Pushback>,
    pub(super) told: Told,
}

/// How a failure is told.
pub(super) enum Told {
    Error(Error),
    /// A response that is nothing but a status.
    Response(Box<Response<ResponseBody>>),
}

impl Calling {
    fn new(channel: Arc<Channel>, request: Request<Body>) -> Self {
        let (mut parts, body) = request.into_parts();
        let options = CallOptions::take(&mut parts, &channel.config);
        let served = parts.extensions.remove::<Served>();
        // What is left there has nobody to read it, and every attempt would copy it.
        parts.extensions = Extensions::new();
        channel.totals.called();
        let telemetry = CallTelemetry::begin(parts.uri.path(), || channel.target());
        Self {
            kept: Kept::new(body, channel.config.retry.buffer),
            head: Head::new(parts),
            options,
            served,
            idempotent: OnceLock::new(),
            channel,
            telemetry: Arc::new(telemetry),
        }
    }

    /// One attempt after the other.
    async fn run(&self) -> Result<Response<ResponseBody>, Error> {
        let channel = &self.channel;
        let mut course = Course::new(&channel.config.retry);
        // In a box, as most calls have none.
        let mut tries: Option<Box<Tries>> = None;
        let began = Instant::now();
        let mut failed_at: Option<Instant> = None;
        loop {
            let chosen = channel.choose(tries.as_deref(), &self.options, self.uri());
            let attempt = match chosen.await {
                Ok(attempt) => attempt,
                Err(error) => return Err(self.conclude(tries.map(|tries| *tries), error, "")),
            };
            if let Some(failed_at) = failed_at {
                self.telemetry.waited(failed_at.elapsed());
            }
            let failed = match self.attempt(attempt, course.previous_attempts()).await {
                Ok(response) => {
                    self.kept.commit();
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            let tried = tries.get_or_insert_with(|| Box::new(Tries::new(began)));
            let (is_lone, has_others) = self.others(&failed, tried);
            if failed.is_final(is_lone) {
                return self.give_up(tries.map(|tries| *tries), failed, "");
            }
            let failure = self.failure(&failed);
            let left = self.left();
            let tokens = channel.tokens.as_ref();
            match course.next(&failure, tokens, left, has_others, channel.dice.roll()) {
                Verdict::GiveUp(why) => {
                    if why == Why::Throttled {
                        channel.totals.throttled();
                    }
                    let why = self.explain(why);
                    return self.give_up(tries.map(|tries| *tries), failed, &why);
                }
                Verdict::Again { after, transparent } => {
                    tracing::debug!(
                        path = self.path(), target = %failed.target, code = ?failed.code, ?after, transparent, "again"
                    );
                    channel.totals.retried(transparent);
                    self.telemetry.retried(transparent);
                    failed_at = Some(Instant::now());
                    tried.push(
                        failed.key,
                        &failed.target,
                        failed.told.into_error(self.path(), &failed.target),
                    );
                    if !after.is_zero() {
                        sleep_until(Instant::now() + after).await;
                    }
                }
            }
        }
    }

    /// One attempt at one endpoint. The response is that of a call that was processed.
    pub(super) fn attempt(
        &self,
        mut attempt: Attempt,
        previous: u32,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Failed>> + Send {
        attempt.telemetry.inside(&self.telemetry);
        let mut parts = self.head.take();
        if previous > 0 {
            parts
                .headers
                .insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous));
        }
        if let Some(served) = &self.served {
            served.by(attempt.member.transport.target());
        }
        let body = self.kept.reader();
        let limit = self.channel.config.retry.attempt_timeout;
        let mut timer = Timer::new(limit.map(|limit| Deadline::after(Some(limit))));
        async move {
            let sent = timer.limit(pin!(self.answer(&attempt, parts, body))).await;
            let sent = sent.unwrap_or_else(|| {
                let target = attempt.member.transport.target();
                Err(self.late(target, limit.unwrap_or_default()))
            });
            judged(attempt, &self.telemetry, sent)
        }
    }

    /// The response to a request. If the call may be made again, and nobody sees a part of the response before the whole, it is
    /// the whole: one that breaks off is no response.
    async fn answer(
        &self,
        attempt: &Attempt,
        parts: Box<Parts>,
        body: Body,
    ) -> Result<Response<ResponseBody>, Broken> {
        let transport = &attempt.member.transport;
        let (patience, traffic) = (attempt.patience, attempt.traffic());
        let sent = transport.send(parts, body, &self.options, patience, &traffic);
        let response = sent.await?;
        if self.options.unary && self.is_idempotent() {
            // The room for both would be in the future of every call.
            return Box::pin(self.whole(response)).await;
        }
        Ok(response)
    }

    async fn whole(
        &self,
        mut response: Response<ResponseBody>,
    ) -> Result<Response<ResponseBody>, Broken> {
        let arrived = response.body_mut().arrive(self.channel.config.retry.buffer);
        let class = Class::Failed;
        arrived.await.map_err(|error| Broken { error, class })?;
        Ok(response)
    }

    pub(super) fn path(&self) -> &str {
        self.uri().path()
    }

    pub(super) fn uri(&self) -> &Uri {
        self.head.uri()
    }

    pub(super) fn is_idempotent(&self) -> bool {
        let asked = || {
            let (path, channel) = (self.path(), &self.channel);
            self.options.idempotent
                || channel.names_idempotent(path)
                || (channel.is_idempotent)(path)
        };
        *self.idempotent.get_or_init(asked)
    }

    pub(super) fn failure(&self, failed: &Failed) -> Failure {
        Failure {
            class: failed.class,
            code: failed.code,
            pushback: failed.pushback,
            idempotent: self.is_idempotent(),
            repeatable: self.kept.is_repeatable(),
        }
    }

    /// Whether there is one endpoint and no other, and whether there is one that takes calls and was not tried.
    pub(super) fn others(&self, failed: &Failed, tries: &Tries) -> (bool, bool) {
        let has = |key| key == failed.key || tries.has(key);
        let snapshot = self.channel.snapshot();
        let untried = snapshot.takers().any(|other| !has(other.key()));
        (snapshot.is_lone(), untried)
    }

    pub(super) fn left(&self) -> Option<Duration> {
        let at = self.options.deadline?.at?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// An attempt that is given up for the next.
    fn late(&self, target: &str, limit: Duration) -> Broken {
        let problem = format!("no response within the attempt timeout of {limit:?}");
        let text = format!("{} at {target} failed: UNAVAILABLE: {problem}", self.path());
        Broken {
            error: Error::new(Kind::Status, text).with_status(Status::unavailable(problem)),
            class: Class::Failed,
        }
    }

    /// Why there is no other attempt, where that is not plain.
    fn explain(&self, why: Why) -> String {
        let once = self.channel.config.retry.attempts <= 1;
        match why {
            Why::NotIdempotent | Why::Code | Why::Committed => String::new(),
            Why::Exhausted if once => String::new(),
            why => why.to_string(),
        }
    }

    pub(super) fn conclude(&self, tries: Option<Tries>, last: Error, why: &str) -> Error {
        match tries {
            Some(tries) => tries.conclude(self.path(), last, why),
            None => last,
        }
    }

    /// The end of a call with a failed attempt: as it came, or with those before it.
    pub(super) fn give_up(
        &self,
        tries: Option<Tries>,
        failed: Failed,
        why: &str,
    ) -> Result<Response<ResponseBody>, Error> {
        let is_only = tries.as_ref().is_none_or(Tries::is_empty);
        let told = match failed.told {
            Told::Response(response) if is_only && why.is_empty() => return Ok(*response),
            told => told.into_error(self.path(), &failed.target),
        };
        let tries = tries.map(|mut tries| {
            tries.push(failed.key, &failed.target, told.clone());
            tries
        });
        Err(self.conclude(tries, told, why))
    }
}

/// What came of an attempt, which its endpoint is judged by.
fn judged(
    attempt: Attempt,
    telemetry: &Arc<CallTelemetry>,
    sent: Result<Response<ResponseBody>, Broken>,
) -> Result<Response<ResponseBody>, Failed> {
    let member = Arc::clone(&attempt.member);
    let failed = |class, code, pushback, told| Failed {
        key: member.key(),
        target: Arc::clone(member.transport.target()),
        class,
        code,
        pushback,
        told,
    };
    match sent {
        Ok(mut response) => match status_of(response.headers()) {
            None => {
                // If the call goes on with this response, it ends with it.
                let telemetry = Arc::clone(telemetry);
                response.body_mut().on_end(move |end| {
                    attempt.ended(end.code());
                    telemetry.ended(end.code());
                });
                Ok(response)
            }
            Some(Code::Ok) => {
                attempt.ended(Code::Ok);
                Ok(response)
            }
            Some(code) => {
                attempt.ended(code);
                let pushback = Pushback::read(response.headers());
                let told = Told::Response(Box::new(response));
                Err(failed(Class::Failed, code, pushback, told))
            }
        },
        Err(Broken { error, class }) => {
            let code = error.code().unwrap_or(Code::Unknown);
            match class {
                Class::Unsent => attempt.unsent(),
                _ => attempt.ended(code),
            }
            Err(failed(class, code, None, Told::Error(error)))
        }
    }
}

impl Failed {
    /// Whether there is nowhere else to go: a single endpoint that cannot be reached, or a deadline that has passed.
    pub(super) fn is_final(&self, is_lone: bool) -> bool {
        match &self.told {
            Told::Error(error) if self.class == Class::Unsent => {
                error.is_timeout() || (is_lone && error.is_connect())
            }
            _ => false,
        }
    }
}

impl Told {
    pub(super) fn into_error(self, path: &str, target: &str) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Response(response) => {
                let status = Status::from_header_map(response.headers());
                let status = status.unwrap_or_else(|| Status::unknown("no status"));
                let (code, message) = (crate::wire::status::name(status.code()), status.message());
                let text = format!("{path} at {target} failed: {code}: {message}");
                Error::new(Kind::Status, text).with_status(status)
            }
        }
    }
}
