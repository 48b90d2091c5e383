//! Killing a server, shutting it down, starting it again, and making it hold its breath.

use crate::error::Error;
use crate::mock::doors::{Doors, NotAgain};
use crate::mock::open::Entrance;
use crate::mock::server::MockServer;
use crate::mock::stopping::Stopping;
use crate::net::Listener;
use std::{
    panic::Location,
    pin::Pin,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};

/// How long Consul is waited for at least, also when nothing else is.
const UNREGISTERING: Duration = Duration::from_secs(1);

/// Lifecycle.
impl MockServer {
    /// Dies as a process does: listens no more and closes every open connection, at once and without a word. When it returns
    /// that is so, and its calls have ended. Stubs, the journal and the address are kept: dials are refused, nobody else can
    /// listen there, and [`restart`](Self::restart) does.
    ///
    /// Connections end by FIN, or by RST with [`Kill::reset`]. Killing one that is down does nothing.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let client = server.client().await;
    ///
    /// server.kill().await;
    /// let error = client.call("Get", json!({})).await.unwrap_err();
    /// assert_eq!(error.code(), Some(Code::Unavailable));
    ///
    /// server.restart().await;
    /// server.client().await.call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    ///
    /// Cancel safe: it is dead with the first poll, and only not all has ended. Do not await it in a stub's closure, whose call
    /// it waits for: spawn it.
    pub fn kill(&self) -> Kill<'_> {
        Kill {
            server: self,
            reset: false,
        }
    }

    /// Stops as a well-behaved server does: listens no more, says good-bye on every connection (`GOAWAY`, in
    /// [two steps](https://www.rfc-editor.org/rfc/rfc9113#section-6.8)), lets the calls in flight end, and closes what is left
    /// when the grace is over. It can be [started again](Self::restart).
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Reply, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// let (reply, gate) = Reply::gate(json!({"value": 1}));
    /// server.mount(Stub::method("Get").reply(reply));
    /// let client = server.client().await;
    /// let call = tokio::spawn(async move { client.call("Get", json!({})).await });
    ///
    /// gate.arrived(1).await;
    /// gate.release(1);
    /// server.shutdown(Duration::from_secs(10)).await;
    /// assert_eq!(call.await.unwrap().unwrap(), json!({"value": 1}));
    /// # }
    /// ```
    ///
    /// What it has [registered](Self::register) with Consul is taken back before anything else, which may take as long as the
    /// grace, and a second in any case.
    ///
    /// Cancel safe: what is open stays open until its calls end, or the server is dropped.
    pub async fn shutdown(&self, grace: Duration) {
        // One that is down already cannot say good-bye.
        let patience = grace.max(UNREGISTERING);
        if self.is_up() && timeout(patience, self.registrations.leave()).await.is_err() {
            tracing::warn!(
                ?patience,
                "Consul has not taken a registration back in time"
            );
        }
        let accepting = self.stopping().leave(&self.service, grace).await;
        self.ended(accepting).await;
    }

    /// Listens again where it did, with its stubs and its journal; one that is up is [killed](Self::kill) first. Connections go
    /// on being numbered.
    ///
    /// # Panics
    ///
    /// When it cannot listen there any more: a TCP port can be held on Linux, Android and macOS only, and a socket's path
    /// only from those who leave the file alone.
    #[track_caller]
    pub fn restart(&self) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            self.kill().await;
            self.listen_again(place);
        }
    }

    /// Listens again, if it does not.
    pub(super) fn listen_again(&self, place: &Location<'_>) {
        let listening = self.doors().listen_again(&self.open, &self.service);
        match listening {
            Ok(()) => {}
            Err(NotAgain::Before) => {
                panic!("the mock server could not restart before at {place}")
            }
            Err(NotAgain::Now(error)) => {
                panic!("the mock server cannot restart at {place}: {error:?}")
            }
        }
    }

    /// Reads, writes and accepts nothing from now on, and closes nothing: to its clients it is a server that hangs. Calls that
    /// were read before go on, and what they answer is held back.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Stub, json};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let client = server.client().await;
    ///
    /// server.pause();
    /// let late = client.call("Get", json!({})).timeout(Duration::from_millis(50)).await;
    /// assert!(late.unwrap_err().is_timeout());
    ///
    /// server.resume();
    /// client.call("Get", json!({})).await.unwrap();
    /// # server.verify().await.unwrap();
    /// # }
    /// ```
    pub fn pause(&self) {
        self.doors().pause();
    }

    /// Goes on where [`pause`](Self::pause) stopped.
    pub fn resume(&self) {
        self.doors().resume();
    }

    /// Whether it listens: it was not killed or shut down, or has been restarted since. One that is [paused](Self::pause) is
    /// up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.doors().is_up()
    }

    /// Whether it is [paused](Self::pause).
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.doors().is_paused()
    }

    pub(super) fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> Stopping {
        Stopping {
            doors: Arc::clone(&self.doors),
            open: Arc::clone(&self.open),
        }
    }

    /// Opens one more address, for a group of clients. Where the server is down, nothing listens there yet.
    pub(super) fn open_door(&self, group: &Arc<str>) -> Result<Arc<Entrance>, Error> {
        let listener = Listener::bind_like(self.address())?;
        let mut doors = self.doors();
        Ok(doors.add(listener, group, &self.open, &self.service))
    }

    /// Listens no more and closes every connection. What comes back is what may still be ending.
    pub(super) fn cut(&self, reset: bool) -> Vec<JoinHandle<()>> {
        self.stopping().cut(reset)
    }

    /// Waits until all connections and their calls have ended.
    pub(super) async fn ended(&self, accepting: Vec<JoinHandle<()>>) {
        for accepting in accepting {
            // It was told to end.
            let _ = accepting.await;
        }
        self.open.all_ended().await;
        // Closures of stubs that do not end by themselves are dropped with their call; one that blocks its thread is not.
        let (service, log) = (&self.service, &self.service.log);
        let none = || (service.serving.load(Ordering::Acquire) == 0).then_some(());
        let _ = timeout(self.patience, log.until(none)).await;
    }
}

/// The death of a server, when it is awaited. See [`MockServer::kill`].
#[derive(Debug)]
#[must_use = "nothing is killed until it is awaited"]
pub struct Kill<'a> {
    server: &'a MockServer,
    reset: bool,
}

impl Kill<'_> {
    /// Ends TCP connections by RST, as a machine that lost power and came back does, and not by FIN. Unix sockets and
    /// in-process pipes have no such thing.
    pub fn reset(mut self) -> Self {
        self.reset = true;
        self
    }
}

impl<'a> IntoFuture for Kill<'a> {
    type Output = ();
    type IntoFuture = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let accepting = self.server.cut(self.reset);
            self.server.ended(accepting).await;
        })
    }
}
