//! One HTTP/2 connection.

use crate::address::Address;
use crate::mock::admission::{Admitted, admit};
use crate::mock::fault::{GoAway, Strike};
use crate::mock::journal::{Connection, Door, Headers, RefusedConnection};
use crate::mock::line::{Duty, Line, Order, Orders};
use crate::mock::serve::Service;
use crate::mock::tls::{Terms, Tls};
use crate::net::{FrameTap, Notes, Secure, Shaped, Tapped, Wish, Wishes};
use crate::tls::{Certificate, Refusals};
use crate::wire::authority::Mender;
use crate::wire::frame;
use crate::wire::{CONNECTION_WINDOW, FRAME, MANY_RESETS, STREAM_WINDOW, UNLIMITED_FRAMES};
use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, server};
use http::Request;
use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

/// Who connected.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) door: Arc<Door>,
    pub(crate) line: Arc<Line>,
}

/// Serves a connection until the client ends it, it is cut, or it has said good-bye and its last call has ended. Each call
/// has a task of its own, so that a slow one delays nobody.
pub(crate) async fn serve(
    stream: Shaped,
    accepted: Accepted,
    orders: Orders,
    admission: Vec<Strike>,
    service: Arc<Service>,
) {
    let wishes = stream.wishes();
    let line = Arc::clone(&accepted.line);
    let opening = open(stream, accepted, admission, &service);
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
    let frames = FrameTap::new(tapped, line.frames.clone());
    let serving = Connected {
        connection: &connection,
        line: &line,
        service: &service,
        wishes: &wishes,
    };
    if let Err(error) = serving.accept(frames, orders).await {
        tracing::debug!(peer = %connection.peer, id = connection.id, %error, "connection ended");
        // The socket is not closed yet: who sees it closed finds the line in the journal.
        note_foreign(&notes, &connection, &service);
    }
}

/// The stream that HTTP/2 is spoken over, and what is known of it. `None`, when it has no TLS where it has to.
async fn open(
    stream: Shaped,
    accepted: Accepted,
    admission: Vec<Strike>,
    service: &Arc<Service>,
) -> Option<(Secure<Shaped>, Arc<Connection>)> {
    let stream = match admission {
        none if none.is_empty() => stream,
        strikes => match Box::pin(admit(stream, strikes)).await {
            Admitted::Yes(stream) => stream,
            Admitted::No => return None,
            Admitted::Failed(stream, fault) => {
                // Whoever hears of it finds it recorded.
                refused(&accepted, service, fault, None);
                Box::pin(Secure::refuse(stream)).await;
                return None;
            }
        },
    };
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
        headers: Headers::default(),
    };
    Some((stream, Arc::new(connection)))
}

/// Speaks TLS. One that fails is recorded, and closed so that the client learns of it.
async fn handshake(
    stream: Shaped,
    terms: &Terms,
    accepted: &Accepted,
    service: &Service,
) -> Option<Secure<Shaped>> {
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
    let certificate = refusal.map(|refusal| refusal.certificate);
    refused(accepted, service, reason, certificate);
    broken.close().await;
    None
}

/// Records a handshake that failed.
fn refused(
    accepted: &Accepted,
    service: &Service,
    reason: String,
    certificate: Option<Certificate>,
) {
    let refused = RefusedConnection {
        id: accepted.id,
        peer: accepted.peer.clone(),
        at: Instant::now(),
        reason,
        certificate,
    };
    tracing::warn!("refused: {refused}");
    service.log.add_refused(refused);
}

/// What HTTP/2 is spoken over.
type Transport = FrameTap<Tapped<Secure<Shaped>>>;
type Http2 = server::Connection<Transport, Bytes>;
type Stream = Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>>;

/// How many calls are taken before its task looks at what else it has to do.
const AT_ONCE: usize = 16;

/// A connection that is served.
struct Connected<'a> {
    connection: &'a Arc<Connection>,
    line: &'a Arc<Line>,
    service: &'a Arc<Service>,
    wishes: &'a Wishes,
}

/// What its task has to do beside taking calls.
#[derive(Default)]
struct Duties {
    /// Send SETTINGS, as soon as the last are acknowledged.
    settings: bool,
    /// The last stream that came.
    last_stream: u32,
    /// Whether it has said good-bye.
    leaving: bool,
    /// The last stream that is answered.
    answered: Option<u32>,
    tasks: Tasks,
}

/// The tasks of the calls, by their streams: those that run, and some that have ended.
#[derive(Default)]
struct Tasks {
    all: Vec<(u32, AbortHandle)>,
    /// How many may be kept before those that have ended are looked for.
    room: usize,
}

impl Tasks {
    fn add(&mut self, stream: u32, task: &JoinHandle<()>) {
        if self.all.len() >= self.room {
            self.all.retain(|(_, task)| !task.is_finished());
            self.room = (2 * self.all.len()).max(16);
        }
        self.all.push((stream, task.abort_handle()));
    }

    fn abort_above(&self, last: u32) {
        let above = self.all.iter().filter(|(stream, _)| *stream > last);
        above.for_each(|(_, task)| task.abort());
    }
}

impl Connected<'_> {
    async fn accept(&self, stream: Transport, mut orders: Orders) -> Result<(), h2::Error> {
        let mut wish = pin!(self.wishes.next());
        let handshake = Builder::new()
            .max_frame_size(FRAME)
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
        let mut duties = Duties::default();
        loop {
            let taken = tokio::select! {
                biased;
                told = &mut wish => match told {
                    Wish::Cut => return Ok(()),
                    Wish::Leave => {
                        http2.graceful_shutdown();
                        duties.leaving = true;
                        wish.set(self.wishes.next());
                        continue;
                    }
                },
                Some(order) = orders.recv() => {
                    self.obey(order, &mut http2, &mut duties);
                    continue;
                }
                taken = poll_fn(|cx| self.poll_calls(&mut http2, &mut duties, cx)) => taken,
            };
            match taken {
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }

    /// Takes the calls that have come. Ready when it has taken several, so that nothing else waits for long, and at the end.
    fn poll_calls(
        &self,
        http2: &mut Http2,
        duties: &mut Duties,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(), h2::Error>>> {
        for _ in 0..AT_ONCE {
            match ready!(duties.poll_accept(http2, cx)) {
                Some(Ok((request, respond))) => self.take(request, respond, duties),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(())))
    }

    /// Gives a call a task of its own.
    fn take(
        &self,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        duties: &mut Duties,
    ) {
        let stream = respond.stream_id().into();
        duties.last_stream = stream;
        if duties.answered.is_some_and(|last| stream > last) {
            // The client was told so: nothing goes out.
            return;
        }
        let (connection, line) = (Arc::clone(self.connection), Arc::clone(self.line));
        let serving = Serving::new(self.service);
        let task = async move { serving.0.serve(connection, line, request, respond).await };
        // Boxed, as a future is moved several times on its way into a task.
        duties.tasks.add(stream, &tokio::spawn(Box::pin(task)));
    }

    fn obey(&self, order: Order, http2: &mut Http2, duties: &mut Duties) {
        match order.duty {
            Duty::GoAway(go_away) => self.go_away(&go_away, http2, duties),
            // It is polled again by that.
            Duty::Look => {}
            Duty::Settings => {
                let frames = &self.line.frames;
                // The first SETTINGS may have had it already.
                duties.settings |= frames.ask(|rewriter| rewriter.has_setting());
            }
        }
        if let Some(done) = order.done {
            // With the next flush, which takes along what the duty was.
            self.line.frames.after(0, Box::new(move || drop(done)));
        }
    }

    /// `h2` says good-bye, and what it says is replaced on its way.
    fn go_away(&self, go_away: &GoAway, http2: &mut Http2, duties: &mut Duties) {
        if !go_away.graceful {
            let last = go_away.last_stream.unwrap_or(duties.last_stream);
            let said = frame::go_away(last, go_away.reason, &go_away.debug_data);
            let leaving = duties.leaving;
            self.line.frames.ask(|rewriter| match leaving {
                // `h2` says it once.
                true => rewriter.insert_farewell(&said, last),
                false => rewriter.replace_farewell(said, last),
            });
            let last = *duties.answered.get_or_insert(last);
            duties.tasks.abort_above(last);
        }
        duties.leaving = true;
        if go_away.abrupt {
            // Before `h2` tells them that their streams were reset.
            duties.tasks.abort_above(0);
            http2.abrupt_shutdown(go_away.reason);
        } else {
            http2.graceful_shutdown();
        }
    }
}

impl Duties {
    fn poll_accept(&mut self, http2: &mut Http2, cx: &mut Context<'_>) -> Poll<Stream> {
        loop {
            if let Poll::Ready(accepted) = http2.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
            // It says nothing new: it is there to have another setting added on its way.
            if !self.settings || http2.set_initial_window_size(STREAM_WINDOW).is_err() {
                return Poll::Pending;
            }
            self.settings = false;
        }
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
