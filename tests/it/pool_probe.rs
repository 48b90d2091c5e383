//! What the tests of the pool share.

use crate::support::{redialling, within};
use rpcplugin_testkit::client::{Lease, PoolBuilder};
use rpcplugin_testkit::{Client, Error, MockServer, Pool, Stub, json};
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

/// A server in this process that answers every call.
pub(crate) async fn memory() -> MockServer {
    let server = MockServer::memory().await;
    answering(&server);
    server
}

pub(crate) fn answering(server: &MockServer) {
    server.mount(Stub::any().reply(json!({})).times(0..));
}

/// A pool of that server, with its TLS.
pub(crate) fn pooling(server: &MockServer) -> PoolBuilder {
    let client = redialling(server, server.address());
    Pool::builder(server.address()).client(client)
}

pub(crate) async fn acquired(pool: &Pool) -> Lease {
    within(pool.acquire()).await.expect("a lease")
}

/// Calls, and tells on which of the server's connections that was.
pub(crate) async fn connection_of(server: &MockServer, client: &Client) -> u64 {
    let call = client.call("Get", json!({})).into_future();
    within(call).await.expect("it answers");
    let calls = server.calls();
    calls.last().expect("it was recorded").connection_id()
}

/// Somebody who wants a lease, and does nothing unless asked to.
pub(crate) struct Caller<'a>(Pin<Box<dyn Future<Output = Result<Lease, Error>> + Send + 'a>>);

impl<'a> Caller<'a> {
    pub(crate) fn of(pool: &'a Pool) -> Self {
        Self(Box::pin(pool.acquire()))
    }

    /// Stands in the queue now.
    pub(crate) async fn waiting(pool: &'a Pool) -> Self {
        let mut caller = Self::of(pool);
        assert!(!caller.has_lease().await, "there was one at once");
        caller
    }

    pub(crate) async fn looks(&mut self) -> Option<Result<Lease, Error>> {
        let looked = |cx: &mut Context<'_>| Poll::Ready(self.0.as_mut().poll(cx));
        match poll_fn(looked).await {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    /// Looks, and gives what there is back.
    pub(crate) async fn has_lease(&mut self) -> bool {
        let looked = self.looks().await;
        looked.is_some_and(|answer| answer.is_ok())
    }

    pub(crate) async fn served(self) -> Result<Lease, Error> {
        within(self.0).await
    }
}
