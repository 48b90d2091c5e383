//! One dial, and the connection that it makes, to its end.

use crate::client::connection::pings::Pings;
use crate::client::connection::shared::Shared;
use crate::client::connection::state::{ConnectionState, Loss};
use crate::client::connection::subchannel::DialSettings;
use crate::client::dial::{self, Established};
use crate::client::keepalive::Keepalive;
use crate::client::link::Link;
use crate::net::Tls;
use crate::panics::caught_async;
use std::{future::poll_fn, pin::pin, sync::Weak, task::Poll};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// Dials, and carries the connection to its end.
pub(super) async fn carry(shared: Weak<Shared>, settings: DialSettings, id: u64) {
    let dialled = Instant::now();
    let dialling = Dialling {
        shared: &shared,
        id,
    };
    let Some((mut state, tls)) = shared.upgrade().map(|shared| {
        let tls = shared.tls.as_ref().map(Tls::for_dial);
        (shared.state.subscribe(), tls)
    }) else {
        return;
    };
    let (address, limit) = (&settings.address, settings.connect_timeout);
    let established = tokio::select! {
        established = caught_async(dial::establish(address, limit, tls.as_deref())) => established,
        // Nobody waits for it any more.
        _ = state.wait_for(|state| *state == ConnectionState::Shutdown) => return,
    };
    let established = established.unwrap_or_else(|panic| {
        // It is a mistake of ours, and no reason to dial again at once.
        Err(dial::connect_error(format!(
            "the dial of {address} panicked: {panic}"
        )))
    });
    let connection = match (shared.upgrade(), established) {
        (None, _) => return,
        (Some(shared), Err(error)) => return shared.refused(id, error, dialled),
        (Some(shared), Ok(established)) => {
            let Established {
                requests,
                connection,
                notes,
            } = established;
            shared.connected(Link::new(id, requests, notes, dialled));
            connection
        }
    };
    drop(dialling);
    let ended = drive(connection, &shared, settings.keepalive, id).await;
    if let Some(shared) = shared.upgrade() {
        shared.lost(id, ended);
    }
}

/// Carries a connection to its end, and looks after it.
async fn drive(
    mut connection: dial::Connected,
    shared: &Weak<Shared>,
    keepalive: Option<Keepalive>,
    id: u64,
) -> Loss {
    let ping_pong = keepalive.and_then(|_| connection.ping_pong());
    let mut pings = keepalive
        .zip(ping_pong)
        .map(|(told, pong)| Pings::new(told, pong));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = pin!(&mut connection).poll(cx) {
            // To `h2` a good-bye with nothing in flight is an end like any other.
            let farewell = || shared.upgrade()?.farewell(id, cx);
            let error = ended.err().or_else(farewell);
            return Poll::Ready(error.map_or(Loss::Closed, Loss::Failed));
        }
        let Some(shared) = shared.upgrade() else {
            return Poll::Pending;
        };
        shared.notice_goaway(id, cx);
        match &mut pings {
            Some(pings) => pings
                .poll_silent(cx, || shared.has_calls(id))
                .map(Loss::Silent),
            None => Poll::Pending,
        }
    })
    .await
}

/// Dials again when the backoff is over, unless somebody does so earlier.
pub(super) async fn redial(
    shared: Weak<Shared>,
    mut state: watch::Receiver<ConnectionState>,
    at: Instant,
) {
    let shut = state.wait_for(|state| *state == ConnectionState::Shutdown);
    if timeout_at(at, shut).await.is_err()
        && let Some(shared) = shared.upgrade()
    {
        shared.redial();
    }
}

/// Undoes a dial that is dropped under way, as when its runtime ends: the next call dials again.
struct Dialling<'a> {
    shared: &'a Weak<Shared>,
    id: u64,
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.abandoned(self.id);
        }
    }
}
