//! Waiting for the journal to be as a test wants it.

use crate::mock::journal::call::Call;
use crate::mock::journal::store::Log;
use crate::mock::journal::view::Journal;
use std::{future::pending, panic::Location, time::Duration};
use tokio::time::timeout;

impl Journal {
    /// How many calls came, with those that there was no room for, whatever this view shows of them.
    pub(crate) fn arrived(&self) -> usize {
        self.logs.each(Log::arrived).sum()
    }

    /// What is found in time, or else the lines of what there is. It is looked for whenever anything happens.
    pub(crate) async fn waited<T>(
        &self,
        patience: Duration,
        find: impl FnMut() -> Option<T>,
    ) -> Result<T, String> {
        let found = async {
            match self.logs.until(find).await {
                Some(found) => found,
                // Of no servers there is no news.
                None => pending().await,
            }
        };
        timeout(patience, found).await.map_err(|_| self.listing())
    }

    /// All calls, once there are so many.
    pub(crate) async fn wait_for_calls(
        &self,
        n: usize,
        patience: Duration,
        place: &Location<'_>,
    ) -> Vec<Call> {
        let enough = || (self.arrived() >= n).then(|| self.calls());
        let came = self.waited(patience, enough).await;
        came.unwrap_or_else(|listing| {
            let arrived = self.arrived();
            panic!("waited {patience:?} for {n} calls at {place}, and {arrived} arrived{listing}")
        })
    }

    /// Comes back once it is as the closure wants it.
    #[expect(
        clippy::manual_async_fn,
        reason = "what is said to be `Send` is not searched again for what is not, which in a generic function takes seconds"
    )]
    pub(crate) fn wait_until<'a>(
        self,
        mut holds: Box<dyn FnMut(&Self) -> bool + Send + 'a>,
        patience: Duration,
        place: &'a Location<'_>,
    ) -> impl Future<Output = ()> + Send + 'a {
        async move {
            let check = || holds(&self).then_some(());
            let held = self.waited(patience, check).await;
            held.unwrap_or_else(|listing| {
                panic!("waited {patience:?} for the journal to be as expected at {place}{listing}")
            });
        }
    }
}
