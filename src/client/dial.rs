//! One dial: from an address to an HTTP/2 connection that has seen the server's settings.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::net::{self, Connector, Notes, Secure, Tapped, tls_error};
use crate::wire::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW, UNLIMITED_FRAMES};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};
use tokio::time::timeout;

/// A connection that is ready, to be driven by its task.
pub(crate) struct Established {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) connection: Connected,
    /// What is noted of what goes over it.
    pub(crate) notes: Notes,
}

pub(crate) type Connected = Connection<Tapped<Secure<net::Stream>>, Bytes>;

/// Connects within the connect timeout.
pub(crate) async fn establish(
    address: &Address,
    limit: Duration,
    tls: Option<&Connector>,
) -> Result<Established, Error> {
    let established = timeout(limit, handshake(address, tls)).await;
    established.unwrap_or_else(|_| Err(timed_out(address, limit)))
}

/// Connects and waits for the server's settings, which only a server that is really there sends.
async fn handshake(address: &Address, tls: Option<&Connector>) -> Result<Established, Error> {
    // `h2` replaces this limit by the peer's when the settings arrive, which is how their arrival is seen.
    const UNSETTLED: usize = usize::MAX - 1;
    let stream = net::dial(address).await?;
    let stream = match tls {
        Some(tls) => tls.connect(stream, address).await?,
        None => Secure::Plain(stream),
    };
    let agreed = stream.agreed_to_http2();
    let notes = Notes::default();
    let handshake = Builder::new()
        .max_frame_size(FRAME)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(UNSETTLED)
        .enable_push(false)
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNLIMITED_FRAMES)
        .handshake(Tapped::new(stream, notes.clone(), None).noting_opened());
    let broken = |cause: Source| {
        let text = spoken(address, tls, &notes, agreed);
        text.unwrap_or_else(|| {
            connect_error(format!(
                "{address} accepted the connection but does not speak HTTP/2"
            ))
        })
        .caused_by(cause)
    };
    let (requests, mut connection) = handshake.await.map_err(|error| broken(error.into()))?;
    poll_fn(|cx| {
        let ended = pin!(&mut connection).poll(cx);
        if connection.max_concurrent_send_streams() != UNSETTLED {
            return Poll::Ready(Ok(()));
        }
        match ended {
            Poll::Ready(Ok(())) => Poll::Ready(Err(broken("it closed the connection".into()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(broken(error.into()))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok(Established {
        requests,
        connection,
        notes,
    })
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong instead of HTTP/2, when it has to do with TLS.
fn spoken(
    address: &Address,
    tls: Option<&Connector>,
    notes: &Notes,
    agreed: bool,
) -> Option<Error> {
    let noted = notes.lock();
    match tls {
        Some(tls) => {
            let why = noted.error.as_ref().and_then(|error| tls.explain(error));
            let other = || {
                let other = "the server does not speak HTTP/2, and did not agree to it (ALPN `h2`)";
                (!agreed).then(|| other.to_owned())
            };
            let silent = || noted.opening.is_silent().then(|| tls.explain_silence());
            let why = why.or_else(other).or_else(silent);
            why.map(|why| tls_error(address, &why))
        }
        None => noted.opening.is_tls().then(|| {
            let why = "the server speaks TLS, and this client was told nothing of it: give `Client::builder()` its `.tls(..)`";
            tls_error(address, why)
        }),
    }
}

fn timed_out(address: &Address, limit: Duration) -> Error {
    connect_error(format!(
        "no connection to {address} within the connect timeout of {limit:?}"
    ))
}

pub(crate) fn connect_error(text: String) -> Error {
    Error::new(Kind::Connect, text)
}
