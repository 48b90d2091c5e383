//! A health service made by hand, below everything that a connection does.

use crate::client::health_policy::{HealthPolicy, Verdict};
use crate::client::monitor::monitor;
use crate::client::options::CallOptions;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::wire::status;
use crate::wire::timeout::GRPC_TIMEOUT;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use prost::Message as _;
use std::{
    collections::VecDeque,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tonic::{Code, Status, body::Body, codegen::Service, metadata::MetadataMap};

/// What a call is answered with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// Headers, and a body of these.
    Body(Vec<Step>),
    /// "Trailers-Only".
    Refused(Code),
    /// No headers.
    Silence,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Bytes(Vec<u8>),
    /// Trailers.
    End(Code),
    Hang,
    /// The body fails.
    Lost,
    /// A message with this status.
    Says(i32),
    Wait(Duration),
}

/// A watch stays open after it, a check ends.
pub(crate) fn said(status: i32) -> Answer {
    Answer::Body(vec![Step::Says(status)])
}

pub(crate) fn refused(code: Code) -> Answer {
    Answer::Refused(code)
}

pub(crate) fn ended(code: Code) -> Answer {
    Answer::Body(vec![Step::End(code)])
}

/// A call as it came in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// In milliseconds since the server was made, as all its times.
    pub(crate) at: u32,
    pub(crate) method: String,
    pub(crate) service: String,
    /// The `grpc-timeout`.
    pub(crate) header: Option<String>,
    /// What the transport is told.
    pub(crate) deadline: Option<u32>,
}

#[derive(Clone)]
pub(crate) struct Server {
    answer: Arc<Answering>,
    seen: Arc<Mutex<Seen>>,
    started: Instant,
}

/// Gets the method, and how many calls of it there were before.
type Answering = dyn Fn(&str, usize) -> Answer + Send + Sync;

#[derive(Default)]
struct Seen {
    asked: Vec<Asked>,
    open: usize,
    most: usize,
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            seen: Arc::default(),
            started: Instant::now(),
        }
    }

    pub(crate) fn answering(watch: Answer, check: Answer) -> Self {
        Self::new(move |method, _| match method {
            "Watch" => watch.clone(),
            _ => check.clone(),
        })
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen().asked.clone()
    }

    /// When the method was called.
    pub(crate) fn times(&self, method: &str) -> Vec<u32> {
        let asked = self.asked().into_iter();
        let asked = asked.filter(|asked| asked.method == method);
        asked.map(|asked| asked.at).collect()
    }

    /// The most calls that were open at one time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.seen().most
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self, at: Instant) -> u32 {
        let millis = at.duration_since(self.started).as_millis();
        u32::try_from(millis).expect("a test takes less than a month")
    }

    /// Writes the call down and gives its answer.
    async fn take(&self, request: Request<Body>) -> (bool, Answer) {
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path().strip_prefix("/grpc.health.v1.Health/");
        let method = path.expect("a method of the health service").to_owned();
        let options = parts.extensions.get::<CallOptions>();
        let options = options.expect("the transport is told");
        assert_eq!(options.compression, None);
        let header = parts.headers.get(GRPC_TIMEOUT);
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let frame = frame.expect("a message").expect("it is sent");
        let bytes = frame.into_data().expect("it is data");
        let message = HealthCheckRequest::decode(&bytes[5..]).expect("a request");
        let asked = Asked {
            at: self.since(Instant::now()),
            service: message.service,
            header: header.map(|header| header.to_str().expect("ASCII").to_owned()),
            deadline: options
                .deadline
                .expect("it has its own")
                .at
                .map(|at| self.since(at)),
            method: method.clone(),
        };
        let mut seen = self.seen();
        let nth = seen.asked.iter().filter(|asked| asked.method == method);
        let nth = nth.count();
        seen.asked.push(asked);
        drop(seen);
        (method == "Watch", (self.answer)(&method, nth))
    }

    fn open(&self) -> Open {
        let mut seen = self.seen();
        seen.open += 1;
        seen.most = seen.most.max(seen.open);
        Open(self.clone())
    }
}

/// A call that is not over.
struct Open(Server);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.seen().open -= 1;
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<Script>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let open = server.open();
            let (watch, answer) = server.take(request).await;
            let (response, mut steps) = match answer {
                Answer::Body(steps) => (Response::new(()), steps),
                Answer::Refused(code) => {
                    let refusal = Status::new(code, "why");
                    let response = status::trailers_only(&refusal, MetadataMap::new());
                    (response, Vec::new())
                }
                Answer::Silence => pending().await,
            };
            if let Some(Step::Says(_)) = steps.last() {
                steps.push(if watch {
                    Step::Hang
                } else {
                    Step::End(Code::Ok)
                });
            }
            Ok(response.map(|()| Script {
                steps: steps.into(),
                sleep: None,
                _open: open,
            }))
        })
    }
}

/// The body of an answer.
pub(crate) struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        let frame = match self.steps.pop_front() {
            None => return Poll::Ready(None),
            Some(Step::Bytes(bytes)) => Frame::data(bytes.into()),
            Some(Step::End(code)) => {
                let message = if code == Code::Ok { "" } else { "why" };
                let status = Status::new(code, message);
                Frame::trailers(status::trailers(&status, MetadataMap::new()))
            }
            Some(Step::Hang) => {
                self.steps.push_front(Step::Hang);
                return Poll::Pending;
            }
            Some(Step::Lost) => return Poll::Ready(Some(Err(Status::unavailable("gone")))),
            Some(Step::Says(status)) => {
                let message = HealthCheckResponse { status }.encode_to_vec();
                let length = u8::try_from(message.len()).expect("it is short");
                Frame::data([vec![0, 0, 0, 0, length], message].concat().into())
            }
            Some(Step::Wait(wait)) => {
                self.sleep = Some(Box::pin(sleep_until(Instant::now() + wait)));
                return self.poll_frame(cx);
            }
        };
        Poll::Ready(Some(Ok(frame)))
    }
}

/// What a monitor told, and whether it came to its end.
pub(crate) struct Observed {
    pub(crate) told: Vec<(u32, String)>,
    pub(crate) ended: bool,
}

/// Monitors the server for so long, with the same number on every throw of the dice.
pub(crate) async fn observe(
    server: &Server,
    policy: &HealthPolicy,
    dice: f64,
    long: Duration,
) -> Observed {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (service, policy, tell) = (server.clone(), policy.clone(), Arc::clone(&told));
    let task = tokio::spawn(timeout(long, async move {
        let server = service.clone();
        let tell = |Verdict { health, why }| {
            let at = server.since(Instant::now());
            let mut told = tell.lock().unwrap_or_else(PoisonError::into_inner);
            told.push((at, format!("{health}: {why}")));
        };
        monitor(service, &policy, || dice, tell).await;
    }));
    let ended = task.await.expect("it does not panic").is_ok();
    assert_eq!(server.seen().open, 0, "no call outlives its monitor");
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    Observed { told, ended }
}
