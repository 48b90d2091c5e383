//! The mock plugin server.

use crate::address::Address;
use crate::error::Error;
use crate::health::ServingStatus;
use crate::mock::auth::Auth;
use crate::mock::backend::Backend;
use crate::mock::builtin::Builtin;
use crate::mock::dice::Seed;
use crate::mock::doors::Doors;
use crate::mock::fault::Faults;
use crate::mock::journal::{Journal, Log, Redaction, Unfinished};
use crate::mock::open::Open;
use crate::mock::registration::Registrations;
use crate::mock::registry::Registry;
use crate::mock::serve::{Backends, Service};
use crate::mock::stopping::Stopping;
use crate::mock::tls::{ServerTls, Tls};
use crate::mock::verify::{Drawn, Findings, Judged, Problems, Report, SEED};
use crate::net::{Bind, Listener};
use crate::schema::{Method, MethodName, Schema};
use crate::wire::Compression;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::Notify;
use tonic::Code;

/// A plugin server in the test's own process and runtime, that answers as its stubs say and records every call.
///
/// It listens already when `start` returns. Dropping it frees the port or the socket file and closes all connections
/// before `drop` returns; so keep it in a variable, not in `_`.
///
/// Dropping it also [verifies](Self::verify) that its stubs got what they expect and that no call came that no stub
/// accepted, and panics with the report if not; unless the thread is panicking already, `verify` was called before, or
/// [`verify_on_drop(false)`](crate::mock::MockServerBuilder::verify_on_drop) was said. So let the test itself own it: a server
/// in a task that the runtime drops panics where nobody looks, one in a `thread_local!` ends the process, and one that a
/// closure of its own stub holds by an `Arc` is never dropped (give the closure a `Weak`).
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
    pub(super) service: Arc<Service>,
    pub(super) open: Arc<Open>,
    pub(super) doors: Arc<Mutex<Doors>>,
    pub(super) registrations: Registrations,
    pub(super) patience: Duration,
    allow_unmatched: bool,
    /// Whether dropping it verifies.
    verifies: AtomicBool,
    /// Whether it is one of a cluster, which tells the seed in its place.
    clustered: bool,
}

/// What the servers of a cluster have in common.
#[derive(Clone, Default)]
pub(super) struct Common {
    /// The number of the next stub.
    pub(super) ids: Arc<AtomicU64>,
    pub(super) news: Arc<Notify>,
}

/// What a server is started with.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) bind: Bind,
    pub(super) schema: Option<Schema>,
    pub(super) tls: Option<ServerTls>,
    pub(super) auth: Option<Auth>,
    pub(super) message_limit: usize,
    pub(super) journal_limit: usize,
    pub(super) redaction: Redaction,
    pub(super) patience: Duration,
    pub(super) compression: Option<Compression>,
    pub(super) unmatched: Code,
    pub(super) allow_unmatched: bool,
    pub(super) verify_on_drop: bool,
    pub(super) seed: u64,
    /// Whether all connections come through one.
    #[cfg(feature = "multiplex")]
    pub(super) multiplexed: bool,
    /// What unmatched calls go on to.
    pub(super) proxied: Option<Arc<Backend>>,
    /// `None` for a server by itself.
    pub(super) common: Option<Common>,
}

impl MockServer {
    pub(super) async fn listen(settings: Settings) -> Result<Self, Error> {
        let tls = settings.tls.map(Tls::new).transpose()?;
        let listener = Listener::bind(&settings.bind).await?;
        let address = listener.address().clone().with_tls(tls.is_some());
        let clustered = settings.common.is_some();
        let Common { ids, news } = settings.common.unwrap_or_default();
        let service = Arc::new(Service {
            builtin: Builtin::new(settings.schema.as_ref()),
            schema: settings.schema,
            log: Log::new(settings.journal_limit, settings.redaction, news),
            registry: Arc::new(Registry::new(ids)),
            findings: Findings::default(),
            faults: Faults::new(address.clone()),
            backends: Backends::new(settings.proxied),
            serving: AtomicUsize::new(0),
            tls,
            auth: settings.auth,
            message_limit: settings.message_limit,
            compression: settings.compression,
            unmatched: settings.unmatched,
            seed: Seed::new(settings.seed),
        });
        #[cfg(feature = "multiplex")]
        service.builtin.brokered.multiplex(settings.multiplexed);
        let open = Arc::<Open>::default();
        let doors = Doors::open(listener, &address, &open, &service);
        let doors = Arc::new(Mutex::new(doors));
        let stopping = Stopping { doors, open };
        stopping.by_host(&service);
        Ok(Self {
            address,
            service,
            open: stopping.open,
            doors: stopping.doors,
            registrations: Registrations::default(),
            patience: settings.patience,
            allow_unmatched: settings.allow_unmatched,
            verifies: AtomicBool::new(settings.verify_on_drop),
            clustered,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where it listens, as a URI: `http://127.0.0.1:40123`, or `https://…` with TLS, `unix:/tmp/…`, `memory:1`.
    #[must_use]
    pub fn uri(&self) -> String {
        self.address.uri()
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
        self.open.count()
    }

    /// The method that is meant. `None`, when there is no schema, or it does not have the service at all: that can be served
    /// with prost messages.
    pub(super) fn schema_method(&self, name: &MethodName) -> Result<Option<Arc<Method>>, Error> {
        let Some(schema) = &self.service.schema else {
            return Ok(None);
        };
        match schema.method(name.as_str()) {
            Ok(method) => Ok(Some(method)),
            Err(error) if schema.has_service_of(name) => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.service.schema.as_ref()
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        self.end();
        if self.clustered {
            return;
        }
        if thread::panicking() {
            self.tell_seed();
        } else if self.verifies()
            && let Err(report) = self.judge(Unfinished::default())
        {
            panic!("{report}{ON_DROP}");
        }
    }
}

/// A test that returns an error drops its server on the way, and nothing tells the server so.
const ON_DROP: &str = "\n(verified when the server was dropped; in a test that returns a `Result`, an error on its way out is \
    hidden by this: build the server with `.verify_on_drop(false)` and end the test with `server.verify().await?`)";

/// Verdict.
impl MockServer {
    /// Frees every address and closes every connection, for good.
    pub(super) fn end(&mut self) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.end();
        drop(doors);
        self.open.close_all(false);
    }

    /// Whether dropping it would verify.
    pub(super) fn verifies(&self) -> bool {
        self.verifies.load(Ordering::Acquire)
    }

    /// What is not as expected, now. It is not asked again when the server is dropped.
    pub(super) fn judge(&self, unfinished: Unfinished) -> Result<(), Report> {
        self.verifies.store(false, Ordering::Release);
        let head = format!(
            "the mock server at {} did not get what it expects",
            self.address
        );
        let journal = Journal::new(Arc::clone(&self.service.log));
        self.problems(unfinished)
            .report(head, &journal, self.drawn())
    }

    /// What was random so far.
    fn drawn(&self) -> Option<Drawn> {
        let seed = &self.service.seed;
        Drawn::new(
            seed.value(),
            seed.is_used(),
            false,
            seed.is_used_for_chaos(),
        )
    }

    /// What is not as expected. Stubs that are mounted on all servers of a cluster are the cluster's.
    pub(super) fn problems(&self, unfinished: Unfinished) -> Problems {
        let judged = Judged {
            registry: &self.service.registry,
            findings: &self.service.findings,
            faults: &self.service.faults,
            allow_unmatched: self.allow_unmatched,
            unfinished,
        };
        judged.problems()
    }

    #[expect(
        clippy::print_stderr,
        reason = "a failing test must be told its seed, and panics cannot be nested"
    )]
    fn tell_seed(&self) {
        if let Some(Drawn { what, seed }) = self.drawn() {
            eprintln!(
                "the mock server at {} drew its {what} from the seed {seed}: {SEED}={seed} repeats them",
                self.address
            );
        }
    }
}

impl fmt::Debug for MockServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (calls, connections) = (self.service.log.arrived(), self.connections());
        write!(
            f,
            "MockServer({}, {calls} calls, {connections} connections)",
            self.address
        )
    }
}
