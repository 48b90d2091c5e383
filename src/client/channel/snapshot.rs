//! All endpoints at one moment: what a call chooses from.

use crate::client::balance::{Balance, Candidate as _, Candidates, Strategy};
use crate::client::channel::found::Found;
use crate::client::channel::member::Member;
use crate::client::connection::ConnectionState;
use crate::client::health_policy::Health;
use std::sync::Arc;
use tokio::time::Instant;

/// The endpoints at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// By priority.
    pub(super) all: Vec<Arc<Member>>,
    /// Those that take calls, by priority: the first of them do.
    ready: Vec<Candidates<Member>>,
    /// When the first of those that are ejected may be tried.
    pub(super) probe_at: Option<Instant>,
    pub(super) found: Found,
    pub(super) is_closed: bool,
}

impl Snapshot {
    /// Looks at all of them.
    pub(super) fn of(members: &[Arc<Member>], balance: &Balance, watches_health: bool) -> Self {
        let serves =
            |member: &Arc<Member>| !watches_health || member.health().health == Health::Serving;
        let is_lone = members.len() == 1;
        let mut members = members.to_vec();
        members.sort_by_key(|member| member.priority());
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
            ready: tiers(&ready)
                .map(|tier| balance.arrange(tier.to_vec()))
                .collect(),
            all: members,
            probe_at,
            found: Found::default(),
            is_closed: false,
        }
    }

    /// With where they come from.
    pub(super) fn by(self, found: Found) -> Self {
        Self { found, ..self }
    }

    /// One that takes a call; `None`, if nobody does. An endpoint that this call has tried is taken only when there is no
    /// other, of any priority.
    pub(super) fn pick(
        &self,
        balance: &Balance,
        now: Instant,
        is_tried: impl Fn(&Member) -> bool,
    ) -> Option<&Arc<Member>> {
        let has_untried = |tier: &&Candidates<Member>| tier.iter().any(|member| !is_tried(member));
        let tier = self.ready.iter().find(has_untried);
        balance.pick(tier.or_else(|| self.ready.first())?, now, is_tried)
    }

    /// Those that take calls, or would if the others did not.
    pub(super) fn takers(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.ready.iter().flat_map(|tier| tier.iter())
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
        self.takers().any(|other| other.key() != member.key())
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
        if strategy != Strategy::First && tiers(&self.all).nth(1).is_none() {
            return self.all.clone();
        }
        let of_use = |member: &Arc<Member>| member.is_hopeful() && !member.breaker().is_ejected();
        let mut wanted = Vec::new();
        let mut useful = 0;
        let alone = |tier: &[Arc<Member>]| match strategy {
            Strategy::First => 1,
            _ => tier.len().max(1),
        };
        // In order: the first tier that is of use, and the next that is, so that it is there when the first fails. With `First`
        // each member is a tier.
        for tier in tiers(&self.all).flat_map(|tier| tier.chunks(alone(tier))) {
            wanted.extend_from_slice(tier);
            useful += usize::from(tier.iter().any(of_use));
            if useful == 2 {
                break;
            }
        }
        wanted
    }
}

/// Members that are in the order of their priorities, by these.
fn tiers(members: &[Arc<Member>]) -> impl Iterator<Item = &[Arc<Member>]> {
    members.chunk_by(|one, next| one.priority() == next.priority())
}
