//! What the pool asks of a client: everything that depends on how clients are made stands here.

use crate::client::backoff::Backoff;
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
            self.client.stream_limit().unwrap_or(usize::MAX)
        } else {
            0
        }
    }
}

/// One more client, which has no connection yet. Its tokens are those of the first, which logs in for all of them.
pub(super) fn another(first: &Client) -> Result<Client, Error> {
    first.sibling()
}

/// What the pool goes by as its clients do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) backoff: Backoff,
    pub(super) close_grace: Duration,
}

pub(super) fn told(first: &Client) -> Told {
    let config = first.config();
    Told {
        backoff: config.backoff,
        close_grace: config.close_grace,
    }
}
