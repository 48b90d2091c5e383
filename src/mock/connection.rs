//! One HTTP/2 connection.

use crate::address::Address;
use crate::mock::journal::Connection;
use crate::mock::serve::Service;
use crate::net::{Switched, Tapped};
use crate::wire::{CONNECTION_WINDOW, MANY_RESETS, STREAM_WINDOW, UNLIMITED_FRAMES};
use crate::wire::{authority::Mender, opening::Opening};
use h2::server::Builder;
use std::sync::{Arc, Mutex, PoisonError};

/// Serves a connection until the client ends it or it is cut. Each call has a task of its own, so that a slow one delays
/// nobody.
pub(crate) async fn serve(stream: Switched, connection: Arc<Connection>, service: Arc<Service>) {
    let cut = stream.when_cut();
    let opening = Mutex::default();
    // Only there does gRPC's C core send an authority that `h2` does not take.
    let mender = matches!(connection.peer, Address::Unix(_)).then(Mender::new);
    let tapped = Tapped::new(stream, &opening, mender);
    tokio::select! {
        biased;
        () = cut => {}
        ended = accept(tapped, &connection, &service) => {
            if let Err(error) = ended {
                tracing::debug!(peer = %connection.peer, id = connection.id, %error, "connection ended");
                // The socket is not closed yet: who sees it closed finds the line in the journal.
                note_foreign(&opening, &connection, &service);
            }
        }
    }
}

async fn accept(
    stream: Tapped<'_, Switched>,
    connection: &Arc<Connection>,
    service: &Arc<Service>,
) -> Result<(), h2::Error> {
    let mut http2 = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MANY_RESETS)
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNLIMITED_FRAMES)
        .handshake(stream)
        .await?;
    while let Some(accepted) = http2.accept().await {
        let (request, respond) = accepted?;
        let (connection, service) = (Arc::clone(connection), Arc::clone(service));
        tokio::spawn(async move { service.serve(connection, request, respond).await });
    }
    Ok(())
}

/// Tells the journal what the peer spoke, when it was not HTTP/2.
fn note_foreign(opening: &Mutex<Opening>, connection: &Connection, service: &Service) {
    let opening = opening.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(spoken) = opening.foreign(&connection.peer) {
        tracing::warn!("no gRPC call: {spoken}");
        service.log.add_foreign(spoken);
    }
}
