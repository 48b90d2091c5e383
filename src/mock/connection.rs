//! One HTTP/2 connection.

use crate::mock::journal::Connection;
use crate::mock::serve::Service;
use crate::net::Switched;
use crate::wire::{CONNECTION_WINDOW, MANY_RESETS, STREAM_WINDOW, UNLIMITED_FRAMES};
use h2::server::Builder;
use std::sync::Arc;

/// Serves a connection until the client ends it or it is cut. Each call has a task of its own, so that a slow one delays
/// nobody.
pub(crate) async fn serve(stream: Switched, connection: Arc<Connection>, service: Arc<Service>) {
    let cut = stream.when_cut();
    tokio::select! {
        biased;
        () = cut => {}
        ended = accept(stream, &connection, service) => {
            if let Err(error) = ended {
                tracing::debug!(peer = %connection.peer, id = connection.id, %error, "connection ended");
            }
        }
    }
}

async fn accept(
    stream: Switched,
    connection: &Arc<Connection>,
    service: Arc<Service>,
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
        let (connection, service) = (Arc::clone(connection), Arc::clone(&service));
        tokio::spawn(async move { service.serve(connection, request, respond).await });
    }
    Ok(())
}
