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
    let began = Instant::now();
    let policy = RetryPolicy {
        attempts: hedge.attempts.max(1),
        ..call.channel.config.retry.clone()
    };
    let mut hedging = Hedging {
        course: Course::new(&policy),
        tries: Tries::new(began),
        flying: JoinSet::new(),
        sent: 0,
        next: began.checked_add(hedge.delay),
        is_over: false,
        hedge,
        call: Arc::new(call),
    };
    let first = hedging.first().await?;
    hedging.start(first);
    loop {
        match hedging.wait().await {
            Some(Ok(response)) => {
                hedging.call.kept.commit();
                return Ok(response);
            }
            Some(Err(failed)) => {
                if hedging.flying.is_empty() && failed.is_final(hedging.is_lone()) {
                    return hedging.call.give_up(Some(hedging.tries), failed, "");
                }
                let pause = match hedging.weigh(&failed) {
                    Ok(pause) => pause,
                    Err(why) => {
                        let is_only = hedging.tries.is_empty() && hedging.sent <= 1;
                        let why = if is_only {
                            String::new()
                        } else {
                            why.to_string()
                        };
                        return hedging.call.give_up(Some(hedging.tries), failed, &why);
                    }
                };
                let call = &hedging.call;
                let told = failed.told.into_error(call.path(), &failed.target);
                hedging.tries.push(failed.key, &failed.target, told);
                if hedging.flying.is_empty() {
                    let failed_at = Instant::now();
                    if !pause.is_zero() {
                        sleep_until(failed_at + pause).await;
                    }
                    let next = hedging.first().await?;
                    hedging.call.telemetry.waited(failed_at.elapsed());
                    hedging.start(next);
                }
            }
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
    /// Attempts that may have been processed.
    sent: u32,
    /// When another attempt is made beside those in flight; `None`, when no other is.
    next: Option<Instant>,
    /// No other is, whatever becomes of those in flight.
    is_over: bool,
}

impl Hedging {
    /// An attempt to begin with, or to go on with when none is in flight.
    async fn first(&mut self) -> Result<Attempt, Error> {
        let call = &self.call;
        let chosen = call
            .channel
            .choose(Some(&self.tries), &call.options, call.path());
        match chosen.await {
            Ok(attempt) => Ok(attempt),
            Err(error) => {
                let tries = std::mem::replace(&mut self.tries, Tries::new(Instant::now()));
                Err(call.conclude(Some(tries), error, ""))
            }
        }
    }

    fn is_lone(&self) -> bool {
        self.call.channel.snapshot.load().is_lone()
    }

    fn start(&mut self, attempt: Attempt) {
        self.tries.occupy(attempt.member.key());
        let (call, previous) = (Arc::clone(&self.call), self.sent);
        self.flying
            .spawn(async move { call.attempt(attempt, previous).await });
        self.sent += 1;
        if self.sent >= self.hedge.attempts {
            self.next = None;
        }
    }

    /// The next answer; `None`, when it is time for another attempt.
    async fn wait(&mut self) -> Option<Answer> {
        let joined = match self.next {
            None => self.flying.join_next().await,
            Some(at) => timeout_at(at, self.flying.join_next()).await.ok()?,
        };
        match joined? {
            Ok(answer) => Some(answer),
            // Nobody aborts it but the drop of the whole set.
            Err(error) => panic::resume_unwind(error.into_panic()),
        }
    }

    /// One more attempt beside those in flight, if anybody takes it and the request is there as a whole.
    fn another(&mut self) {
        self.next = Instant::now().checked_add(self.hedge.delay);
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
            .choose_now(&self.tries, &call.options, call.path())
        {
            call.channel.totals.hedged();
            call.telemetry.hedged();
            self.start(attempt);
        }
    }

    /// What follows a failed attempt: why the call has failed with it, or how long it pauses when no other is in flight.
    fn weigh(&mut self, failed: &Failed) -> Result<Duration, Why> {
        let call = &self.call;
        let failure = call.failure(failed);
        let (tokens, dice) = (call.channel.tokens.as_ref(), call.channel.dice.roll());
        let has_others = call.has_others(&self.tries, failed.key);
        let left = call.left();
        // The deadline is held against the pause that is made: the policy's backoff is not.
        let verdict = self.course.next(&failure, tokens, None, has_others, dice);
        let pause = match verdict {
            Verdict::Again {
                after,
                transparent: true,
            } => {
                call.telemetry.retried(true);
                call.channel.totals.retried(true);
                self.sent -= 1;
                after
            }
            Verdict::Again { .. } => match failed.pushback {
                Some(Pushback::After(delay)) => delay,
                _ => Duration::ZERO,
            },
            Verdict::GiveUp(why @ (Why::Code | Why::Committed | Why::NotIdempotent)) => {
                return Err(why);
            }
            Verdict::GiveUp(why) => return self.wait_for_others(why),
        };
        if left.is_some_and(|left| pause >= left) {
            return self.wait_for_others(Why::TooLate);
        }
        if !self.is_over && self.sent < self.hedge.attempts {
            self.next = Instant::now().checked_add(pause);
        }
        Ok(pause)
    }

    /// No other attempt is made: those in flight are the last.
    fn wait_for_others(&mut self, why: Why) -> Result<Duration, Why> {
        self.is_over = true;
        self.next = None;
        if self.flying.is_empty() {
            Err(why)
        } else {
            Ok(Duration::ZERO)
        }
    }
}
