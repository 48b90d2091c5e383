//! The request's messages on their way.

use crate::client::telemetry::Counted;
use crate::panics::caught;
use crate::wire::recode::Recode;
use crate::wire::send::{Pump, Stopped};
use bytes::Bytes;
use h2::SendStream;
use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker, ready},
};
use tokio::task::AbortHandle;
use tonic::Status;

/// The request's messages on their way. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Upload(Option<Going>);

/// One that goes on in a task of its own.
#[derive(Debug)]
struct Going {
    task: AbortHandle,
    failure: Arc<OnceLock<Status>>,
}

type Sending = Pump<Counted<Recode<tonic::body::Body>>>;

impl Upload {
    /// A unary request is sent on the spot; a stream goes on in a task of its own.
    pub(crate) fn start(
        body: Counted<Recode<tonic::body::Body>>,
        stream: SendStream<Bytes>,
    ) -> Result<Self, Status> {
        let mut pump = Pump::new(body, stream);
        // If it has to wait it is polled again, by who is to be woken.
        match poll(&mut pump, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Ok(Self(None)),
            Poll::Ready(Err(failed)) => {
                pump.reset();
                Err(failed)
            }
            Poll::Pending => Ok(Self(Some(Going::on(Box::new(pump))))),
        }
    }

    pub(crate) fn failure(&self) -> Option<Status> {
        self.0.as_ref()?.failure.get().cloned()
    }
}

impl Going {
    fn on(mut pump: Box<Sending>) -> Self {
        let failure: Arc<OnceLock<Status>> = Arc::default();
        let told = Arc::clone(&failure);
        let sending = async move {
            if let Err(failed) = poll_fn(|cx| poll(&mut pump, cx)).await {
                // It is told before the reset, which wakes who asks for it.
                let _ = told.set(failed);
                pump.reset();
            }
        };
        Self {
            task: tokio::spawn(sending).abort_handle(),
            failure,
        }
    }
}

/// `Err`, when the request itself fails. A reset or a lost connection is told by the response.
fn poll(pump: &mut Sending, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
    let sent = match caught(|| pump.poll_run(cx)) {
        Ok(sent) => ready!(sent),
        Err(panic) => {
            let text = format!("the stream of requests panicked: {panic}");
            Err(Stopped::Body(Status::internal(text)))
        }
    };
    Poll::Ready(match sent {
        Err(Stopped::Body(status)) => Err(status),
        Ok(()) | Err(Stopped::Reset(_) | Stopped::Lost) => Ok(()),
    })
}

impl Drop for Going {
    fn drop(&mut self) {
        self.task.abort();
    }
}
