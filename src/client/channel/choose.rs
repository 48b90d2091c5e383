//! Which endpoint an attempt goes to.

use crate::client::about::About;
use crate::client::balance::Candidate as _;
use crate::client::channel::attempt::Attempt;
use crate::client::channel::member::Member;
use crate::client::channel::set::Channel;
use crate::client::channel::snapshot::Snapshot;
use crate::client::channel::tries::{Tries, nobody};
use crate::client::connection::Patience;
use crate::client::options::CallOptions;
use crate::error::Error;
use http::Uri;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// What a call finds.
enum Choice {
    Fail(Error),
    Take(Attempt),
    Wait,
}

impl Channel {
    /// An attempt at an endpoint that takes calls, at one that this call has not tried if there is one. While none does it
    /// waits for those that may, and fails if there are none.
    ///
    /// Cancel safe.
    pub(super) async fn choose(
        self: &Arc<Self>,
        tries: Option<&Tries>,
        options: &CallOptions,
        uri: &Uri,
    ) -> Result<Attempt, Error> {
        // The common case, without the subscription, and without its state in the future of every call.
        match self.look(tries, options, uri) {
            Choice::Fail(error) => Err(error),
            Choice::Take(attempt) => Ok(attempt),
            Choice::Wait => Box::pin(self.wait_for_choice(tries, options, uri)).await,
        }
    }

    async fn wait_for_choice(
        self: &Arc<Self>,
        tries: Option<&Tries>,
        options: &CallOptions,
        uri: &Uri,
    ) -> Result<Attempt, Error> {
        let mut version = self.version.subscribe();
        loop {
            version.borrow_and_update();
            match self.look(tries, options, uri) {
                Choice::Fail(error) => return Err(error),
                Choice::Take(attempt) => return Ok(attempt),
                Choice::Wait => {}
            }
            let changed = async { drop(version.changed().await) };
            match options.deadline.and_then(|deadline| deadline.at) {
                None => changed.await,
                Some(at) if timeout_at(at, changed).await.is_ok() => {}
                Some(_) => {
                    let late =
                        About::new(uri, &self.target(), options).late("waiting for an endpoint");
                    let why = nobody(&self.snapshot(), None, Instant::now());
                    return Err(late.caused_by(why));
                }
            }
        }
    }

    /// Waits until an endpoint takes calls, and while one may; or until one does.
    pub(crate) async fn connected(&self, patiently: bool) -> Result<(), Error> {
        let mut version = self.version.subscribe();
        // A source that tells nothing must not hold up `connect` for ever.
        let first_by = Instant::now().checked_add(self.config.connect_timeout);
        loop {
            version.borrow_and_update();
            let snapshot = self.snapshot();
            if snapshot.is_closed {
                return Err(self.closed());
            }
            if let ([lone], None) = (&snapshot.all[..], &self.config.health) {
                let patience = if patiently {
                    Patience::Wait
                } else {
                    Patience::Dial
                };
                return lone.transport.subchannel.ready(patience).await.map(drop);
            }
            let is_awaited = snapshot.all.is_empty() && snapshot.found.is_awaited();
            let may_be_empty = snapshot.all.is_empty() && self.config.wait_for_endpoints;
            if snapshot.takers().next().is_some() || (may_be_empty && !is_awaited && !patiently) {
                return Ok(());
            }
            let may_come = is_awaited || snapshot.all.iter().any(|member| member.is_hopeful());
            if !patiently && !may_come {
                return Err(nobody(&snapshot, None, Instant::now()));
            }
            let changed = async { drop(version.changed().await) };
            match first_by.filter(|_| is_awaited && !patiently) {
                None => changed.await,
                Some(at) if timeout_at(at, changed).await.is_ok() => {}
                Some(_) => return Err(nobody(&snapshot, None, Instant::now())),
            }
        }
    }

    /// An attempt at an endpoint that takes one now, at one that this call has not tried if there is one.
    pub(super) fn choose_now(
        self: &Arc<Self>,
        tries: &Tries,
        options: &CallOptions,
        uri: &Uri,
    ) -> Option<Attempt> {
        match self.look(Some(tries), options, uri) {
            Choice::Take(attempt) => Some(attempt),
            _ => None,
        }
    }

    fn look(self: &Arc<Self>, tries: Option<&Tries>, options: &CallOptions, uri: &Uri) -> Choice {
        let snapshot = self.snapshot();
        if snapshot.is_closed {
            return Choice::Fail(self.closed());
        }
        let has = |member: &Member| tries.is_some_and(|tries| tries.has(member.key()));
        let patience = match (snapshot.is_lone(), options.wait_for_ready) {
            (false, _) => Patience::Now,
            (true, false) => Patience::Dial,
            (true, true) => Patience::Wait,
        };
        let now = Instant::now();
        if snapshot.probe_at.is_some_and(|at| at <= now)
            && let Some(member) = self.probe(&snapshot, tries, now)
        {
            return Choice::Take(Attempt::start(self, member, patience, true, uri.path()));
        }
        if let Some(member) = snapshot.pick(&self.balance, now, has) {
            return Choice::Take(Attempt::start(
                self,
                Arc::clone(member),
                patience,
                false,
                uri.path(),
            ));
        }
        let waits_for_some = snapshot.all.is_empty()
            && (self.config.wait_for_endpoints || snapshot.found.is_awaited());
        let may_come = snapshot.all.iter().any(|member| member.is_hopeful());
        if options.wait_for_ready || waits_for_some || may_come {
            Choice::Wait
        } else {
            Choice::Fail(nobody(&snapshot, Some(uri.path()), now))
        }
    }

    /// An ejected endpoint whose time has come, for the one call that tries it.
    fn probe(
        &self,
        snapshot: &Snapshot,
        tries: Option<&Tries>,
        now: Instant,
    ) -> Option<Arc<Member>> {
        let has = |member: &Member| tries.is_some_and(|tries| tries.has(member.key()));
        let untried = snapshot.all.iter().filter(|member| !has(member));
        let mut up = untried.filter(|member| member.is_connected());
        let member = up.find(|member| member.breaker().take_probe(now)).cloned();
        // The next of them has another time.
        if member.is_some() {
            self.arrange();
        }
        member
    }
}
