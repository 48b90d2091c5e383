//! The request's messages on their way.

use crate::client::telemetry::Counted;
use crate::panics::caught_async;
use crate::wire::recode::Recode;
use crate::wire::send::{Pump, Stopped};
use bytes::Bytes;
use h2::SendStream;
use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
};
use tokio::task::AbortHandle;
use tonic::Status;

/// The request's messages on their way. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Upload {
    task: Option<AbortHandle>,
    failure: Arc<OnceLock<Status>>,
}

impl Upload {
    /// A unary request is sent on the spot; a stream goes on in a task of its own.
    pub(crate) async fn start(
        body: Counted<Recode<tonic::body::Body>>,
        stream: SendStream<Bytes>,
    ) -> Result<Self, Status> {
        let failure: Arc<OnceLock<Status>> = Arc::default();
        let told = Arc::clone(&failure);
        let mut sending = Box::pin(async move {
            let mut pump = Pump::new(body, stream);
            let failed = match caught_async(pump.run()).await {
                // A reset or a lost connection is told by the response.
                Ok(Ok(()) | Err(Stopped::Reset(_) | Stopped::Lost)) => return,
                Ok(Err(Stopped::Body(status))) => status,
                Err(panic) => Status::internal(format!("the stream of requests panicked: {panic}")),
            };
            // It is told before the reset, which wakes who asks for it.
            let _ = told.set(failed);
            pump.reset();
        });
        let task = match poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await {
            Poll::Ready(()) => None,
            Poll::Pending => Some(tokio::spawn(sending).abort_handle()),
        };
        match failure.get() {
            Some(failed) => Err(failed.clone()),
            None => Ok(Self { task, failure }),
        }
    }

    pub(crate) fn failure(&self) -> Option<Status> {
        self.failure.get().cloned()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
