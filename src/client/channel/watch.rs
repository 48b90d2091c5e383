//! The health of endpoints, watched.

use crate::client::channel::member::Member;
use crate::client::channel::set::Channel;
use crate::client::connection::Patience;
use crate::client::events::ClientEvent;
use crate::client::health_policy::Verdict;
use crate::client::monitor::monitor;
use crate::client::options::CallOptions;
use crate::client::response_body::ResponseBody;
use crate::client::telemetry::Traffic;
use crate::client::transport::Transport;
use http::{Request, Response};
use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};
use tonic::{Status, body::Body, codegen::Service};

impl Channel {
    /// Watches the health of a member that is connected, if health is watched. Until its first answer it takes no calls.
    pub(super) fn watch_health(self: &Arc<Self>, member: &Arc<Member>) {
        let Some(policy) = self.config.health.clone() else {
            return;
        };
        member.judge(Verdict::default());
        let service = Direct(Arc::downgrade(&member.transport));
        let dice = self.dice.clone();
        let (channel, watched) = (Arc::downgrade(self), Arc::downgrade(member));
        let task = tokio::spawn(async move {
            let tell = move |verdict| {
                if let (Some(channel), Some(member)) = (channel.upgrade(), watched.upgrade()) {
                    channel.judge_health(&member, verdict);
                }
            };
            monitor(service, &policy, move || dice.roll(), tell).await;
        });
        member.watched_by(Some(task.abort_handle()));
    }

    /// Its connection is gone, and what was known of its health with it.
    pub(super) fn unwatch_health(&self, member: &Member) {
        if self.config.health.is_some() {
            member.watched_by(None);
            member.judge(Verdict::default());
        }
    }

    fn judge_health(&self, member: &Member, verdict: Verdict) {
        let Verdict { health, why } = verdict.clone();
        let before = member.judge(verdict);
        self.arrange();
        if before != health {
            let address = member.endpoint.address.clone();
            tracing::debug!(%address, %health, %why, "health");
            let event = ClientEvent::HealthChanged {
                address,
                health,
                why,
            };
            self.events.tell(event);
        }
    }
}

/// Calls of one endpoint, whatever its health. It has no token: who asks for health needs none.
#[derive(Clone)]
struct Direct(Weak<Transport>);

impl Service<Request<Body>> for Direct {
    type Response = Response<ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let transport = self.0.upgrade();
        Box::pin(async move {
            let transport = transport.ok_or_else(|| Status::cancelled("the client is gone"))?;
            let (mut parts, body) = request.into_parts();
            let options = parts.extensions.remove::<CallOptions>().unwrap_or_default();
            let traffic = Traffic::of_nobody();
            let sent = transport.send(Box::new(parts), body, &options, Patience::Now, &traffic);
            sent.await.map_err(|broken| broken.error.into())
        })
    }
}
