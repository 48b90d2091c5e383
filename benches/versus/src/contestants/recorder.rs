//! What people write by hand: a tonic service that keeps what it is called with.

use crate::contestants::{Running, serve};
use crate::echo::{EchoReply, EchoRequest, echo_server::Echo, reply_to};
use std::{
    sync::{Arc, Mutex},
    time::SystemTime,
};
use tonic::{
    Request, Response, Status, Streaming, codegen::tokio_stream::Empty, metadata::MetadataMap,
};

/// The service and its record.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Recorded>>>);

/// A call.
struct Recorded {
    _message: EchoRequest,
    _metadata: MetadataMap,
    _at: SystemTime,
}

type Replies = Empty<Result<EchoReply, Status>>;

#[tonic::async_trait]
impl Echo for Recorder {
    async fn say(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let (metadata, _, message) = request.into_parts();
        let recorded = Recorded {
            _message: message.clone(),
            _metadata: metadata,
            _at: SystemTime::now(),
        };
        self.0.lock().expect("not poisoned").push(recorded);
        Ok(Response::new(reply_to(message)))
    }

    type SplitStream = Replies;

    async fn split(&self, _: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn join(
        &self,
        _: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        Err(Status::unimplemented(""))
    }

    type ChatStream = Replies;

    async fn chat(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<Replies>, Status> {
        Err(Status::unimplemented(""))
    }
}

impl Recorder {
    /// How much its record takes at most. Ours has a limit of its own; this one would eat the machine on large messages.
    const LIMIT: usize = 100_000;

    fn trim(&self) {
        let mut calls = self.0.lock().expect("not poisoned");
        let large = calls
            .first()
            .is_some_and(|call| call._message.blob.len() > 1024);
        if large || calls.len() > Self::LIMIT {
            calls.clear();
        }
    }
}

/// It, running. Its record is emptied between turns when it has grown large.
pub async fn recorder() -> Running {
    let recorder = Recorder::default();
    let serving = serve(recorder.clone()).await;
    let mut running = Running::new("tonic + recorder", serving.uri.clone(), serving);
    running.between = Some(Box::new(move || recorder.trim()));
    running
}
