//! What the pool asks of a client: everything that depends on how clients are made stands here.

use crate::client::backoff::Backoff;
use crate::client::builder::ClientBuilder;
use crate::client::config::ClientConfig;
use crate::client::connection::ConnectionState;
use crate::client::handle::Client;
use crate::error::Error;
use std::time::Duration;
use tokio::sync::watch;

/// One connection of a pool: a client of its own.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) client: Client,
    state: watch::Receiver<ConnectionState>,
}

impl Member {
    pub(super) fn new(client: Client) -> Self {
        let state = client.state();
        Self { client, state }
    }

    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    pub(super) fn is_ready(&self) -> bool {
        *self.state.borrow() == ConnectionState::Ready
    }

    /// How many leases it may have at this moment, if it is for the connection to say.
    pub(super) fn places(&self) -> usize {
        if self.is_ready() {
            stream_limit(&self.client).unwrap_or(usize::MAX)
        } else {
            0
        }
    }
}

/// One more client, which has no connection yet.
pub(super) fn another(builder: &ClientBuilder) -> Result<Client, Error> {
    builder.clone().connect_lazy()
}

/// The peer's `MAX_CONCURRENT_STREAMS`.
fn stream_limit(_: &Client) -> Option<usize> {
    None
}

/// What the pool goes by as its clients do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) backoff: Backoff,
    pub(super) close_grace: Duration,
}

pub(super) fn told(_: &ClientBuilder) -> Told {
    let config = ClientConfig::default();
    Told {
        backoff: config.backoff,
        close_grace: config.close_grace,
    }
}
