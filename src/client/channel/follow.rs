//! A source of endpoints, followed.

use crate::client::channel::found::Found;
use crate::client::channel::set::Channel;
use crate::client::discovery::{Discovery, Keep, Sets, Step};
use crate::client::events::ClientEvent;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use std::{
    future::{pending, poll_fn},
    sync::{Arc, Weak},
    task::Poll,
};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};

impl Channel {
    /// Has the endpoints of a source from now on, and as long as the channel is there.
    pub(super) fn follow(self: &Arc<Self>, discovery: &Discovery) -> AbortHandle {
        let follower = Follower {
            channel: Arc::downgrade(self),
            source: discovery.name().into(),
            keep: Keep::new(self.config.empty_grace),
        };
        let sets = discovery.watch(self.refresh.clone());
        tokio::spawn(follower.run(sets)).abort_handle()
    }

    /// What the source has told is of no use.
    fn discovery_failed(&self, source: &Arc<str>, error: Error) {
        tracing::warn!(%source, error = error.chain(), "no endpoints");
        self.sources.failed(error.clone());
        {
            let mut set = self.set();
            if set.is_closed {
                return;
            }
            if matches!(set.found, Found::Awaited(_) | Found::Failed(_)) {
                set.found = Found::Failed(error.clone());
            }
        }
        self.arrange();
        self.events.tell(ClientEvent::DiscoveryFailed(error));
    }

    /// Whether any use could be made of them.
    fn discovered(self: &Arc<Self>, source: &Arc<str>, endpoints: Vec<Endpoint>) -> bool {
        let count = endpoints.len();
        match self.set_found(endpoints, source) {
            Ok(unusable) => {
                self.sources.told();
                tracing::debug!(%source, count, "endpoints");
                for (endpoint, error) in unusable {
                    tracing::warn!(%source, address = %endpoint.address, %error, "an endpoint is of no use");
                    self.events
                        .tell(ClientEvent::EndpointUnusable { endpoint, error });
                }
                true
            }
            Err(error) if error.is_closed() => false,
            Err(error) => {
                let text = format!("none of the endpoints of {source} can be used");
                let error = Error::new(Kind::Discovery, text).caused_by(error);
                self.discovery_failed(source, error);
                false
            }
        }
    }
}

/// What comes next.
enum Next {
    Set(Result<Vec<Endpoint>, Error>),
    /// The grace of an empty set is over.
    Due,
    Ended,
}

struct Follower {
    channel: Weak<Channel>,
    source: Arc<str>,
    keep: Keep,
}

impl Follower {
    async fn run(mut self, mut sets: Sets) {
        loop {
            let next = self.next(&mut sets).await;
            let Some(channel) = self.channel.upgrade() else {
                return;
            };
            match next {
                Next::Set(Ok(set)) => self.found(&channel, set),
                Next::Set(Err(error)) => channel.discovery_failed(&self.source, error),
                Next::Due => self.uses(&channel, Vec::new()),
                Next::Ended if self.keep.due().is_none() => return,
                Next::Ended => sets = Box::pin(tokio_stream::pending()),
            }
            drop(channel);
            // A source that is always ready must not keep others from running.
            tokio::task::yield_now().await;
        }
    }

    async fn next(&self, sets: &mut Sets) -> Next {
        let due = self.keep.due();
        let due = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
        };
        let mut due = std::pin::pin!(due);
        poll_fn(|cx| match sets.as_mut().poll_next(cx) {
            Poll::Ready(Some(set)) => Poll::Ready(Next::Set(set)),
            Poll::Ready(None) => Poll::Ready(Next::Ended),
            Poll::Pending => due.as_mut().poll(cx).map(|()| Next::Due),
        })
        .await
    }

    fn uses(&mut self, channel: &Arc<Channel>, set: Vec<Endpoint>) {
        if channel.discovered(&self.source, set.clone()) {
            self.keep.uses(set);
        }
    }

    fn found(&mut self, channel: &Arc<Channel>, set: Vec<Endpoint>) {
        match self.keep.found(set, Instant::now()) {
            Step::Nothing => channel.sources.told(),
            Step::Use(set) => self.uses(channel, set),
            Step::Wait => {
                channel.sources.told();
                let kept_for = channel.config.empty_grace;
                tracing::warn!(source = %self.source, ?kept_for, "no endpoints any more");
                channel
                    .events
                    .tell(ClientEvent::DiscoveryEmpty { kept_for });
            }
        }
    }
}

/// A source that ends, or panics, before it has told anything is not waited for.
impl Drop for Follower {
    fn drop(&mut self) {
        // What it has failed with says more.
        if let Some(channel) = self.channel.upgrade()
            && channel.set().found.is_awaited()
        {
            let text = format!("{} has ended, and has told no endpoints", self.source);
            let error = Error::new(Kind::Discovery, text);
            channel.discovery_failed(&self.source, error);
        }
    }
}
