//! The mock plugin server.

use crate::address::Address;
use crate::error::Error;
use crate::mock::builtin::Builtin;
use crate::mock::connection;
use crate::mock::journal::{Call, Connection, Journal};
use crate::mock::registry::Registry;
use crate::mock::serve::Service;
use crate::mock::stub::Stub;
use crate::net::{Bind, Cut, Listener, Stream, Switched, SwitchedListener};
use crate::schema::{MethodName, Schema, is_infrastructure};
use std::{
    collections::HashMap,
    fmt,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tonic_health::ServingStatus;

/// A plugin server in the test's own process and runtime, that answers as its stubs say and records every call.
///
/// It listens already when `start` returns. Dropping it frees the port or the socket file and closes all connections
/// before `drop` returns; so keep it in a variable, not in `_`.
///
/// ```
/// use rpcplugin_testkit::{Call, MockServer, Stub, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// server.mount(Stub::any().reply(|call: &Call| json!({"success": true, "method": call.method()})));
///
/// let client = server.client().await;
/// let result = client.call("TestMethod", json!({"param": "value"})).await.unwrap();
///
/// assert_eq!(result["success"], true);
/// assert_eq!(server.calls().len(), 1);
/// assert_eq!(server.calls()[0], ("TestMethod", json!({"param": "value"})));
/// # }
/// ```
#[must_use = "the server stops when it is dropped: bind it to a name, not to `_`"]
pub struct MockServer {
    address: Address,
    service: Arc<Service>,
    open: Arc<Open>,
    listener: Cut<Listener>,
    accepting: AbortHandle,
    patience: Duration,
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) bind: Bind,
    pub(super) schema: Option<Schema>,
    pub(super) message_limit: usize,
    pub(super) patience: Duration,
}

/// The connections that are open.
#[derive(Default)]
struct Open {
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    stopped: bool,
    accepted: u64,
    open: HashMap<u64, Cut<Stream>>,
}

impl MockServer {
    pub(super) async fn listen(settings: Settings) -> Result<Self, Error> {
        let listener = Listener::bind(&settings.bind).await?;
        let address = listener.address().clone();
        let service = Arc::new(Service {
            builtin: Builtin::new(settings.schema.as_ref()),
            schema: settings.schema,
            journal: Journal::default(),
            registry: Registry::default(),
            message_limit: settings.message_limit,
        });
        let open = Arc::<Open>::default();
        let (switched, listener) = SwitchedListener::new(listener);
        let accepting = tokio::spawn(accept(switched, Arc::clone(&open), Arc::clone(&service)));
        Ok(Self {
            address,
            service,
            open,
            listener,
            accepting: accepting.abort_handle(),
            patience: settings.patience,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where it listens, as a URI: `http://127.0.0.1:40123`, `unix:/tmp/…`, `memory:1`.
    #[must_use]
    pub fn uri(&self) -> String {
        self.address.uri()
    }

    /// Mounts a stub, at any time, also while calls run.
    ///
    /// A stub for a method comes before one for any call; of two alike, the one mounted later comes first.
    ///
    /// # Panics
    ///
    /// When the server has a schema and the stub's method is not in it, or is ambiguous (the candidates are listed), and
    /// when the stub is for one of the services that the mock has itself, such as health.
    #[track_caller]
    pub fn mount(&self, stub: Stub) {
        let resolved = match &stub.method {
            Some(name) => self.resolve(name),
            None => None,
        };
        self.service.registry.mount(stub, resolved);
    }

    #[track_caller]
    fn resolve(&self, name: &MethodName) -> Option<MethodName> {
        if is_infrastructure(name.as_str()) {
            panic!(
                "`{}` is served by the mock itself: use `set_health` for its health",
                name.as_str()
            );
        }
        let schema = self.service.schema.as_ref()?;
        match schema.method(name.as_str()) {
            Ok(method) => Some(MethodName::full(method.full_name())),
            // A service that the schema does not have at all can be served with prost messages.
            Err(_) if !schema.has_service_of(name) => None,
            Err(error) => panic!("cannot mount the stub: {error}"),
        }
    }

    /// Every call so far, matched or not, in the order of arrival. Calls to the mock's own services (health, reflection)
    /// are not among them: see [`calls_to`](Self::calls_to).
    ///
    /// A call is here as soon as its request message is, or its headers when the client streams.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.service.journal.calls()
    }

    /// Every call so far to the method of that name: `Method`, `Service.Method`, `pkg.Service.Method` or
    /// `pkg.Service/Method`. Calls to the mock's own services count too: `calls_to("grpc.health.v1.Health/Check")`.
    #[must_use]
    pub fn calls_to(&self, method: &str) -> Vec<Call> {
        self.service.journal.calls_to(method)
    }

    /// Waits until there are `n` calls or more, and returns all.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockServer, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::any().reply(json!({})));
    ///
    /// // The code under test calls in its own time.
    /// let client = server.client().await;
    /// tokio::spawn(async move { client.call("Register", json!({"id": 7})).await });
    ///
    /// assert_eq!(server.wait_for_calls(1).await, [("Register", json!({"id": 7}))]);
    /// # }
    /// ```
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When they do not come in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists those that did.
    #[track_caller]
    pub fn wait_for_calls(&self, n: usize) -> impl Future<Output = Vec<Call>> + Send + '_ {
        let place = Location::caller();
        self.service.journal.wait_for(n, self.patience, place)
    }

    /// Waits for the first call that this method has not returned yet.
    ///
    /// Cancel safe.
    ///
    /// # Panics
    ///
    /// When none comes in time (10 s, or [`patience`](crate::mock::MockServerBuilder::patience)); the text lists those that did.
    #[track_caller]
    pub fn next_call(&self) -> impl Future<Output = Call> + Send + '_ {
        let place = Location::caller();
        self.service.journal.next(self.patience, place)
    }

    /// The journal as text: one line for each call, and for each request that was no gRPC call.
    #[must_use]
    pub fn journal(&self) -> String {
        self.service
            .journal
            .listing()
            .trim_start_matches('\n')
            .to_owned()
    }

    /// Forgets all stubs and all calls. Connections stay.
    pub fn reset(&self) {
        self.service.registry.clear();
        self.service.journal.clear();
    }

    /// Sets what the health service tells of a service, `""` for the server as a whole. Watchers are told at once.
    ///
    /// The server and the services of its schema are serving from the start; others are unknown until they are set.
    pub fn set_health(&self, service: &str, status: ServingStatus) {
        self.service.builtin.health.set(service, status);
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.lock().open.len()
    }

    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.service.schema.as_ref()
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.listener.cut();
        let mut connections = self.open.lock();
        connections.stopped = true;
        let open = std::mem::take(&mut connections.open);
        drop(connections);
        for connection in open.values() {
            connection.cut();
        }
    }
}

impl fmt::Debug for MockServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, connections) = (self.calls().len(), self.connections());
        write!(
            f,
            "MockServer({}, {calls} calls, {connections} connections)",
            self.address
        )
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection. `None`, when the server has stopped.
    fn add(&self, stream: Stream) -> Option<(u64, Switched)> {
        let mut connections = self.lock();
        if connections.stopped {
            return None;
        }
        connections.accepted += 1;
        let id = connections.accepted;
        let (switched, cut) = Switched::new(stream);
        connections.open.insert(id, cut);
        Some((id, switched))
    }
}

/// How long the accept loop waits when the process is out of file descriptors, which is what accepting fails by.
const OUT_OF_FILES: Duration = Duration::from_millis(50);

async fn accept(listener: SwitchedListener, open: Arc<Open>, service: Arc<Service>) {
    while let Some(accepted) = listener.accept().await {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep_until(Instant::now() + OUT_OF_FILES).await;
                continue;
            }
        };
        let Some((id, stream)) = open.add(stream) else {
            return;
        };
        let news = Arc::clone(&service.journal.news);
        let connection = Arc::new(Connection { id, peer, news });
        let (open, service) = (Arc::clone(&open), Arc::clone(&service));
        tokio::spawn(async move {
            connection::serve(stream, connection, service).await;
            open.lock().open.remove(&id);
        });
    }
}
