//! [`MockConsul`] itself.

use crate::address::Address;
use crate::consul::Consul;
use crate::mock::consul::catalog::FIRST_INDEX;
use crate::mock::consul::serving::serve;
use crate::mock::consul::state::State;
use crate::net::{Bind, Cut, Freezer, Held, Listener, SwitchedListener};
use std::{
    fmt,
    panic::Location,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinHandle},
};

/// A Consul agent in the test's own process: the parts of its
/// [HTTP API](https://developer.hashicorp.com/consul/api-docs) that clients discover services by, with real blocking queries,
/// TTL checks, tokens, and [failures](Self::inject).
///
/// | path | |
/// |---|---|
/// | `GET /v1/health/service/:name` | `passing`, `filter`, `tag`, `index`, `wait`; `dc1` is the only datacenter |
/// | `GET /v1/catalog/services`, `GET /v1/catalog/service/:name` | both block too |
/// | `PUT /v1/agent/service/register`, `…/deregister/:id` | with TTL checks, and `DeregisterCriticalServiceAfter` |
/// | `PUT /v1/agent/check/register`, `deregister`, `pass`, `warn`, `fail`, `update` | |
/// | `GET /v1/agent/services`, `/v1/agent/checks`, `/v1/agent/self`, `/v1/status/leader` | |
///
/// It asks nobody for their health: a check that is no TTL check is what it was registered as, until
/// [`set_status`](Self::set_status). A change is known at once, and wakes those that wait for it. Waits have no jitter.
///
/// ```
/// use rpcplugin_testkit::{Client, MockConsul, MockServer, mock::ServiceInstance};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), rpcplugin_testkit::Error> {
/// let (one, two) = (MockServer::start().await, MockServer::start().await);
/// let registry = MockConsul::start().await;
/// let first = registry.register(ServiceInstance::new("kv", one.address()));
///
/// // Code under test gets `registry.url()` as its `CONSUL_HTTP_ADDR`.
/// let client = registry.agent().connect_to("kv").await?;
/// let mut events = client.events();
/// registry.register(ServiceInstance::new("kv", two.address()));
/// events.next().await;
/// assert_eq!(client.endpoints().len(), 2);
/// # Ok(())
/// # }
/// ```
///
/// It runs on the test's own runtime, and ends when it is dropped.
#[must_use = "the agent stops when it is dropped: bind it to a name, not to `_`"]
pub struct MockConsul {
    address: Address,
    pub(super) state: Arc<State>,
    life: Mutex<Life>,
    timing: AbortHandle,
}

enum Life {
    Up {
        listener: Cut<Listener>,
        ending: oneshot::Sender<()>,
        serving: JoinHandle<()>,
    },
    Down(Held),
    /// It could not listen again.
    Over,
}

/// Starting, dying and coming back.
impl MockConsul {
    /// One on 127.0.0.1 and an ephemeral port, which listens already.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[track_caller]
    pub fn start() -> impl Future<Output = Self> + Send {
        Self::listen(Bind::Tcp, Location::caller())
    }

    /// One on a Unix socket in a temporary directory.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[track_caller]
    pub fn unix() -> impl Future<Output = Self> + Send {
        Self::listen(Bind::Unix, Location::caller())
    }

    /// One on an in-process pipe, for paused clocks. Only this crate's clients can ask it.
    ///
    /// # Panics
    ///
    /// When it cannot listen.
    #[track_caller]
    pub fn memory() -> impl Future<Output = Self> + Send {
        Self::listen(Bind::Memory, Location::caller())
    }

    /// One that is reached as that address is.
    pub(crate) async fn beside(address: &Address, place: &'static Location<'static>) -> Self {
        let bind = match address {
            Address::Tcp { .. } => Bind::Tcp,
            Address::Unix(_) => Bind::Unix,
            Address::Memory(_) => Bind::Memory,
        };
        Self::listen(bind, place).await
    }

    async fn listen(bind: Bind, place: &'static Location<'static>) -> Self {
        let listener = Listener::bind(&bind).await;
        let listener = listener.unwrap_or_else(|error| {
            panic!("the mock of Consul cannot start at {place}: {error:?}")
        });
        let state = Arc::new(State::new());
        let address = listener.address().clone();
        let timing = tokio::spawn(Arc::clone(&state).keep_time()).abort_handle();
        let life = Mutex::new(Life::up(listener, &state));
        Self {
            address,
            state,
            life,
            timing,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where it listens, as `CONSUL_HTTP_ADDR` has it: `http://127.0.0.1:40123`, `unix:///tmp/…`.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.address {
            Address::Unix(path) => format!("unix://{}", path.display()),
            other => other.uri(),
        }
    }

    /// A hand on it for our client and our servers: [`Consul::new`] of its [`url`](Self::url).
    pub fn agent(&self) -> Consul {
        Consul::new(self.url())
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dies: refuses dials and cuts every connection. What it knows is kept, and checks go on running out. Killing one that is
    /// down does nothing.
    pub async fn kill(&self) {
        let serving = self.life().go_down();
        if let Some(serving) = serving {
            // It was told to end.
            let _ = serving.await;
        }
    }

    /// Listens again where it did, with what it knows and with an index that begins anew, as after a restored backup; one that
    /// is up is killed first. [`forget`](Self::forget) makes it one that has lost everything.
    ///
    /// # Panics
    ///
    /// When it cannot listen there any more.
    #[track_caller]
    pub fn restart(&self) -> impl Future<Output = ()> + Send + '_ {
        let place = Location::caller();
        async move {
            self.kill().await;
            self.set_index(FIRST_INDEX);
            if let Err(why) = self.life().listen_again(&self.state) {
                panic!("the mock of Consul cannot restart at {place}: {why}");
            }
        }
    }
}

impl Life {
    fn up(listener: Listener, state: &Arc<State>) -> Self {
        let (switched, listener) = SwitchedListener::new(listener, &Arc::<Freezer>::default());
        let (ending, ended) = oneshot::channel();
        let serving = tokio::spawn(serve(switched, Arc::clone(state), ended));
        Self::Up {
            listener,
            ending,
            serving,
        }
    }

    fn go_down(&mut self) -> Option<JoinHandle<()>> {
        match std::mem::replace(self, Self::Over) {
            Self::Up {
                listener,
                ending,
                serving,
            } => {
                if let Some(listener) = listener.take() {
                    *self = Self::Down(listener.hold());
                }
                let _ = ending.send(());
                Some(serving)
            }
            down => {
                *self = down;
                None
            }
        }
    }

    fn listen_again(&mut self, state: &Arc<State>) -> Result<(), String> {
        match std::mem::replace(self, Self::Over) {
            Self::Down(held) => {
                let listener = held.listen().map_err(|error| format!("{error:?}"))?;
                *self = Self::up(listener, state);
                Ok(())
            }
            Self::Over => Err("it could not before".to_owned()),
            // Another task was faster.
            up => {
                *self = up;
                Ok(())
            }
        }
    }
}

impl Drop for MockConsul {
    fn drop(&mut self) {
        self.timing.abort();
        let life = self.life.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Life::Up { listener, .. } = std::mem::replace(life, Life::Over) {
            // Its task ends with it, and the connections with the task.
            drop(listener.take());
        }
    }
}

impl fmt::Debug for MockConsul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MockConsul({})", self.url())
    }
}
