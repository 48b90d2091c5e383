//! One HTTP/2 connection.

use crate::address::Address;
use crate::mock::journal::{Connection, Door, RefusedConnection};
use crate::mock::serve::Service;
use crate::mock::tls::{Terms, Tls};
use crate::net::{Notes, Secure, Switched, Tapped, Wish, Wishes};
use crate::tls::{Certificate, Refusals};
use crate::wire::authority::Mender;
use crate::wire::{CONNECTION_WINDOW, MANY_RESETS, STREAM_WINDOW, UNLIMITED_FRAMES};
use h2::server::Builder;
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
};
use tokio::time::Instant;

/// Who connected.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) door: Arc<Door>,
}

/// Serves a connection until the client ends it, it is cut, or it has said good-bye and its last call has ended. Each call
/// has a task of its own, so that a slow one delays nobody.
pub(crate) async fn serve(stream: Switched, accepted: Accepted, service: Arc<Service>) {
    let wishes = stream.wishes();
    let opening = open(stream, accepted, &service);
    let opened = tokio::select! {
        biased;
        // There is nobody yet to say good-bye to.
        _ = wishes.next() => return,
        opened = opening => opened,
    };
    let Some((stream, connection)) = opened else {
        return;
    };
    let notes = Notes::default();
    // Only there does gRPC's C core send an authority that `h2` does not take.
    let mender = matches!(connection.peer, Address::Unix(_)).then(Mender::new);
    let tapped = Tapped::new(stream, notes.clone(), mender);
    if let Err(error) = accept(tapped, &wishes, &connection, &service).await {
        tracing::debug!(peer = %connection.peer, id = connection.id, %error, "connection ended");
        // The socket is not closed yet: who sees it closed finds the line in the journal.
        note_foreign(&notes, &connection, &service);
    }
}

/// The stream that HTTP/2 is spoken over, and what is known of it. `None`, when it has no TLS where it has to.
async fn open(
    stream: Switched,
    accepted: Accepted,
    service: &Arc<Service>,
) -> Option<(Secure<Switched>, Arc<Connection>)> {
    let stream = match service.tls.as_ref().map(Tls::terms) {
        None => Secure::Plain(stream),
        Some(terms) => Box::pin(handshake(stream, &terms, &accepted, service)).await?,
    };
    let connection = Connection {
        id: accepted.id,
        certificate: stream.peer_certificate().map(Certificate::presented),
        shared: Arc::clone(&service.log.shared),
        peer: accepted.peer,
        door: accepted.door,
    };
    Some((stream, Arc::new(connection)))
}

/// Speaks TLS. One that fails is recorded, and closed so that the client learns of it.
async fn handshake(
    stream: Switched,
    terms: &Terms,
    accepted: &Accepted,
    service: &Service,
) -> Option<Secure<Switched>> {
    let refusals = Refusals::default();
    // It was tried when the terms were set.
    let config = Arc::new(terms.config(refusals.clone()).ok()?);
    let broken = match Secure::accept(stream, config).await {
        Ok(stream) => return Some(stream),
        Err(broken) => broken,
    };
    let refusal = refusals.take();
    let spoke = broken.opening.spoke_to_tls();
    let reason = terms
        .failure(refusal.as_ref(), spoke)
        .of_handshake(&broken.error);
    let refused = RefusedConnection {
        id: accepted.id,
        peer: accepted.peer.clone(),
        at: Instant::now(),
        reason,
        certificate: refusal.map(|refusal| refusal.certificate),
    };
    tracing::warn!("refused: {refused}");
    service.log.add_refused(refused);
    broken.close().await;
    None
}

async fn accept(
    stream: Tapped<Secure<Switched>>,
    wishes: &Wishes,
    connection: &Arc<Connection>,
    service: &Arc<Service>,
) -> Result<(), h2::Error> {
    let mut wish = pin!(wishes.next());
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(MANY_RESETS)
        .max_local_error_reset_streams(None)
        .data_frame_budget(UNLIMITED_FRAMES)
        .handshake(stream);
    let mut http2 = tokio::select! {
        biased;
        _ = &mut wish => return Ok(()),
        http2 = handshake => http2?,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            told = &mut wish => match told {
                Wish::Cut => return Ok(()),
                Wish::Leave => {
                    http2.graceful_shutdown();
                    wish.set(wishes.next());
                    continue;
                }
            },
            accepted = http2.accept() => accepted,
        };
        let Some(accepted) = accepted else {
            return Ok(());
        };
        let (request, respond) = accepted?;
        let (connection, serving) = (Arc::clone(connection), Serving::new(service));
        tokio::spawn(async move { serving.0.serve(connection, request, respond).await });
    }
}

/// Counts a stream that is served, from before its task begins until it ends.
struct Serving(Arc<Service>);

impl Serving {
    fn new(service: &Arc<Service>) -> Self {
        service.serving.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(service))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.0.serving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.log.shared.news.notify_waiters();
        }
    }
}

/// Tells the journal what the peer spoke, when it was not HTTP/2.
fn note_foreign(notes: &Notes, connection: &Connection, service: &Service) {
    if let Some(spoken) = notes.lock().opening.foreign(&connection.peer) {
        tracing::warn!("no gRPC call: {spoken}");
        service.log.add_foreign(spoken);
    }
}
