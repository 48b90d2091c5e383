//! The broker of a mock in the test's hands.

use crate::address::Address;
use crate::handshake::{address_of, network_of};
use crate::mock::builtin::Brokered;
use crate::mock::server::MockServer;
#[cfg(feature = "multiplex")]
use crate::net::MuxStream;
use crate::proto::plugin::ConnInfo;
#[cfg(feature = "multiplex")]
use std::io;
use std::{fmt, panic::Location, pin::pin, sync::Arc, time::Duration};
use tokio::time::timeout;

impl MockServer {
    /// Its side of go-plugin's [broker](https://github.com/hashicorp/go-plugin/blob/main/grpc_broker.go), by which a plugin and
    /// its host agree on further connections in either direction.
    ///
    /// Of several hosts that have called `plugin.GRPCBroker/StartStream`, the last is told.
    pub fn broker(&self) -> Broker {
        Broker {
            brokered: Arc::clone(&self.service.builtin.brokered),
            patience: self.patience,
        }
    }
}

/// The plugin's side of a broker. See [`MockServer::broker`].
///
/// ```
/// use rpcplugin_testkit::{MockServer, Stub, json, plugin::Broker, proto::plugin::ConnInfo};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let plugin = MockServer::start().await;
/// let counter = MockServer::start().await;
///
/// // The host is told where the plugin's second service is.
/// let broker: Broker = plugin.broker();
/// let id = broker.next_id();
/// broker.offer(id, &counter);
///
/// // As a host does.
/// let client = plugin.client().await;
/// let nothing = tokio_stream::pending::<ConnInfo>();
/// let mut told = client.bidi_stream::<_, ConnInfo>("/plugin.GRPCBroker/StartStream", nothing).await.unwrap();
/// let info = told.message().await.unwrap().unwrap();
/// assert_eq!((info.service_id, info.address), (id, counter.address().to_string()));
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing by itself"]
pub struct Broker {
    brokered: Arc<Brokered>,
    patience: Duration,
}

impl Broker {
    /// A number for a service, which this broker has not given before. Hosts count for themselves.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.brokered.next_number()
    }

    /// Tells the host where it can dial another server, which serves under this number (go-plugin's `Accept`). A host that
    /// comes later is told too, if there is none yet. With AutoMTLS the host dials that one with the same certificates, so give
    /// it the [TLS](crate::mock::MockServerBuilder::tls) of this one.
    ///
    /// # Panics
    ///
    /// When other processes cannot reach it, as with [`MockServer::memory`].
    #[track_caller]
    pub fn offer(&self, id: u32, server: &MockServer) {
        let Some((network, address)) = network_of(server.address()) else {
            panic!(
                "{} is a pipe within this process, which no broker can offer: use TCP or a Unix socket",
                server.address()
            );
        };
        #[cfg(feature = "multiplex")]
        if self.brokered.offer(id, server.address()) {
            return;
        }
        self.send(ConnInfo {
            service_id: id,
            network: network.to_owned(),
            address,
            knock: None,
        });
    }

    /// Tells the host whatever this says, sense or not.
    pub fn send(&self, info: ConnInfo) {
        self.brokered.tell(info);
    }

    /// All that hosts have told, in the order in which it came.
    #[must_use]
    pub fn received(&self) -> Vec<ConnInfo> {
        self.brokered.received()
    }

    /// Waits until a host tells where it serves under this number (go-plugin's `Dial`): connect any client to that.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When it is not told in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)), or told in a way that is
    /// no address; the text has what came.
    #[track_caller]
    pub fn connection(&self, id: u32) -> impl Future<Output = Address> + Send + '_ {
        let place = Location::caller();
        async move {
            let told = timeout(self.patience, self.told(id)).await;
            let Ok(told) = told else {
                panic!(
                    "waited {:?} at {place} for a host to broker {id}, and it told {:?}",
                    self.patience,
                    self.received()
                );
            };
            match address_of(&told.network, &told.address) {
                Ok(address) => address,
                Err(error) => {
                    panic!("the host brokers {id} at no address, told at {place}: {error:?}")
                }
            }
        }
    }

    async fn told(&self, id: u32) -> ConnInfo {
        self.heard(0, |info| info.service_id == id && info.knock.is_none())
            .await
    }

    /// The first of what hosts tell that is meant, after so many.
    async fn heard(&self, after: usize, is_meant: impl Fn(&ConnInfo) -> bool) -> ConnInfo {
        loop {
            let mut news = pin!(self.brokered.news.notified());
            news.as_mut().enable();
            let received = self.brokered.received().into_iter();
            if let Some(info) = received.skip(after).find(&is_meant) {
                return info;
            }
            news.await;
        }
    }
}

/// Where all connections go through one.
#[cfg(feature = "multiplex")]
impl Broker {
    pub(super) fn refuse_knocks(&self, id: u32, error: String) {
        self.brokered.refuse(id, error);
    }

    pub(super) async fn knock(&self, id: u32) -> io::Result<MuxStream> {
        let Some(session) = self.brokered.session() else {
            let text = "no multiplexed connection of a host is there";
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        };
        let before = self.brokered.received().len();
        self.brokered.knock(id);
        let answers = |info: &ConnInfo| {
            let answer = info.knock.as_ref();
            info.service_id == id
                && answer.is_some_and(|knock| knock.ack || !knock.error.is_empty())
        };
        let answer = timeout(self.patience, self.heard(before, answers)).await;
        let answer = answer.map_err(|_| {
            let text = format!("the host does not answer the knock for {id}");
            io::Error::new(io::ErrorKind::TimedOut, text)
        })?;
        match answer.knock {
            Some(knock) if knock.ack && knock.error.is_empty() => session.open().await,
            refused => {
                let why = refused.unwrap_or_default().error;
                let text = format!("the host refuses the knock for {id}: {why}");
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, text))
            }
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("received", &self.received())
            .finish_non_exhaustive()
    }
}
