//! Clients that are told apart by the addresses that they dial.

use crate::address::Address;
use crate::error::Error;
use crate::mock::cluster::MockCluster;
use crate::mock::open::Entrance;
use crate::mock::serve::Service;
use crate::mock::tls::ServerTls;
use crate::schema::Schema;
use std::{
    fmt,
    sync::{Arc, PoisonError, Weak},
};

/// Some of the clients of a [cluster](MockCluster): those that dial the addresses of this group, of which each server has one.
/// See [`MockCluster::group`].
///
/// It is a handle; a copy is the same group.
#[derive(Clone)]
pub struct ClientGroup(Arc<Group>);

struct Group {
    name: Arc<str>,
    /// One for each server.
    doors: Vec<Arc<Entrance>>,
    /// Not held by it: a stub's closure may hold the group.
    services: Vec<Weak<Service>>,
}

impl ClientGroup {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where its clients reach the servers, in the order of the servers.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        let doors = self.0.doors.iter();
        doors.map(|door| door.address.clone()).collect()
    }

    /// What a client of a server is ready with: where to dial, and what its TLS and its schema are. `None`, when there is no
    /// such server, or the cluster is gone.
    pub(crate) fn dialled(
        &self,
        server: usize,
    ) -> Option<(Address, Option<ServerTls>, Option<Schema>)> {
        let service = self.0.services.get(server)?.upgrade()?;
        let tls = service.tls.as_ref().map(|tls| tls.terms().told.clone());
        let address = self.0.doors.get(server)?.address.clone();
        Some((address, tls, service.schema.clone()))
    }

    pub(super) fn door(&self, server: usize) -> Option<&Arc<Entrance>> {
        self.0.doors.get(server)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for ClientGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientGroup({:?}, {:?})", self.name(), self.addresses())
    }
}

/// Groups of clients.
impl MockCluster {
    /// The group of clients of that name. With the first mention of it every server opens one more address, of the same
    /// transport, with the same TLS and the same stubs: a server knows by the address that was dialled which group a call
    /// [comes from](crate::Call::group). So give the one part of the code under test the addresses of one group, and the other
    /// part those of another.
    ///
    /// What is done to a server is done to all its addresses: [`kill`](crate::MockServer::kill),
    /// [`shutdown`](crate::MockServer::shutdown), [`restart`](crate::MockServer::restart) and
    /// [`pause`](crate::MockServer::pause). [`partition`](Self::partition) is for the addresses of one group.
    ///
    /// ```
    /// # use rpcplugin_testkit::{MockCluster, Stub, json};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cluster = MockCluster::start(3).await;
    /// cluster.mount(Stub::any().reply(json!({})));
    /// let east = cluster.group("east");
    ///
    /// east.client(0).await.call("Get", json!({})).await.unwrap();
    /// assert_eq!(cluster.calls()[0].group(), Some("east"));
    /// assert_eq!(cluster.journal().from_group("east").len(), 1);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When a server cannot listen at one more address, and outside of the runtime that the cluster runs in.
    #[track_caller]
    pub fn group(&self, name: &str) -> ClientGroup {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = groups.iter().find(|group| group.name() == name) {
            return known.clone();
        }
        let opened = self.open_group(name);
        if let Ok(group) = &opened {
            groups.push(group.clone());
        }
        drop(groups);
        match opened {
            Ok(group) => group,
            Err(error) => panic!("the client group {name:?} does not get its addresses: {error:?}"),
        }
    }

    fn open_group(&self, name: &str) -> Result<ClientGroup, Error> {
        let name = Arc::from(name);
        let doors = self.iter().map(|server| server.open_door(&name));
        let doors = doors.collect::<Result<_, _>>()?;
        let services = self.iter().map(|server| Arc::downgrade(&server.service));
        Ok(ClientGroup(Arc::new(Group {
            services: services.collect(),
            doors,
            name,
        })))
    }

    pub(super) fn knows(&self, group: &ClientGroup) -> bool {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.iter().any(|known| known.is_same(group))
    }
}
