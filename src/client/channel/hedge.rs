//! Several attempts of one call at the same time.

use crate::client::balance::Candidate as _;
use crate::client::channel::attempt::Attempt;
use crate::client::channel::send::{Calling, Failed};
use crate::client::channel::tries::Tries;
use crate::client::response_body::ResponseBody;
use crate::client::retry::{Course, Hedge, Pushback, RetryPolicy, Verdict, Why};
use crate::error::Error;
use http::Response;
use std::{panic, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

type Answer = Result<Response<ResponseBody>, Failed>;

/// Makes a call as [gRPC's hedging](https://github.com/grpc/proposal/blob/master/A6-client-retries.md#hedging-policy) has it:
/// another attempt whenever the delay has passed without a response, and at once when one has failed in a way that is
/// repeated. The first response is taken, and all other attempts are dropped.
pub(super) async fn run(call: Calling, hedge: Hedge) -> Result<Response<ResponseBody>, Error> {
    let policy = RetryPolicy {
        attempts: hedge.attempts.max(1),
        ..call.channel.config.retry.clone()
    };
    let mut hedging = Hedging {
        course: Course::new(&policy),
        tries: Tries::new(Instant::now()),
        flying: JoinSet::new(),
        sent: 0,
        idle_since: None,
        next: None,
        stopped: None,
        hedge,
        call: Arc::new(call),
    };
    hedging.begin().await?;
    loop {
        match hedging.wait().await {
            Some(Ok(response)) => {
                hedging.call.kept.commit();
                return Ok(response);
            }
            Some(Err(failed)) => {
                if let Some(why) = hedging.weigh(&failed) {
                    let call = Arc::clone(&hedging.call);
                    return call.give_up(Some(hedging.tries), failed, &why);
                }
                let call = &hedging.call;
                let told = failed.told.into_error(call.path(), &failed.target);
                hedging.tries.push(failed.key, &failed.target, told);
            }
            None if hedging.flying.is_empty() => hedging.begin().await?,
            None => hedging.another(),
        }
    }
}

struct Hedging {
    call: Arc<Calling>,
    hedge: Hedge,
    course: Course,
    tries: Tries,
    flying: JoinSet<Answer>,
    /// Those that were certainly not processed do not count.
    sent: u32,
    /// Since when none is in flight.
    idle_since: Option<Instant>,
    /// When another attempt is made; `None`, when no other is.
    next: Option<Instant>,
    /// Why no other is made, whatever becomes of those in flight.
    stopped: Option<Why>,
}

impl Hedging {
    /// An attempt to begin with, or to go on with when none is in flight.
    async fn begin(&mut self) -> Result<(), Error> {
        let call = &self.call;
        let chosen = call
            .channel
            .choose(Some(&self.tries), &call.options, call.uri());
        match chosen.await {
            Ok(attempt) => {
                if let Some(since) = self.idle_since.take() {
                    call.telemetry.waited(since.elapsed());
                }
                self.start(attempt);
                Ok(())
            }
            Err(error) => {
                let tries = std::mem::replace(&mut self.tries, Tries::new(Instant::now()));
                Err(call.conclude(Some(tries), error, ""))
            }
        }
    }

    fn start(&mut self, attempt: Attempt) {
        self.tries.occupy(attempt.member.key());
        let (call, previous) = (Arc::clone(&self.call), self.sent);
        self.flying
            .spawn(async move { call.attempt(attempt, previous).await });
        self.sent += 1;
        self.plan(self.hedge.delay);
    }

    /// Another attempt is made then, if it may be.
    fn plan(&mut self, after: Duration) {
        let may_follow = self.stopped.is_none() && self.sent < self.hedge.attempts;
        self.next = may_follow
            .then(|| Instant::now().checked_add(after))
            .flatten();
    }

    /// The next answer; `None`, when it is time for another attempt.
    async fn wait(&mut self) -> Option<Answer> {
        let joined = match self.next {
            Some(at) if self.flying.is_empty() => {
                sleep_until(at).await;
                return None;
            }
            Some(at) => timeout_at(at, self.flying.join_next()).await.ok()?,
            None => self.flying.join_next().await,
        };
        match joined? {
            Ok(answer) => Some(answer),
            // Nobody aborts it but the drop of the whole set.
            Err(error) => panic::resume_unwind(error.into_panic()),
        }
    }

    /// One more attempt beside those in flight, if anybody takes it and the request is there as a whole.
    fn another(&mut self) {
        self.plan(self.hedge.delay);
        let call = &self.call;
        let allowed = call
            .channel
            .tokens
            .as_ref()
            .is_none_or(|tokens| tokens.allows());
        if !allowed || !call.kept.is_whole() {
            return;
        }
        if let Some(attempt) = call
            .channel
            .choose_now(&self.tries, &call.options, call.uri())
        {
            call.channel.totals.hedged();
            call.telemetry.hedged();
            self.start(attempt);
        }
    }

    /// What follows a failed attempt: why the call has failed with it, or that it goes on.
    fn weigh(&mut self, failed: &Failed) -> Option<String> {
        if self.flying.is_empty() {
            self.idle_since = Some(Instant::now());
        }
        let (is_lone, has_others) = self.call.others(failed, &self.tries);
        if self.flying.is_empty() && failed.is_final(is_lone) {
            return Some(String::new());
        }
        let call = &self.call;
        let (tokens, failure) = (call.channel.tokens.as_ref(), call.failure(failed));
        let dice = call.channel.dice.roll();
        let verdict = self.course.next(&failure, tokens, None, has_others, dice);
        let why = match verdict {
            Verdict::Again { after, transparent } if self.stopped.is_none() => {
                // The waits of the policy are for those that refuse; hedging has its own.
                let after = match failed.pushback {
                    Some(Pushback::After(delay)) => delay,
                    _ if transparent => after,
                    _ => Duration::ZERO,
                };
                if call.left().is_none_or(|left| after < left) {
                    self.go_on(after, transparent);
                    return None;
                }
                Why::TooLate
            }
            Verdict::Again { .. } => Why::Exhausted,
            Verdict::GiveUp(why @ (Why::Code | Why::Committed | Why::NotIdempotent)) => {
                return Some(self.explain(why));
            }
            Verdict::GiveUp(why) => why,
        };
        self.next = None;
        let why = *self.stopped.get_or_insert(why);
        if !self.flying.is_empty() {
            return None;
        }
        if why == Why::Throttled {
            self.call.channel.totals.throttled();
        }
        Some(self.explain(why))
    }

    /// The next attempt is made after that.
    fn go_on(&mut self, after: Duration, transparent: bool) {
        if transparent {
            self.sent -= 1;
        }
        if transparent || self.flying.is_empty() {
            self.call.channel.totals.retried(transparent);
            self.call.telemetry.retried(transparent);
        }
        self.plan(after);
    }

    /// Why there is no other attempt, where that is not plain.
    fn explain(&self, why: Why) -> String {
        match why {
            Why::Code if self.sent <= 1 => String::new(),
            why => why.to_string(),
        }
    }
}
