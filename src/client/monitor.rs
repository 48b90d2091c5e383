//! The health of one endpoint, asked for as long as it is connected.

use crate::client::backoff::Backoff;
use crate::client::health_policy::{HealthPolicy, Polls, Verdict};
use crate::wire::status;
use http::{Request, Response, uri::PathAndQuery};
use http_body::Body as HttpBody;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::{
    Code, Status, Streaming, body::Body, client::Grpc, codegen::Bytes, codegen::Service,
    codegen::StdError,
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};
use tonic_prost::ProstCodec;

/// Asks for the health of an endpoint and tells every verdict that differs from the one before. It ends only when there is
/// nothing to ask. Dropping it ends the question.
pub(crate) async fn monitor<S, B>(
    service: S,
    policy: &HealthPolicy,
    mut dice: impl FnMut() -> f64,
    tell: impl FnMut(Verdict),
) where
    S: Service<Request<Body>, Response = Response<B>, Error = Status> + Clone,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let mut asking = Asking {
        service,
        policy,
        tell,
        told: Verdict::default(),
    };
    let mut failures = 0;
    // gRPC's connection backoff, as its health checking has it.
    let backoff = Backoff::default();
    loop {
        let began = Instant::now();
        match asking.watch(&mut failures).await {
            Unwatched::Again => {
                failures = failures.saturating_add(1);
                sleep_until(began + backoff.delay(failures, dice())).await;
            }
            Unwatched::Forbidden(status) => return asking.nobody_tells(&status),
            Unwatched::Unimplemented => return asking.poll(&mut dice).await,
        }
    }
}

/// Why there is nothing more to watch.
enum Unwatched {
    Again,
    Forbidden(Status),
    Unimplemented,
}

struct Asking<'a, S, T> {
    service: S,
    policy: &'a HealthPolicy,
    tell: T,
    told: Verdict,
}

impl<S, T, B> Asking<'_, S, T>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Status> + Clone,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
    T: FnMut(Verdict),
{
    fn found(&mut self, verdict: Verdict) {
        if self.told != verdict {
            self.told = verdict.clone();
            (self.tell)(verdict);
        }
    }

    /// Watches as long as there is something to be seen.
    async fn watch(&mut self, failures: &mut u32) -> Unwatched {
        let limit = self.policy.timeout;
        let first = timeout(limit, async {
            let mut answers = self.ask("Watch", tonic::Request::new(())).await?;
            Ok((answers.message().await?, answers))
        });
        let (mut answer, mut answers) = match first.await {
            Ok(Ok(first)) => first,
            Ok(Err(status)) => return self.unwatched(status),
            Err(_) => {
                let why = format!("no answer to Health/Watch within {limit:?}");
                self.found(Verdict::not_serving(why));
                return Unwatched::Again;
            }
        };
        loop {
            match answer {
                Some(told) => {
                    *failures = 0;
                    let verdict = self.verdict(told.status());
                    self.found(verdict);
                }
                None => {
                    let why = "its Health/Watch has ended";
                    self.found(Verdict::not_serving(why));
                    return Unwatched::Again;
                }
            }
            answer = match answers.message().await {
                Ok(answer) => answer,
                Err(status) => return self.unwatched(status),
            };
        }
    }

    fn unwatched(&mut self, status: Status) -> Unwatched {
        match status.code() {
            Code::Unimplemented => Unwatched::Unimplemented,
            Code::Unauthenticated | Code::PermissionDenied => Unwatched::Forbidden(status),
            _ => {
                self.found(Verdict::not_serving(failed("Watch", &status)));
                Unwatched::Again
            }
        }
    }

    /// Asks again and again, for servers without `Watch`.
    async fn poll(&mut self, dice: &mut impl FnMut() -> f64) {
        let mut polls = Polls::default();
        loop {
            let began = Instant::now();
            let found = match self.check().await {
                Ok(verdict) => verdict,
                Err(status) => return self.nobody_tells(&status),
            };
            if let Some(verdict) = polls.weigh(self.policy, found) {
                self.found(verdict);
            }
            sleep_until(began + self.policy.pause(dice())).await;
        }
    }

    /// Asks once. An error is one of a server that tells nobody.
    async fn check(&self) -> Result<Verdict, Status> {
        let limit = self.policy.timeout;
        let mut request = tonic::Request::new(());
        request.set_timeout(limit);
        let answer = timeout(limit, async {
            let mut answers = self.ask("Check", request).await?;
            answers
                .message()
                .await?
                .ok_or_else(|| Status::internal("no reply"))
        });
        let status = match answer.await {
            Ok(Ok(answer)) => return Ok(self.verdict(answer.status())),
            Ok(Err(status)) => status,
            Err(_) => {
                let why = format!("no answer to Health/Check within {limit:?}");
                return Ok(Verdict::not_serving(why));
            }
        };
        match status.code() {
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => Err(status),
            Code::NotFound => Ok(self.verdict(ServingStatus::ServiceUnknown)),
            _ => Ok(Verdict::not_serving(failed("Check", &status))),
        }
    }

    /// There is no health to be had: the endpoint takes calls.
    fn nobody_tells(&mut self, status: &Status) {
        let why = format!(
            "its health cannot be asked for: {}",
            status::name(status.code())
        );
        tracing::warn!(%why, "an endpoint takes calls whatever its health");
        self.found(Verdict::serving(why));
    }

    fn verdict(&self, status: ServingStatus) -> Verdict {
        let service = &self.policy.service;
        match status {
            ServingStatus::Serving => Verdict::serving("its health service says SERVING"),
            ServingStatus::ServiceUnknown => {
                let why = format!("its health service does not know the service `{service}`");
                Verdict::not_serving(why)
            }
            other => {
                let name = other.as_str_name();
                Verdict::not_serving(format!("its health service says {name}"))
            }
        }
    }

    async fn ask(
        &self,
        method: &'static str,
        request: tonic::Request<()>,
    ) -> Result<Streaming<HealthCheckResponse>, Status> {
        let path = match method {
            "Watch" => PathAndQuery::from_static("/grpc.health.v1.Health/Watch"),
            _ => PathAndQuery::from_static("/grpc.health.v1.Health/Check"),
        };
        let message = HealthCheckRequest {
            service: self.policy.service.clone(),
        };
        let request = request.map(|()| message);
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        let mut grpc = Grpc::new(self.service.clone());
        let answered = grpc.server_streaming(request, path, codec).await;
        Ok(answered?.into_inner())
    }
}

fn failed(method: &str, status: &Status) -> String {
    let code = status::name(status.code());
    match status.message() {
        "" => format!("Health/{method} failed: {code}"),
        message => format!("Health/{method} failed: {code}: {message}"),
    }
}
