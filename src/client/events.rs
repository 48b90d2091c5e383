//! What happens to the endpoints of a client, as it happens.

use crate::address::Address;
use crate::client::health_policy::Health;
use crate::endpoint::Endpoint;
use crate::error::Error;
use std::{sync::OnceLock, time::Duration};
use tokio::sync::broadcast::{self, error::RecvError};

/// Something that happened to an endpoint of a client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A connection is there: the server has sent its settings.
    Connected(Address),
    /// A dial made no connection.
    DialFailed {
        /// Of the endpoint.
        address: Address,
        /// Why.
        error: Error,
        /// How long it is left alone now.
        next: Duration,
    },
    /// The source of endpoints says that there are none. Those that there were are used for so long, unless others come.
    DiscoveryEmpty {
        /// The [grace](crate::client::ClientBuilder::empty_grace).
        kept_for: Duration,
    },
    /// The source of endpoints could not be asked, or told nothing that is of use. Those that there were are used.
    DiscoveryFailed(Error),
    /// Too many failures in a row: it gets no calls for some time, and keeps its connection.
    Ejected {
        /// Of the endpoint.
        address: Address,
        /// How long it gets no calls.
        penalty: Duration,
    },
    /// It may be called from now on.
    EndpointAdded(Endpoint),
    /// The source of endpoints has told one that this client cannot call.
    EndpointUnusable {
        /// The endpoint.
        endpoint: Endpoint,
        /// Why.
        error: Error,
    },
    /// It gets no more calls. Those in flight go on.
    EndpointRemoved(Endpoint),
    /// Its health service says something else than before.
    HealthChanged {
        /// Of the endpoint.
        address: Address,
        /// What it says now.
        health: Health,
        /// In which words, or what went wrong with asking.
        why: String,
    },
    /// A connection takes no more calls: it broke, was closed, or its server is going away.
    Lost {
        /// Of the endpoint.
        address: Address,
        /// How it ended.
        why: String,
    },
    /// So many events were dropped because nobody read them.
    Missed(u64),
    /// One that was ejected has answered the call that tried it: it is called again.
    Reinstated(Address),
}

/// The events of a client from now on. See [`Client::events`](crate::Client::events).
#[derive(Debug)]
pub struct Events(broadcast::Receiver<ClientEvent>);

impl Events {
    /// The next event; `None`, when the client is gone.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<ClientEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(ClientEvent::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// Waits for an event like this. `None`, when the client is gone before.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Client, MockServer, client::ClientEvent};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// let client = server.client().await;
    /// let mut events = client.events();
    ///
    /// server.kill().await;
    /// events.wait_for(|event| matches!(event, ClientEvent::Lost { .. })).await.unwrap();
    /// # }
    /// ```
    pub async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&ClientEvent) -> bool,
    ) -> Option<ClientEvent> {
        loop {
            let event = self.next().await?;
            if wanted(&event) {
                return Some(event);
            }
        }
    }
}

/// Where a client tells its events. There is room for them from when somebody first listens: it is more than all the rest
/// of a client takes.
#[derive(Debug, Default)]
pub(crate) struct EventLog(OnceLock<broadcast::Sender<ClientEvent>>);

/// As many events wait for who reads them slowly.
const KEPT: usize = 1024;

impl EventLog {
    pub(crate) fn tell(&self, event: ClientEvent) {
        if let Some(listeners) = self.0.get() {
            // It is no failure that nobody listens any more.
            let _ = listeners.send(event);
        }
    }

    pub(crate) fn subscribe(&self) -> Events {
        let listeners = self.0.get_or_init(|| broadcast::Sender::new(KEPT));
        Events(listeners.subscribe())
    }
}
