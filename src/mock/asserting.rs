//! Reading, awaiting and judging what came.

use crate::mock::journal::{Call, Journal};
use crate::mock::server::MockServer;
use crate::mock::verify::Report;
use std::{panic::Location, sync::Arc, time::Duration};
use tokio::time::timeout;

/// What came.
impl MockServer {
    /// Every call so far, matched or not, in the order of arrival. Calls to the mock's own services (health, reflection)
    /// are not among them: see [`calls_to`](Self::calls_to).
    ///
    /// A call is here as soon as its request message is, or its headers when the client streams.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.service.log.calls()
    }

    /// Every call so far to the method of that name: `Method`, `Service.Method`, `pkg.Service.Method` or
    /// `pkg.Service/Method`. Calls to the mock's own services count too: `calls_to("grpc.health.v1.Health/Check")`.
    #[must_use]
    pub fn calls_to(&self, method: &str) -> Vec<Call> {
        self.service.log.calls_to(method)
    }

    /// The journal: a view of all calls that can be narrowed, printed and [saved](Journal::save).
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(Arc::clone(&self.service.log))
    }

    /// Waits until there were `n` calls or more, and returns all.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::any().reply(json!({})));
    ///
    /// // The code under test calls in its own time.
    /// let client = server.client().await;
    /// tokio::spawn(async move { client.call("Register", json!({"id": 7})).await });
    ///
    /// assert_eq!(server.wait_for_calls(1).await, [("Register", json!({"id": 7}))]);
    /// # }
    /// ```
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When they do not come in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists those
    /// that did.
    #[track_caller]
    pub fn wait_for_calls(&self, n: usize) -> impl Future<Output = Vec<Call>> + Send + '_ {
        let (place, log) = (Location::caller(), &self.service.log);
        async move {
            let enough = || (log.arrived() >= n).then(|| log.calls());
            let came = self.waited(log.until(enough)).await;
            came.unwrap_or_else(|(patience, listing)| {
                let arrived = log.arrived();
                panic!(
                    "waited {patience:?} for {n} calls at {place}, and {arrived} arrived{listing}"
                )
            })
        }
    }

    /// Waits until the journal is as a closure wants it. It is asked whenever anything happens to a call.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Outcome, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let server = MockServer::start().await;
    /// # server.mount(Stub::any().reply(json!({})));
    /// # let client = server.client().await;
    /// # tokio::spawn(async move { client.call("Get", json!({})).await });
    /// server.wait_until(|journal| journal.to("Get").ended(Outcome::Ok).len() == 1).await;
    /// # }
    /// ```
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When it is not so in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists the
    /// calls.
    #[track_caller]
    pub fn wait_until<'a>(
        &'a self,
        mut holds: impl FnMut(&Journal) -> bool + Send + 'a,
    ) -> impl Future<Output = ()> + Send + 'a {
        let (place, journal) = (Location::caller(), self.journal());
        async move {
            let check = move || holds(&journal).then_some(());
            let held = self.waited(self.service.log.until(check)).await;
            held.unwrap_or_else(|(patience, listing)| {
                panic!("waited {patience:?} for the journal to be as expected at {place}{listing}")
            });
        }
    }

    /// Waits for the first call that this method has not returned yet.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When none comes in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists those that
    /// did.
    #[track_caller]
    pub fn next_call(&self) -> impl Future<Output = Call> + Send + '_ {
        let (place, log) = (Location::caller(), &self.service.log);
        async move {
            let call = self.waited(log.until(|| log.take_next())).await;
            call.unwrap_or_else(|(patience, listing)| {
                let taken = log.taken();
                panic!(
                    "waited {patience:?} for the next call at {place}, after {taken} that were taken before{listing}"
                )
            })
        }
    }

    /// Whether all is as expected: each stub got [the calls that it expects](crate::Stub::times), no call came that no stub
    /// accepted (unless [`allow_unmatched`](crate::mock::MockServerBuilder::allow_unmatched) was said), no closure of a
    /// stub panicked, and all calls have ended.
    ///
    /// Calls that are in flight are waited for, so long as [`patience`](crate::mock::MockServerBuilder::patience) allows;
    /// those that do not end are named.
    ///
    /// Dropping the server verifies too (without waiting, and without judging calls in flight), unless this was called. In
    /// a test that returns a `Result`, build the server with
    /// [`verify_on_drop(false)`](crate::mock::MockServerBuilder::verify_on_drop) and end with `server.verify().await?`: a
    /// server cannot see that the test is returning an error, and the panic of its drop would hide it.
    ///
    /// # Errors
    ///
    /// The [`Report`], which has everything that is not as expected.
    pub async fn verify(&self) -> Result<(), Report> {
        let log = &self.service.log;
        let in_flight = || {
            let mut calls = log.calls();
            calls.retain(|call| call.outcome().is_none());
            calls
        };
        let all_ended = async {
            loop {
                log.until(|| (log.arriving().1 == 0).then_some(())).await;
                let calls = in_flight();
                if calls.is_empty() {
                    return;
                }
                for call in calls {
                    call.ended().await;
                }
            }
        };
        match timeout(self.patience, all_ended).await {
            Ok(()) => self.judge(Vec::new(), (Vec::new(), 0)),
            Err(_) => {
                let in_flight = in_flight();
                let (mut named, count) = log.arriving();
                let all = named.len();
                // Of those that stream, some are in the journal already.
                named.retain(|call| !in_flight.iter().any(|other| other.is_same(call)));
                let count = count - (all - named.len());
                self.judge(in_flight, (named, count))
            }
        }
    }

    /// What a future gives in time, or how long it was waited for and all calls so far.
    async fn waited<T>(&self, future: impl Future<Output = T>) -> Result<T, (Duration, String)> {
        let waited = timeout(self.patience, future).await;
        waited.map_err(|_| (self.patience, self.journal().listing()))
    }
}
