//! The addresses that a server listens at: its own, and one more for each client group.

use crate::address::Address;
use crate::error::Error;
use crate::mock::journal::Door;
use crate::mock::open::{Entrance, Life, Open};
use crate::mock::serve::Service;
use crate::net::Listener;
use std::{fmt, sync::Arc};
use tokio::task::JoinHandle;

/// All doors of a server. They open and close together.
#[derive(Debug)]
pub(super) struct Doors {
    /// The server's own.
    main: Listening,
    others: Vec<Listening>,
    paused: bool,
    /// Whether the server is up, though it may not listen.
    up: bool,
    /// How many faults keep it from listening.
    refusals: usize,
    followers: Followers,
}

/// How a server stands, for those who follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was shut down, in good order.
    Left,
    /// It was killed, or is being dropped.
    Killed,
    Paused,
    Up,
}

/// Who is told how a server stands, at once.
#[derive(Default)]
struct Followers(Vec<Box<dyn Fn(Standing) + Send + Sync>>);

impl fmt::Debug for Followers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} followers", self.0.len())
    }
}

#[derive(Debug)]
struct Listening {
    entrance: Arc<Entrance>,
    life: Life,
}

/// Why a server does not listen again.
#[derive(Debug)]
pub(super) enum NotAgain {
    /// It failed before, and the address is lost.
    Before,
    Now(Error),
}

impl Listening {
    fn listen_again(&mut self, open: &Arc<Open>, service: &Arc<Service>) -> Result<(), NotAgain> {
        let held = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Down(held) => held,
            // Another task was faster.
            up @ Life::Up { .. } => {
                self.life = up;
                return Ok(());
            }
            Life::Over => return Err(NotAgain::Before),
        };
        let listener = held.listen().map_err(NotAgain::Now)?;
        self.life = Life::up(listener, &self.entrance, open, service);
        Ok(())
    }
}

fn entrance(address: Address, server: &Address, group: Option<Arc<str>>) -> Arc<Entrance> {
    let server = server.clone();
    Arc::new(Entrance {
        address,
        door: Arc::new(Door { server, group }),
        freezer: Arc::default(),
    })
}

impl Doors {
    /// The first door, whose address is the server's.
    pub(super) fn open(
        listener: Listener,
        address: &Address,
        open: &Arc<Open>,
        service: &Arc<Service>,
    ) -> Self {
        let entrance = entrance(address.clone(), address, None);
        let life = Life::up(listener, &entrance, open, service);
        Self {
            main: Listening { entrance, life },
            others: Vec::new(),
            paused: false,
            up: true,
            refusals: 0,
            followers: Followers::default(),
        }
    }

    /// Tells how the server stands, now and whenever that changes. What is told must not look at the server.
    pub(super) fn follow(&mut self, tell: impl Fn(Standing) + Send + Sync + 'static) {
        tell(self.standing());
        self.followers.0.push(Box::new(tell));
    }

    fn standing(&self) -> Standing {
        match (self.up, self.paused) {
            (false, _) => Standing::Killed,
            (true, true) => Standing::Paused,
            (true, false) => Standing::Up,
        }
    }

    fn tell(&self, standing: Standing) {
        self.followers.0.iter().for_each(|tell| tell(standing));
    }

    /// One more door, which is as the others are: down, or up, or held up.
    pub(super) fn add(
        &mut self,
        listener: Listener,
        group: &Arc<str>,
        open: &Arc<Open>,
        service: &Arc<Service>,
    ) -> Arc<Entrance> {
        let address = listener.address().clone();
        let address = address.with_tls(service.tls.is_some());
        let server = &self.main.entrance.door.server;
        let entrance = entrance(address, server, Some(Arc::clone(group)));
        if self.paused {
            entrance.freezer.freeze();
        }
        let life = if self.listens() {
            Life::up(listener, &entrance, open, service)
        } else {
            Life::Down(listener.hold())
        };
        self.others.push(Listening {
            entrance: Arc::clone(&entrance),
            life,
        });
        entrance
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Listening> {
        std::iter::once(&mut self.main).chain(&mut self.others)
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    fn listens(&self) -> bool {
        self.up && self.refusals == 0
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Listens nowhere, and holds every address. What comes back is what may still be accepting one last connection.
    pub(super) fn go_down(&mut self, standing: Standing) -> Vec<JoinHandle<()>> {
        // One that is down already does not leave in good order.
        if std::mem::replace(&mut self.up, false) {
            self.tell(standing);
        }
        self.all().filter_map(|door| door.life.go_down()).collect()
    }

    /// Listens nowhere until [admitted](Self::admit) as often, and goes on with the connections that are open.
    pub(super) fn refuse(&mut self) {
        self.refusals += 1;
        for door in self.all() {
            // What may still be accepting one last connection is left to it.
            drop(door.life.go_down());
        }
    }

    /// Listens again after a refusal, if nothing else is against it.
    pub(super) fn admit(&mut self, open: &Arc<Open>, service: &Arc<Service>) {
        self.refusals = self.refusals.saturating_sub(1);
        if self.listens()
            && let Err(error) = self.listen_wherever(open, service)
        {
            tracing::error!(?error, "a server that refused dials cannot listen again");
        }
    }

    /// Listens again wherever it did. One that cannot does not keep the others from it.
    pub(super) fn listen_again(
        &mut self,
        open: &Arc<Open>,
        service: &Arc<Service>,
    ) -> Result<(), NotAgain> {
        self.up = true;
        let listening = match self.refusals {
            0 => self.listen_wherever(open, service),
            _ => Ok(()),
        };
        self.tell(self.standing());
        listening
    }

    fn listen_wherever(
        &mut self,
        open: &Arc<Open>,
        service: &Arc<Service>,
    ) -> Result<(), NotAgain> {
        let listening = self.all().map(|door| door.listen_again(open, service));
        listening.fold(Ok(()), Result::and)
    }

    /// Listens nowhere, and gives up every address.
    pub(super) fn end(&mut self) {
        self.all().for_each(|door| door.life.end());
        self.up = false;
        self.tell(Standing::Killed);
        self.followers.0.clear();
    }

    pub(super) fn pause(&mut self) {
        if !std::mem::replace(&mut self.paused, true) {
            self.all().for_each(|door| door.entrance.freezer.freeze());
            self.tell(self.standing());
        }
    }

    pub(super) fn resume(&mut self) {
        if std::mem::replace(&mut self.paused, false) {
            self.all().for_each(|door| door.entrance.freezer.thaw());
            self.tell(self.standing());
        }
    }
}
