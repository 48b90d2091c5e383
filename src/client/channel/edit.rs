//! Endpoints come and go.

use crate::address::Address;
use crate::client::balance::Candidate as _;
use crate::client::channel::found::Found;
use crate::client::channel::member::Member;
use crate::client::channel::set::{Channel, target_of};
use crate::client::connection::Reporter;
use crate::client::events::ClientEvent;
use crate::client::transport::Transport;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};

impl Channel {
    /// Exactly these from now on. Those that stay keep their connections; those that go finish their calls.
    pub(crate) fn set_endpoints(self: &Arc<Self>, endpoints: Vec<Endpoint>) -> Result<(), Error> {
        self.edit(|editing| editing.replace(endpoints, |_, error| Err(error)))
    }

    /// The source of endpoints has told these. Those that cannot be used are left out, and given back.
    pub(super) fn set_found(
        self: &Arc<Self>,
        endpoints: Vec<Endpoint>,
        source: &Arc<str>,
    ) -> Result<Vec<(Endpoint, Error)>, Error> {
        let mut unusable = Vec::new();
        self.edit(|editing| {
            let has_some = !endpoints.is_empty();
            let wanted = editing.replace(endpoints, |endpoint, error| {
                unusable.push((endpoint, error));
                Ok(())
            })?;
            match unusable.first() {
                // Rather those that there were than none.
                Some((_, error)) if has_some && wanted.is_empty() => Err(error.clone()),
                _ => {
                    *editing.found = Found::By(Arc::clone(source));
                    Ok(wanted)
                }
            }
        })?;
        Ok(unusable)
    }

    /// One more, or the one that there is with another weight or name.
    pub(crate) fn add_endpoint(self: &Arc<Self>, endpoint: Endpoint) -> Result<(), Error> {
        self.edit(|editing| {
            let mut wanted = editing.members.to_vec();
            let is_same = |member: &Arc<Member>| member.endpoint.address == endpoint.address;
            let known = wanted.iter().position(is_same);
            let member = match known.filter(|known| wanted[*known].is_reached_as(&endpoint)) {
                Some(known) => {
                    wanted[known].retell(endpoint);
                    return Ok(wanted);
                }
                None => editing.another(endpoint)?,
            };
            match known {
                Some(known) => wanted[known] = member,
                None => wanted.push(member),
            }
            Ok(wanted)
        })
    }

    /// One less. Whether there was such a one.
    pub(crate) fn remove_endpoint(self: &Arc<Self>, address: &Address) -> Result<bool, Error> {
        let mut was_there = false;
        self.edit(|editing| {
            let members = editing.members.iter();
            let others = members.filter(|member| member.endpoint.address != *address);
            let others: Vec<_> = others.cloned().collect();
            was_there = others.len() < editing.members.len();
            Ok(others)
        })?;
        Ok(was_there)
    }

    fn edit(
        self: &Arc<Self>,
        wanted: impl FnOnce(&mut Editing<'_>) -> Result<Vec<Arc<Member>>, Error>,
    ) -> Result<(), Error> {
        let mut set = self.set();
        if set.is_closed {
            return Err(self.closed());
        }
        let (mut next_key, mut found) = (set.next_key, set.found.clone());
        let wanted = wanted(&mut Editing {
            channel: self,
            members: &set.members,
            next_key: &mut next_key,
            found: &mut found,
        })?;
        (set.next_key, set.found) = (next_key, found);
        let before = std::mem::replace(&mut set.members, wanted);
        let keys = |members: &[Arc<Member>]| -> HashSet<u64> {
            members.iter().map(|member| member.key()).collect()
        };
        let (were, are) = (keys(&before), keys(&set.members));
        let is_new = |member: &&Arc<Member>| !were.contains(&member.key());
        let new: Vec<_> = set.members.iter().filter(is_new).cloned().collect();
        let is_gone = |member: &Arc<Member>| !are.contains(&member.key());
        let gone: Vec<_> = before.into_iter().filter(is_gone).collect();
        set.retired.retain(|transport| transport.strong_count() > 0);
        let retired = gone.iter().map(|member| Arc::downgrade(&member.transport));
        set.retired.extend(retired);
        let endpoints: Vec<_> = set.members.iter().map(|member| member.endpoint()).collect();
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target_of(&endpoints);
        drop(set);
        for member in new {
            self.events
                .tell(ClientEvent::EndpointAdded(member.endpoint()));
        }
        self.arrange();
        for member in gone {
            member.retire();
            self.events
                .tell(ClientEvent::EndpointRemoved(member.endpoint()));
        }
        Ok(())
    }

    fn member(self: &Arc<Self>, endpoint: Endpoint, key: u64) -> Result<Member, Error> {
        let channel = Arc::downgrade(self);
        let reporter = Reporter::new(move |report| {
            if let Some(channel) = channel.upgrade() {
                channel.reported(key, report);
            }
        });
        let transport = Transport::new(&self.config, &endpoint, self.dice.clone(), reporter)?;
        self.check_tokens_are_safe(&endpoint, &transport)?;
        let watches_health = self.config.health.is_some();
        Ok(Member::new(key, endpoint, transport, watches_health))
    }

    /// A token goes to no endpoint where others can read it.
    fn check_tokens_are_safe(
        &self,
        endpoint: &Endpoint,
        transport: &Transport,
    ) -> Result<(), Error> {
        let Some(auth) = &self.config.auth else {
            return Ok(());
        };
        let address = &endpoint.address;
        if transport.is_secure() || address.is_local() || auth.allow_plaintext {
            return Ok(());
        }
        let text = format!(
            "a token would go to {address} in plaintext: use `.tls(..)`, or `TokenAuth::allow_plaintext()`"
        );
        Err(Error::new(Kind::Config, text))
    }
}

/// The members that there are to be, by those that there are.
struct Editing<'a> {
    channel: &'a Arc<Channel>,
    members: &'a [Arc<Member>],
    next_key: &'a mut u64,
    found: &'a mut Found,
}

impl Editing<'_> {
    /// Exactly these. Whether one that cannot be used spoils them all is for the caller.
    fn replace(
        &mut self,
        endpoints: Vec<Endpoint>,
        mut spoil: impl FnMut(Endpoint, Error) -> Result<(), Error>,
    ) -> Result<Vec<Arc<Member>>, Error> {
        let members = self.members.iter();
        let known: HashMap<_, _> = members
            .map(|member| (&member.endpoint.address, member))
            .collect();
        let mut given = HashSet::with_capacity(endpoints.len());
        let mut told = Vec::new();
        let mut wanted = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if !given.insert(endpoint.address.clone()) {
                let text = format!("{} is given as an endpoint twice", endpoint.address);
                spoil(endpoint, Error::new(Kind::Config, text))?;
                continue;
            }
            let same = known.get(&endpoint.address);
            if let Some(member) = same.filter(|member| member.is_reached_as(&endpoint)) {
                wanted.push(Arc::clone(member));
                told.push((Arc::clone(member), endpoint));
                continue;
            }
            match self.another(endpoint.clone()) {
                Ok(member) => wanted.push(member),
                Err(error) => spoil(endpoint, error)?,
            }
        }
        // Now that nothing is wrong with any of them.
        for (member, endpoint) in told {
            member.retell(endpoint);
        }
        Ok(wanted)
    }

    fn another(&mut self, endpoint: Endpoint) -> Result<Arc<Member>, Error> {
        *self.next_key += 1;
        self.channel.member(endpoint, *self.next_key).map(Arc::new)
    }
}
