//! What a pool hands out.

use crate::client::handle::Client;
use crate::client::pool::shared::Shared;
use std::{fmt, ops::Deref, sync::Arc};

/// A place on a connection of a [`Pool`](crate::Pool), until it is dropped.
///
/// It derefs to the [`Client`] of that connection. It is given back when it drops, also by a panic or when its task is
/// cancelled, and goes to whoever has waited longest. A lease that is forgotten ([`mem::forget`](std::mem::forget)) is a
/// place less in the pool.
///
/// A clone of the client (which generated clients want) and a response stream are not counted: keep the lease as long as
/// they are used.
///
/// When its connection is lost, the next call over the lease dials again, as with any client.
///
/// ```
/// # use rpcplugin_testkit::{MockServer, Pool, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// # let server = MockServer::start().await;
/// # server.mount(Stub::method("Process").reply(json!({"done": true})));
/// let pool = Pool::builder(server.address()).connect().await?;
/// let lease = pool.acquire().await?;
/// let reply = lease.call("Process", json!({})).await?;
/// assert_eq!(reply["done"], true);
/// drop(lease);
/// # Ok(())
/// # }
/// ```
#[must_use = "the place is given back at once when the lease is dropped"]
pub struct Lease {
    shared: Arc<Shared>,
    id: u64,
    client: Client,
}

impl Lease {
    pub(super) fn new(shared: Arc<Shared>, id: u64, client: Client) -> Self {
        Self { shared, id, client }
    }
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.give_back(self.id);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}, connection {})", self.target(), self.id)
    }
}
