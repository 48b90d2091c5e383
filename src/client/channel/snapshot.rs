//! All endpoints at one moment: what a call chooses from.

use crate::client::balance::{Balance, Candidate as _, Candidates, Strategy};
use crate::client::channel::member::Member;
use crate::client::connection::ConnectionState;
use crate::client::health_policy::Health;
use std::sync::Arc;
use tokio::time::Instant;

/// The endpoints at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) all: Vec<Arc<Member>>,
    /// Those that take calls.
    pub(super) ready: Candidates<Member>,
    /// When the first of those that are ejected may be tried.
    pub(super) probe_at: Option<Instant>,
    pub(super) is_closed: bool,
}

impl Snapshot {
    /// Looks at all of them.
    pub(super) fn of(members: &[Arc<Member>], balance: &Balance, watches_health: bool) -> Self {
        let serves =
            |member: &Arc<Member>| !watches_health || member.health().health == Health::Serving;
        let is_lone = members.len() == 1;
        // A lone endpoint is dialled by its calls.
        let up = members
            .iter()
            .filter(|member| serves(member) && (is_lone || member.is_connected()));
        let (ejected, ready): (Vec<_>, Vec<_>) = up
            .cloned()
            .partition(|member| !is_lone && member.breaker().is_ejected());
        let (ready, probe_at) = if ready.is_empty() {
            // Rather one that has failed than none.
            (ejected, None)
        } else {
            let due = ejected.iter().filter_map(|member| member.breaker().until());
            (ready, due.min())
        };
        Self {
            all: members.to_vec(),
            ready: balance.arrange(ready),
            probe_at,
            is_closed: false,
        }
    }

    pub(super) fn closed(balance: &Balance) -> Self {
        Self {
            is_closed: true,
            ..Self::of(&[], balance, false)
        }
    }

    pub(super) fn is_lone(&self) -> bool {
        self.all.len() == 1
    }

    /// Whether another than this one takes calls.
    pub(super) fn has_other(&self, member: &Member) -> bool {
        self.ready.iter().any(|other| other.key() != member.key())
    }

    /// The state of all connections together, as gRPC has it.
    pub(super) fn state(&self) -> ConnectionState {
        if self.is_closed {
            return ConnectionState::Shutdown;
        }
        let states: Vec<_> = self.all.iter().map(|member| member.state()).collect();
        let order = [
            ConnectionState::Ready,
            ConnectionState::Connecting,
            ConnectionState::Idle,
            ConnectionState::TransientFailure,
        ];
        let found = order.into_iter().find(|state| states.contains(state));
        found.unwrap_or(ConnectionState::Idle)
    }

    /// Those that ought to be connected, and stay so, from now on.
    pub(super) fn wanted(&self, strategy: Strategy, watches_health: bool) -> Vec<Arc<Member>> {
        if self.is_lone() && !watches_health {
            return Vec::new();
        }
        if strategy != Strategy::First {
            return self.all.clone();
        }
        // In order: the first that is of use, and the next that is, so that it is there when the first fails.
        let of_use = |member: &Arc<Member>| {
            member.is_hopeful() || self.ready.iter().any(|ready| ready.key() == member.key())
        };
        let mut useful = (1..).zip(&self.all).filter(|(_, member)| of_use(member));
        let upto = useful.nth(1).map_or(self.all.len(), |(upto, _)| upto);
        self.all[..upto].to_vec()
    }
}
