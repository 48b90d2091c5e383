//! All endpoints of a client, and the calls that go to one of them.
//!
//! - `member`: one endpoint at work.
//! - `snapshot`: all of them at one moment: what a call chooses from.
//! - `set`: the channel; `edit`: endpoints come and go; `arrange`: they become ready or not.
//! - `found`: where they come from; `follow`: a source of endpoints, followed.
//! - `choose`: which endpoint an attempt goes to.
//! - `head`: the head of a request, as often as it is sent.
//! - `attempt`: one attempt of a call, and what its end says of its endpoint.
//! - `tries`: the attempts of a call that failed, and how they are told.
//! - `send`: a call, from its first attempt to its last; `hedge`: several attempts at the same time.
//! - `watch`: the health of endpoints, watched.

mod arrange;
mod attempt;
mod choose;
mod edit;
mod follow;
mod found;
mod head;
mod hedge;
mod member;
mod send;
mod set;
mod snapshot;
mod tries;
mod watch;

pub(crate) use set::Channel;
