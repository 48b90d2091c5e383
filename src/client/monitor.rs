//! Watches the health of one endpoint over one connection.

use crate::client::backoff::Backoff;
use crate::client::health_policy::{HealthPolicy, Polls, Verdict};
use crate::client::options::CallOptions;
use crate::client::timer::{Deadline, Timer};
use crate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus as Wire,
    health_client::HealthClient,
};
use crate::wire::{status, timeout};
use bytes::Bytes;
use http::HeaderMap;
use std::{future::pending, pin::pin, time::Duration};
use tokio::time::{Instant, sleep_until};
use tonic::{
    Code, Extensions, Request, Status, body::Body, client::GrpcService, codegen::StdError,
    metadata::MetadataMap,
};

/// Tells the health of whatever `service` calls, whenever the verdict changes, in its text or in what it is. Before the
/// first, it is [`Verdict::default`].
///
/// It goes on until it is dropped, and ends by itself only when the server has no health service. What it tells is about
/// one connection: its owner drops it when that ends. `dice` gives random numbers from 0 to 1.
pub(crate) async fn monitor<S, B>(
    service: S,
    policy: &HealthPolicy,
    mut dice: impl FnMut() -> f64,
    tell: impl FnMut(Verdict),
) where
    S: GrpcService<Body, Error: Into<StdError>, ResponseBody = B>,
    B: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    let mut told = Told {
        last: Verdict::default(),
        tell,
    };
    let mut endpoint = Endpoint {
        client: HealthClient::new(service),
        policy,
    };
    endpoint.watch(&mut dice, &mut told).await;
    endpoint.poll(&mut dice, &mut told).await;
    tracing::warn!(
        service = policy.service,
        "the server has no health service, so it counts as serving"
    );
    told.tell(Verdict::serving("it has no health service"));
}

/// What was told last.
struct Told<T> {
    last: Verdict,
    tell: T,
}

impl<T: FnMut(Verdict)> Told<T> {
    fn tell(&mut self, verdict: Verdict) {
        if verdict != self.last {
            self.last = verdict.clone();
            (self.tell)(verdict);
        }
    }
}

/// Why a call gave no answer. `None`: the server does not serve the method.
type Failure = Option<String>;

struct Endpoint<'a, S> {
    client: HealthClient<S>,
    policy: &'a HealthPolicy,
}

impl<S, B> Endpoint<'_, S>
where
    S: GrpcService<Body, Error: Into<StdError>, ResponseBody = B>,
    B: http_body::Body<Data = Bytes, Error: Into<StdError> + Send> + Send + 'static,
{
    /// Watches until the server says that it does not serve `Watch`.
    async fn watch(
        &mut self,
        dice: &mut impl FnMut() -> f64,
        told: &mut Told<impl FnMut(Verdict)>,
    ) {
        let backoff = Backoff::default();
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let failure = self.watch_once(|verdict| {
                failures = 0;
                told.tell(verdict);
            });
            let Some(why) = failure.await else { return };
            told.tell(Verdict::not_serving(why));
            failures += 1;
            // From the start, as with dials: a stream that lasted is opened again at once.
            wait_until(started.checked_add(backoff.delay(failures, dice()))).await;
        }
    }

    /// Opens one stream and tells what it says, until it ends.
    async fn watch_once(&mut self, mut tell: impl FnMut(Verdict)) -> Failure {
        let (policy, request) = (self.policy, self.request(None));
        let late = || Some(late("Watch", policy.timeout));
        let mut timer = Timer::new(Some(Deadline::after(Some(policy.timeout))));
        let Some(opened) = timer.limit(pin!(self.client.watch(request))).await else {
            return late();
        };
        let mut answers = match opened {
            Ok(response) => response.into_inner(),
            Err(status) => return failure("Watch", &status),
        };
        let Some(mut answer) = timer.limit(pin!(answers.message())).await else {
            return late();
        };
        loop {
            match answer {
                Ok(Some(answer)) => tell(verdict(answer, policy)),
                Ok(None) => return Some("Health/Watch ended with OK".to_owned()),
                Err(status) => return failure("Watch", &status),
            }
            answer = answers.message().await;
        }
    }

    /// Polls until the server says that it does not serve `Check`.
    async fn poll(&mut self, dice: &mut impl FnMut() -> f64, told: &mut Told<impl FnMut(Verdict)>) {
        let mut polls = Polls::default();
        loop {
            let started = Instant::now();
            let poll = match self.check().await {
                Ok(poll) => poll,
                Err(Some(why)) => Verdict::not_serving(why),
                Err(None) => return,
            };
            if let Some(verdict) = polls.count(poll, self.policy) {
                told.tell(verdict);
            }
            wait_until(started.checked_add(self.policy.wait(dice()))).await;
        }
    }

    async fn check(&mut self) -> Result<Verdict, Failure> {
        let (policy, request) = (self.policy, self.request(Some(self.policy.timeout)));
        let mut timer = Timer::new(Some(Deadline::after(Some(policy.timeout))));
        let late = || late("Check", policy.timeout);
        match timer.limit(pin!(self.client.check(request))).await {
            Some(Ok(response)) => Ok(verdict(response.into_inner(), policy)),
            Some(Err(status)) => match status.code() {
                Code::NotFound => Ok(Verdict::not_serving(stranger(policy))),
                // The transport has the same deadline: whichever of the two is first, it is told alike.
                Code::DeadlineExceeded if timer.is_passed() => Err(Some(late())),
                _ => Err(failure("Check", &status)),
            },
            None => Err(Some(late())),
        }
    }

    fn request(&self, timeout: Option<Duration>) -> Request<HealthCheckRequest> {
        let mut headers = HeaderMap::new();
        if let Some(timeout) = timeout {
            headers.insert(timeout::GRPC_TIMEOUT, timeout::write(timeout));
        }
        let mut extensions = Extensions::new();
        extensions.insert(CallOptions {
            // A watch has no deadline, whatever calls have without options.
            deadline: Some(Deadline::after(timeout)),
            // A server that refuses a compressed request would seem to have no health service.
            compression: None,
            ..CallOptions::default()
        });
        let service = self.policy.service.clone();
        let metadata = MetadataMap::from_headers(headers);
        Request::from_parts(metadata, extensions, HealthCheckRequest { service })
    }
}

fn verdict(answer: HealthCheckResponse, policy: &HealthPolicy) -> Verdict {
    match Wire::try_from(answer.status) {
        Ok(Wire::Serving) => Verdict::serving("its health service says SERVING"),
        Ok(Wire::ServiceUnknown) => Verdict::not_serving(stranger(policy)),
        Ok(other) => {
            Verdict::not_serving(format!("its health service says {}", other.as_str_name()))
        }
        Err(_) => {
            let number = answer.status;
            Verdict::not_serving(format!(
                "its health service says {number}, which is no status"
            ))
        }
    }
}

fn stranger(policy: &HealthPolicy) -> String {
    match policy.service.as_str() {
        "" => "its health service does not know the server as a whole (\"\")".to_owned(),
        service => format!("its health service does not know the service `{service}`"),
    }
}

fn late(method: &str, timeout: Duration) -> String {
    format!("no answer to Health/{method} within {timeout:?}")
}

fn failure(method: &str, status: &Status) -> Failure {
    let text = format!("Health/{method} failed: {}", status::name(status.code()));
    match (status.code(), status.message()) {
        // Who may not ask knows as little of a server that is there as who cannot.
        (Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied, _) => None,
        (_, "") => Some(text),
        (_, message) => Some(format!("{text}: {message}")),
    }
}

/// `None` for an instant beyond the clock's end.
async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;
