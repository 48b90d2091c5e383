//! What an agent knows, in the test's hands.

use crate::mock::consul::instance::{CheckStatus, ServiceInstance};
use crate::mock::consul::server::MockConsul;
use crate::mock::consul::state::State;
use crate::mock::doors::Standing;
use std::sync::Arc;
use tokio::time::Instant;

/// What it knows.
impl MockConsul {
    /// Registers an instance, in the place of the one that has its id. Its id.
    pub fn register(&self, instance: ServiceInstance) -> String {
        let id = instance.id.clone();
        self.state
            .edit(|catalog| State::register(catalog, instance));
        id
    }

    /// Keeps an instance in step with how its server stands: it passes while that is up, is critical while it hangs or is dead,
    /// and is forgotten when it has left in good order.
    pub(crate) fn mirror(
        &self,
        instance: ServiceInstance,
    ) -> impl Fn(Standing) + Send + Sync + 'static {
        let state = Arc::downgrade(&self.state);
        move |standing| {
            let Some(state) = state.upgrade() else {
                return;
            };
            let now = Instant::now();
            state.edit(|catalog| match standing {
                Standing::Up => State::register(catalog, instance.clone()),
                Standing::Left => drop(catalog.deregister(&instance.id)),
                Standing::Killed | Standing::Paused => {
                    // Who never was up is known all the same.
                    if !catalog.set_status(&instance.id, CheckStatus::Critical, now) {
                        let instance = instance.clone().status(CheckStatus::Critical);
                        State::register(catalog, instance);
                    }
                }
            });
        }
    }

    /// Registers many, as one change.
    pub fn register_all(&self, instances: impl IntoIterator<Item = ServiceInstance>) {
        self.state.edit(|catalog| {
            for instance in instances {
                State::register(catalog, instance);
            }
        });
    }

    /// Forgets an instance. Whether there was one with this id.
    pub fn deregister(&self, id: &str) -> bool {
        self.state.edit(|catalog| catalog.deregister(id))
    }

    /// Says of all checks of an instance that they are so.
    ///
    /// # Panics
    ///
    /// When there is no instance with this id.
    #[track_caller]
    pub fn set_status(&self, id: &str, status: CheckStatus) {
        let now = Instant::now();
        let is_known = self
            .state
            .edit(|catalog| catalog.set_status(id, status, now));
        assert!(is_known, "no instance has the id `{id}`");
    }

    /// Says of the node that it is so, and with it of all instances: its check stands beside theirs.
    pub fn set_node_status(&self, status: CheckStatus) {
        self.state.edit(|catalog| catalog.set_node(status));
    }

    /// Forgets all instances, as an agent without a disk that was started anew.
    pub fn forget(&self) {
        self.state.edit(|catalog| {
            let ids: Vec<_> = catalog.entries.keys().cloned().collect();
            for id in ids {
                catalog.deregister(&id);
            }
        });
    }

    /// What is registered, by id, with the status that it has now.
    #[must_use]
    pub fn instances(&self) -> Vec<ServiceInstance> {
        let catalog = self.state.catalog();
        let entries = catalog.entries.values();
        let instances = entries.map(|entry| ServiceInstance {
            status: entry.status(),
            ..entry.instance.clone()
        });
        instances.collect()
    }

    /// Goes on counting changes from here, and wakes those that wait: an index that goes backwards is what clients see when
    /// Consul's state was restored.
    pub fn set_index(&self, index: u64) {
        self.state.edit(|catalog| catalog.renumber(index));
        self.wake();
    }

    /// Answers all that wait without a change, as Consul does now and then.
    pub fn wake(&self) {
        self.state.wakes.send_modify(|wakes| *wakes += 1);
    }

    /// From now on nobody sees or changes anything without a token that was [allowed](Self::allow).
    pub fn require_tokens(&self) {
        self.state.tokens().are_required = true;
    }

    /// Lets a token see and change a service.
    pub fn allow(&self, token: impl Into<String>, service: impl Into<String>) {
        self.state
            .tokens()
            .allow(token.into(), Some(service.into()));
    }

    /// Lets a token see and change everything.
    pub fn allow_all(&self, token: impl Into<String>) {
        self.state.tokens().allow(token.into(), None);
    }

    /// Forgets a token: `ACL not found`.
    pub fn revoke(&self, token: &str) {
        self.state.tokens().revoke(token);
    }
}
