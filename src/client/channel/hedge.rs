//! Several attempts of one call at the same time.

use crate::client::balance::Candidate as _;
use crate::client::channel::attempt::Attempt;
use crate::client::channel::send::{Calling, Failed};
use crate::client::channel::tries::Tries;
use crate::client::response_body::ResponseBody;
use crate::client::retry::{Course, Hedge, Pushback, RetryPolicy, Verdict, Why};
use crate::error::Error;
use http::Response;
use std::{panic, sync::Arc};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
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
        next: Some(began + hedge.delay),
        hedge,
        call: Arc::new(call),
    };
    let first = hedging.first().await?;
    hedging.start(first);
    loop {
        match hedging.wait().await {
            Some(Ok(response)) => {
                hedging.call.kept.commit();
                hedging.call.telemetry.repeated(0, 0, hedging.sent - 1);
                return Ok(response);
            }
            Some(Err(failed)) => {
                if let Some(why) = hedging.weigh(&failed) {
                    let why = if hedging.sent > 1 {
                        why.to_string()
                    } else {
                        String::new()
                    };
                    return hedging.call.give_up(Some(hedging.tries), failed, &why);
                }
                let call = &hedging.call;
                let told = failed.told.into_error(call.path(), &failed.target);
                hedging.tries.push(failed.key, &failed.target, told);
                if hedging.flying.is_empty() {
                    let next = hedging.first().await?;
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
    sent: u32,
    /// When another attempt is made; `None`, when no other is.
    next: Option<Instant>,
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
            self.start(attempt);
        }
    }

    /// What follows a failed attempt: why the call has failed with it, or that it goes on.
    fn weigh(&mut self, failed: &Failed) -> Option<Why> {
        let call = &self.call;
        let tokens = call.channel.tokens.as_ref();
        let failure = call.failure(failed);
        let verdict = self.course.next(
            &failure,
            tokens,
            call.left(),
            true,
            call.channel.dice.roll(),
        );
        match verdict {
            Verdict::Again { .. } => {
                let after = match failed.pushback {
                    Some(Pushback::After(delay)) => delay,
                    _ => std::time::Duration::ZERO,
                };
                if self.next.is_some() {
                    self.next = Instant::now().checked_add(after);
                }
                None
            }
            Verdict::GiveUp(why @ (Why::Code | Why::Committed | Why::NotIdempotent)) => Some(why),
            Verdict::GiveUp(why) => {
                self.next = None;
                self.flying.is_empty().then_some(why)
            }
        }
    }
}
