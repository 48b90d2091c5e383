//! Injecting faults.

use crate::error::Error;
use crate::mock::doors::Doors;
use crate::mock::fault::{Effect, Fault, InjectedFault, Placed, ScopedFault};
use crate::mock::open::Open;
use crate::mock::serve::Service;
use crate::mock::server::MockServer;
use crate::schema::{Method, MethodName, infrastructure, is_infrastructure};
use std::{
    panic::Location,
    slice,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// What goes wrong.
impl MockServer {
    /// Injects a fault, at any time, also while calls run. [`Fault`] tells what there is, and in which order several happen.
    ///
    /// What it gives back counts its hits, waits for them, and takes it away; it may be ignored.
    ///
    /// ```
    /// # use rpcplugin_testkit::{Code, Fault, MockServer, Status, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let down = server.inject(Fault::status(Status::unavailable("down")).method("Get").at_most(2));
    /// let client = server.client().await;
    ///
    /// for _ in 0..2 {
    ///     client.call("Get", json!({})).await.unwrap_err();
    /// }
    /// client.call("Get", json!({})).await.unwrap();
    /// assert_eq!(down.hits(), 2);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When the fault cannot have its conditions, such as a method for one that happens before any call comes; when its method is
    /// not in the server's schema, or is ambiguous (the candidates are listed); when one of its matchers can match no call of the
    /// method; and when it is about TLS, which the server does not speak.
    #[track_caller]
    pub fn inject(&self, fault: Fault) -> InjectedFault {
        inject(slice::from_ref(self), fault, false, Location::caller())
    }

    /// Injects a fault until what this gives back is dropped, which also verifies that it happened
    /// [as often as expected](Fault::times).
    ///
    /// ```
    /// # use rpcplugin_testkit::{Fault, MockServer, Reason, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.mount(Stub::method("Get").reply(json!({"value": 1})));
    /// let client = server.client().await;
    /// {
    ///     let _lost = server.inject_scoped(Fault::reset(Reason::CANCEL).times(1));
    ///     client.call("Get", json!({})).await.unwrap_err();
    /// }
    /// client.call("Get", json!({})).await.unwrap();
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// As [`inject`](Self::inject).
    #[track_caller]
    pub fn inject_scoped(&self, fault: Fault) -> ScopedFault {
        ScopedFault(self.inject(fault))
    }

    /// Takes all faults away; those of a cluster from this server only.
    pub(super) fn forget_faults(&self) {
        for fault in self.service.faults.all().iter() {
            if !fault.shared {
                fault.barrier.remove();
            }
            Injected::new(self).remove(fault);
        }
    }

    fn refuse(&self, fault: &Arc<Placed>) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.refuse();
        drop(doors);
        if let Some(strike) = fault.take(self.service.faults.key(0)) {
            strike.hit();
        }
    }

    /// The method in the schema, or among the mock's own services.
    fn method_of(&self, name: &MethodName) -> Result<Option<Arc<Method>>, Error> {
        let found = self.schema_method(name)?;
        // A bare `Watch` is a method of whoever has one, and not of the health service alone.
        let own = self.service.schema.is_some() || is_infrastructure(name.as_str());
        let own = || own.then(|| infrastructure().method(name.as_str()).ok());
        Ok(found.or_else(|| own().flatten()))
    }
}

/// Injects one fault into these servers, which have one schema. `shared`: whether they are a cluster's, which judges it.
#[track_caller]
pub(super) fn inject(
    servers: &[MockServer],
    fault: Fault,
    shared: bool,
    place: &Location<'_>,
) -> InjectedFault {
    let name = fault.name.clone();
    match try_inject(servers, fault, shared, place) {
        Ok(injected) => injected,
        Err(problem) => panic!("cannot inject {name}: {problem}"),
    }
}

fn try_inject(
    servers: &[MockServer],
    mut fault: Fault,
    shared: bool,
    place: &Location<'_>,
) -> Result<InjectedFault, String> {
    let [server, ..] = servers else {
        return Err("there is no server".to_owned());
    };
    let service = &server.service;
    fault.check(service.tls.is_some())?;
    let named = fault.when.method.as_ref();
    let method = named.map(|name| server.method_of(name)).transpose();
    let method = method.map_err(|error| error.to_string())?.flatten();
    if let Some(method) = &method {
        fault.prepare(method)?;
    }
    let method = method.map(|method| MethodName::full(method.full_name()));
    let id = service.registry.next_id();
    let placed = Placed::new(id, fault, method, &service.seed, shared, place);
    let placed = Arc::new(placed);
    for server in servers {
        server.open.inject(&placed, &server.service.faults);
        if let Effect::Refusal = placed.effect {
            server.refuse(&placed);
        }
    }
    let injected: Vec<_> = servers.iter().map(Injected::new).collect();
    let remove = move |fault: &Placed| injected.iter().for_each(|server| server.remove(fault));
    Ok(InjectedFault::new(placed, server.patience, remove))
}

/// One of the servers that a fault was injected into, to take it away. What takes it away may be held by a stub's closure.
struct Injected {
    open: Weak<Open>,
    service: Weak<Service>,
    doors: Weak<Mutex<Doors>>,
}

impl Injected {
    fn new(server: &MockServer) -> Self {
        Self {
            open: Arc::downgrade(&server.open),
            service: Arc::downgrade(&server.service),
            doors: Arc::downgrade(&server.doors),
        }
    }

    fn remove(&self, fault: &Placed) {
        let (Some(open), Some(service)) = (self.open.upgrade(), self.service.upgrade()) else {
            return;
        };
        let was_there = service.faults.remove(fault.id);
        open.undo(fault.id);
        if let (Effect::Refusal, true, Some(doors)) =
            (&fault.effect, was_there, self.doors.upgrade())
        {
            let mut doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
            doors.admit(&open, &service);
        }
    }
}
