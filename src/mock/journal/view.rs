//! The journal as tests see it: a view that can be narrowed.

use crate::address::Address;
use crate::mock::journal::call::Call;
use crate::mock::journal::logs::Logs;
use crate::mock::journal::outcome::Outcome;
use crate::mock::journal::refused::RefusedConnection;
use crate::mock::journal::store::Log;
use std::{fmt, sync::Arc};

/// The calls that a server received, or all servers of a [cluster](crate::MockCluster), or some of them.
///
/// It is a view and not a copy: it tells what is there when it is asked. Narrow it, and read it:
///
/// ```
/// # use rpcplugin_testkit::{MockServer, Outcome, Stub, json};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let server = MockServer::start().await;
/// server.mount(Stub::method("Get").named("found").reply(json!({"value": 1})));
/// let client = server.client().await;
/// client.call("Get", json!({"key": "a"})).metadata("x-tenant", "blue").await.unwrap();
///
/// let journal = server.journal();
/// assert_eq!(journal.to("Get").with_metadata("x-tenant", "blue").len(), 1);
/// assert_eq!(journal.served_by("found").ended(Outcome::Ok).calls()[0].request()["key"], "a");
/// assert!(journal.unmatched().is_empty(), "{journal}");
/// # }
/// ```
///
/// It prints one line for each call, for each request that was no gRPC call, and for each connection that was refused. Metadata is not among it.
///
/// It takes no more room than [`journal_limit`](crate::mock::MockServerBuilder::journal_limit): the oldest calls go when
/// it is used up, and [`dropped`](Self::dropped) counts them.
#[derive(Clone)]
pub struct Journal {
    pub(super) logs: Logs,
    /// The method, which has an index.
    method: Option<String>,
    filters: Vec<Filter>,
    /// Whether one of them is the test's own, and may not run under a lock.
    foreign: bool,
}

type Filter = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// How many calls are printed.
const PRINTED: usize = 50;

impl Journal {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self::of(Logs::One(log))
    }

    /// The calls of several servers as one.
    pub(crate) fn of_all(logs: impl IntoIterator<Item = Arc<Log>>) -> Self {
        Self::of(Logs::Many(logs.into_iter().collect()))
    }

    fn of(logs: Logs) -> Self {
        Self {
            logs,
            method: None,
            filters: Vec::new(),
            foreign: false,
        }
    }

    /// The calls to the method of that name: `Method`, `Service.Method`, `pkg.Service.Method` or `pkg.Service/Method`.
    ///
    /// Of the mock's own services too, which are in no other view: `to("grpc.health.v1.Health/Check")`.
    #[must_use]
    pub fn to(&self, method: &str) -> Self {
        if self.method.is_some() {
            let method = method.to_owned();
            return self.narrow(move |call| call.is(&method));
        }
        Self {
            method: Some(method.to_owned()),
            ..self.clone()
        }
    }

    /// The calls that the stub of this [name](crate::Stub::named) served, or of this label as [`Call::stub`] tells it.
    #[must_use]
    pub fn served_by(&self, stub: &str) -> Self {
        let stub = stub.to_owned();
        self.narrow(move |call| {
            let progress = call.progress();
            let server = progress.server.as_ref();
            server.is_some_and(|server| server.is_named(&stub))
        })
    }

    /// The calls that no stub and no service served.
    #[must_use]
    pub fn unmatched(&self) -> Self {
        self.narrow(|call| {
            let progress = call.progress();
            let nobody = progress.server.is_none() && progress.faults().is_empty();
            nobody && progress.ended.is_some()
        })
    }

    /// The calls from this [peer](Call::peer).
    #[must_use]
    pub fn from_peer(&self, peer: &Address) -> Self {
        let peer = peer.clone();
        self.narrow(move |call| *call.peer() == peer)
    }

    /// The calls on this [connection](Call::connection_id).
    #[must_use]
    pub fn on_connection(&self, id: u64) -> Self {
        self.narrow(move |call| call.connection_id() == id)
    }

    /// The calls that came to the server of this [address](Call::server_address), of those of a cluster.
    #[must_use]
    pub fn on_server(&self, server: &Address) -> Self {
        let server = server.clone();
        self.narrow(move |call| *call.server_address() == server)
    }

    /// The calls from the [client group](Call::group) of this name.
    #[must_use]
    pub fn from_group(&self, name: &str) -> Self {
        let name = name.to_owned();
        self.narrow(move |call| call.group() == Some(&name))
    }

    /// The calls of clients whose [certificate](Call::client_certificate) has this name, as common name or alternative name.
    #[must_use]
    pub fn from_client(&self, name: &str) -> Self {
        let name = name.to_owned();
        self.narrow(move |call| {
            let certificate = call.client_certificate();
            certificate.is_some_and(|certificate| certificate.has_name(&name))
        })
    }

    /// The calls that ended like this.
    #[must_use]
    pub fn ended(&self, outcome: Outcome) -> Self {
        self.narrow(move |call| call.outcome() == Some(outcome))
    }

    /// The calls that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> Self {
        self.narrow(|call| call.outcome().is_none())
    }

    /// The calls whose request metadata has this pair, perhaps among other values of the key. For a key that ends with
    /// `-bin` the value is its base64, as on the wire.
    #[must_use]
    pub fn with_metadata(&self, key: &str, value: &str) -> Self {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.narrow(move |call| {
            let values = call.metadata().as_ref().get_all(&key);
            values
                .iter()
                .any(|known| known.as_bytes() == value.as_bytes())
        })
    }

    /// The calls that a closure accepts.
    #[must_use]
    pub fn filter(&self, accepts: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self {
            foreign: true,
            ..self.narrow(accepts)
        }
    }

    fn narrow(&self, accepts: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        let mut narrowed = self.clone();
        narrowed.filters.push(Arc::new(accepts));
        narrowed
    }

    /// The calls, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = self.logs.calls(self.method.as_deref());
        // No lock is held while the closures run.
        calls.retain(|call| self.filters.iter().all(|accepts| accepts(call)));
        calls
    }

    /// How many calls there are.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.foreign {
            return self.calls().len();
        }
        if self.filters.is_empty() {
            return self.logs.len(self.method.as_deref());
        }
        let accepted = |call: &Call| self.filters.iter().all(|accepts| accepts(call));
        self.logs.count(self.method.as_deref(), accepted)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connections whose TLS handshake failed, whatever this view shows of the calls: the first thousand.
    #[must_use]
    pub fn refused(&self) -> Vec<RefusedConnection> {
        self.logs.each(Log::refused).flatten().collect()
    }

    /// How many of the server's calls there was no room for any more, whatever this view shows of the rest.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.logs.each(Log::dropped).sum()
    }

    /// The lines, each behind a line break, for the end of a message.
    pub(crate) fn listing(&self) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for (server, log) in self.logs.named() {
            let (dropped, limit) = (log.dropped(), log.shared.limit());
            if dropped > 0 {
                let _ = write!(
                    text,
                    "\n  ({server}of {dropped} earlier calls there was no room in the journal's {limit} bytes)"
                );
            }
        }
        let calls = self.calls();
        // The first and the latest: a wait in vain is about the latest.
        let left_out = calls.len().saturating_sub(PRINTED);
        let gap = if left_out > 0 {
            PRINTED / 2
        } else {
            usize::MAX
        };
        for (number, call) in calls.iter().enumerate() {
            if number == gap {
                let _ = write!(text, "\n  … {left_out} more");
            }
            if number < gap || number >= gap + left_out {
                let server = self.logs.name_of(call);
                let _ = write!(text, "\n  {number}: {server}{call}");
            }
        }
        if self.method.is_none() && self.filters.is_empty() {
            for (server, log) in self.logs.named() {
                for request in log.foreign() {
                    let _ = write!(text, "\n  {server}no gRPC call: {request}");
                }
                for refused in log.refused().iter().take(PRINTED) {
                    let _ = write!(text, "\n  {server}refused: {refused}");
                }
            }
        }
        text
    }
}

/// A copy of the calls.
impl IntoIterator for &Journal {
    type Item = Call;
    type IntoIter = std::vec::IntoIter<Call>;

    fn into_iter(self) -> Self::IntoIter {
        self.calls().into_iter()
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.listing().trim_start_matches('\n'))
    }
}

/// As it prints.
impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
