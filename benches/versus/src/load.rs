//! Callers, and how they are let loose.

use crate::allocations::Counter;
use crate::echo::{EchoClient, EchoRequest};
use crate::quartiles::Quartiles;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::{
    Request, Status,
    body::Body,
    client::GrpcService,
    codegen::{Bytes, StdError},
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};

/// Who can make the same call again and again.
pub trait Caller: Clone + Send + 'static {
    /// One call, and its answer.
    fn call(&mut self) -> impl Future<Output = Result<(), Status>> + Send;
}

/// `echo.v1.Echo/Say` by the generated client, over any channel.
#[derive(Clone)]
pub struct Say<S> {
    client: EchoClient<S>,
    request: EchoRequest,
    header: Option<&'static str>,
}

/// The header that some stubs want.
pub const HEADER: &str = "x-case";

impl<S> Say<S>
where
    S: GrpcService<Body>,
    S::Error: Into<StdError>,
    S::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    pub fn new(channel: S, request: EchoRequest) -> Self {
        Self {
            client: EchoClient::new(channel),
            request,
            header: None,
        }
    }

    /// With [`HEADER`] at this value.
    pub fn header(mut self, value: &'static str) -> Self {
        self.header = Some(value);
        self
    }
}

impl<S> Caller for Say<S>
where
    S: GrpcService<Body> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<StdError>,
    S::ResponseBody: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as tonic::codegen::Body>::Error: Into<StdError> + Send,
{
    async fn call(&mut self) -> Result<(), Status> {
        let mut request = Request::new(self.request.clone());
        if let Some(value) = self.header {
            let value = MetadataValue::from_static(value);
            request.metadata_mut().insert(HEADER, value);
        }
        self.client.say(request).await.map(drop)
    }
}

/// tonic's own channel to this address.
pub async fn channel(uri: &str) -> Channel {
    let endpoint = Endpoint::from_shared(uri.to_owned()).expect("an address");
    endpoint.connect().await.expect("a server")
}

/// Calls without a pause, so many at a time: calls a second.
pub async fn flood(caller: impl Caller, in_flight: usize, span: Duration) -> f64 {
    flood_over(vec![caller], in_flight, span).await
}

/// The same, shared out among these callers.
pub async fn flood_over<C: Caller>(callers: Vec<C>, in_flight: usize, span: Duration) -> f64 {
    let begin = Instant::now();
    let end = begin + span;
    let mut tasks = JoinSet::new();
    for worker in 0..in_flight {
        let mut caller = callers[worker % callers.len()].clone();
        tasks.spawn(async move {
            let mut calls = 0_u64;
            while Instant::now() < end {
                caller.call().await.expect("a reply");
                calls += 1;
            }
            calls
        });
    }
    let calls: u64 = tasks.join_all().await.iter().sum();
    calls as f64 / begin.elapsed().as_secs_f64()
}

/// So many calls, so many at a time: calls a second.
pub async fn flood_of(caller: impl Caller, in_flight: usize, calls: usize) -> f64 {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for worker in 0..in_flight {
        let mut caller = caller.clone();
        let share = calls / in_flight + usize::from(worker < calls % in_flight);
        tasks.spawn(async move {
            for _ in 0..share {
                caller.call().await.expect("a reply");
            }
        });
    }
    tasks.join_all().await;
    calls as f64 / begin.elapsed().as_secs_f64()
}

/// One call after the other: the median in microseconds.
pub async fn one_by_one(mut caller: impl Caller, span: Duration) -> f64 {
    let end = Instant::now() + span;
    let mut micros = Vec::with_capacity(1 << 14);
    let mut before = Instant::now();
    while before < end {
        caller.call().await.expect("a reply");
        let after = Instant::now();
        micros.push((after - before).as_secs_f64() * 1e6);
        before = after;
    }
    Quartiles::of(micros).median
}

/// Allocations a call, on both sides, 64 at a time. What is allocated to have so many at a time does not count.
pub async fn allocations(caller: impl Caller, calls: usize) -> f64 {
    counted(caller.clone(), calls).await;
    let once = counted(caller.clone(), calls).await;
    let twice = counted(caller, 2 * calls).await;
    (twice - once) / calls as f64
}

async fn counted(caller: impl Caller, calls: usize) -> f64 {
    let counter = Counter::start();
    flood_of(caller, 64, calls).await;
    counter.count() as f64
}
