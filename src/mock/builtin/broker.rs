//! `plugin.GRPCBroker`: further connections that a host and its plugin agree upon.
//!
//! Follows [go-plugin](https://github.com/hashicorp/go-plugin/blob/main/grpc_broker.go): whoever serves something under a
//! number tells the other side where, over one stream in each direction.

#[cfg(feature = "multiplex")]
use crate::address::Address;
#[cfg(feature = "multiplex")]
use crate::mock::builtin::knocks::{Knocks, knock};
#[cfg(feature = "multiplex")]
use crate::net::Opener;
#[cfg(feature = "multiplex")]
use crate::proto::plugin::conn_info::Knock;
use crate::proto::plugin::{ConnInfo, grpc_broker_server};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status, Streaming};

/// What was told, and what is still to be told.
#[derive(Debug)]
pub(crate) struct Brokered {
    state: Mutex<State>,
    /// Told of whatever a host tells.
    pub(crate) news: Notify,
    /// How often all hosts were sent away.
    dismissed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// The host that came last.
    host: Option<mpsc::UnboundedSender<ConnInfo>>,
    /// What there was no host for.
    untold: Vec<ConnInfo>,
    received: Vec<ConnInfo>,
    numbers: u32,
    /// Where all connections go through one.
    #[cfg(feature = "multiplex")]
    knocks: Option<Knocks>,
}

impl Default for Brokered {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            news: Notify::new(),
            dismissed: watch::Sender::new(0),
        }
    }
}

impl Brokered {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that was not given before.
    pub(crate) fn next_number(&self) -> u32 {
        let mut state = self.lock();
        state.numbers = state.numbers.wrapping_add(1);
        state.numbers
    }

    /// Tells the host, or the next one if there is none.
    pub(crate) fn tell(&self, info: ConnInfo) {
        let mut state = self.lock();
        let untold = match &state.host {
            Some(host) => host.send(info).err().map(|untold| untold.0),
            None => Some(info),
        };
        state.untold.extend(untold);
    }

    /// What hosts have told.
    pub(crate) fn received(&self) -> Vec<ConnInfo> {
        self.lock().received.clone()
    }

    /// Ends the streams that there are.
    pub(crate) fn dismiss(&self) {
        self.dismissed.send_modify(|times| *times += 1);
    }

    fn receive(&self, info: ConnInfo) {
        #[cfg(feature = "multiplex")]
        self.answer(&info);
        self.lock().received.push(info);
        self.news.notify_waiters();
    }
}

/// Where all connections go through one.
#[cfg(feature = "multiplex")]
impl Brokered {
    pub(crate) fn multiplex(&self, multiplexed: bool) {
        self.lock().knocks = multiplexed.then(Knocks::default);
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.lock().knocks.is_some()
    }

    /// A host has connected.
    pub(crate) fn has_session(&self, session: Opener) {
        if let Some(knocks) = &mut self.lock().knocks {
            knocks.session = Some(session);
        }
    }

    /// What opens streams to the host that connected last.
    pub(crate) fn session(&self) -> Option<Opener> {
        self.lock().knocks.as_ref()?.session.clone()
    }

    /// Where the stream goes that a host has just opened, if it was announced.
    pub(crate) fn knocked(&self) -> Option<Address> {
        self.lock().knocks.as_mut()?.next()
    }

    /// Whether the host may knock for this number now, which it need not be told of.
    pub(crate) fn offer(&self, number: u32, address: &Address) -> bool {
        let mut state = self.lock();
        let Some(knocks) = &mut state.knocks else {
            return false;
        };
        knocks.offered.insert(number, address.clone());
        true
    }

    pub(crate) fn refuse(&self, number: u32, error: String) {
        if let Some(knocks) = &mut self.lock().knocks {
            knocks.refused.insert(number, error);
        }
    }

    /// Announces a stream to the host.
    pub(crate) fn knock(&self, number: u32) {
        self.tell(knock(number, false, String::new()));
    }

    /// Answers, if somebody knocks.
    fn answer(&self, info: &ConnInfo) {
        let knocks = |knock: &Knock| knock.knock && !knock.ack && knock.error.is_empty();
        if !info.knock.as_ref().is_some_and(knocks) {
            return;
        }
        let answer = match &mut self.lock().knocks {
            Some(knocks) => knocks.answer(info.service_id),
            None => return,
        };
        self.tell(answer);
    }
}

/// The service of a mock.
pub(crate) struct Service(pub(crate) Arc<Brokered>);

#[tonic::async_trait]
impl grpc_broker_server::GrpcBroker for Service {
    type StartStreamStream = Pin<Box<dyn Stream<Item = Result<ConnInfo, Status>> + Send>>;

    async fn start_stream(
        &self,
        request: Request<Streaming<ConnInfo>>,
    ) -> Result<Response<Self::StartStreamStream>, Status> {
        let (host, telling) = mpsc::unbounded_channel();
        let mut state = self.0.lock();
        for info in state.untold.drain(..) {
            // The other end is here too.
            let _ = host.send(info);
        }
        state.host = Some(host);
        drop(state);
        Ok(Response::new(Box::pin(Conversation {
            heard: request.into_inner(),
            telling,
            dismissed: WatchStream::from_changes(self.0.dismissed.subscribe()),
            brokered: Arc::clone(&self.0),
        })))
    }
}

/// One host's stream, in both directions.
struct Conversation {
    heard: Streaming<ConnInfo>,
    telling: mpsc::UnboundedReceiver<ConnInfo>,
    dismissed: WatchStream<u64>,
    brokered: Arc<Brokered>,
}

impl Stream for Conversation {
    type Item = Result<ConnInfo, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match Pin::new(&mut this.heard).poll_next(cx) {
                Poll::Ready(Some(Ok(info))) => this.brokered.receive(info),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        match this.telling.poll_recv(cx) {
            Poll::Ready(Some(info)) => Poll::Ready(Some(Ok(info))),
            // Another host came after this one.
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match Pin::new(&mut this.dismissed).poll_next(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Drop for Conversation {
    /// What this host was not told, the next one is.
    fn drop(&mut self) {
        self.telling.close();
        let mut untold = Vec::new();
        while let Ok(info) = self.telling.try_recv() {
            untold.push(info);
        }
        let mut state = self.brokered.lock();
        if state
            .host
            .as_ref()
            .is_some_and(mpsc::UnboundedSender::is_closed)
        {
            state.host = None;
        }
        drop(state);
        untold.into_iter().for_each(|info| self.brokered.tell(info));
    }
}
