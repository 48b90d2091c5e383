//! One dial: from an address to an HTTP/2 connection that has seen the server's settings.

use crate::address::Address;
use crate::client::config::ClientConfig;
use crate::error::{Error, Kind};
use crate::net;
use crate::wire::{CONNECTION_WINDOW, STREAM_WINDOW, UNLIMITED_FRAMES};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use std::{future::poll_fn, pin::pin, task::Poll};
use tokio::time::timeout;

/// A connection that is ready, to be driven by its task.
pub(crate) type Established = (SendRequest<Bytes>, Connection<net::Stream, Bytes>);

/// Connects within the connect timeout.
pub(crate) async fn establish(config: &ClientConfig) -> Result<Established, Error> {
    let established = timeout(config.connect_timeout, handshake(&config.address)).await;
    established.unwrap_or_else(|_| Err(timed_out(config)))
}

/// Connects and waits for the server's settings, which only a server that is really there sends.
async fn handshake(address: &Address) -> Result<Established, Error> {
    // `h2` replaces this limit by the peer's when the settings arrive, which is how their arrival is seen.
    const UNSETTLED: usize = usize::MAX - 1;
    let stream = net::dial(address).await?;
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(UNSETTLED)
        .enable_push(false)
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNLIMITED_FRAMES)
        .handshake(stream);
    let broken = || {
        connect_error(format!(
            "{address} accepted the connection but does not speak HTTP/2"
        ))
    };
    let (requests, mut connection) = handshake.await.map_err(|error| broken().caused_by(error))?;
    poll_fn(|cx| {
        let ended = pin!(&mut connection).poll(cx);
        if connection.max_concurrent_send_streams() != UNSETTLED {
            return Poll::Ready(Ok(()));
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(Err(broken().caused_by("it closed the connection"))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(broken().caused_by(error))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok((requests, connection))
}

fn timed_out(config: &ClientConfig) -> Error {
    let (address, limit) = (&config.address, config.connect_timeout);
    connect_error(format!(
        "no connection to {address} within the connect timeout of {limit:?}"
    ))
}

pub(crate) fn connect_error(text: String) -> Error {
    Error::new(Kind::Connect, text)
}
