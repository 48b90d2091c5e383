//! Reading, awaiting and judging what came.

use crate::mock::journal::{Call, Journal, Unfinished};
use crate::mock::server::MockServer;
use crate::mock::verify::Report;
use std::{panic::Location, sync::Arc};
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
        let (place, journal) = (Location::caller(), self.journal());
        async move { journal.wait_for_calls(n, self.patience, place).await }
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
        holds: impl FnMut(&Journal) -> bool + Send + 'a,
    ) -> impl Future<Output = ()> + Send + 'a {
        let place = Location::caller();
        self.journal()
            .wait_until(Box::new(holds), self.patience, place)
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
            let next = || log.take_next();
            let call = self.journal().waited(self.patience, next).await;
            call.unwrap_or_else(|listing| {
                let (patience, taken) = (self.patience, log.taken());
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
        let unfinished = match timeout(self.patience, log.all_ended()).await {
            Ok(()) => Unfinished::default(),
            Err(_) => log.unfinished(),
        };
        self.judge(unfinished)
    }
}
