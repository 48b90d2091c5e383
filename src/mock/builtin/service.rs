//! Any tonic service behind an `h2` stream, recorded.

use crate::mock::journal::{Arrived, Call, Journal, Outcome, Target};
use crate::schema::infrastructure;
use crate::wire::message::Splitter;
use crate::wire::send::{Pump, Stopped};
use crate::wire::{MESSAGE_LIMIT, Receive};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tonic::{Status, body::Body, codegen::Service};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A tonic service, whatever its type.
pub(crate) struct BuiltinService {
    call: Box<dyn Fn(Request<Body>) -> BoxFuture<Response<Body>> + Send + Sync>,
}

impl BuiltinService {
    pub(super) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let call = move |request| -> BoxFuture<Response<Body>> {
            // Generated services are always ready.
            let answer = service.clone().call(request);
            Box::pin(async move {
                match answer.await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            })
        };
        Self {
            call: Box::new(call),
        }
    }

    /// Serves one stream and records it.
    pub(crate) async fn serve(
        &self,
        journal: &Journal,
        arrived: Arrived,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let path = request.uri().path();
        let known = infrastructure().method_at(path);
        let target = known.map_or_else(
            || Target::Opaque(path.to_owned()),
            |method| Target::Typed(Arc::clone(method)),
        );
        let call = Call::new(target, arrived);
        journal.add(call.clone());
        let request = request.map(|stream| {
            Body::new(Tap::new(
                Receive::new(stream),
                call.clone(),
                Call::record_request,
            ))
        });
        let answer = (self.call)(request);
        let outcome = tokio::select! {
            biased;
            response = answer => send(response, &call, respond).await,
            stopped = poll_fn(|cx| respond.poll_reset(cx)) => {
                Err(stopped.into())
            }
        };
        call.finish(match outcome {
            // The status was recorded from the trailers; a service that sends none has not ended its call.
            Ok(()) | Err(Stopped::Lost | Stopped::Body(_)) => Outcome::Dropped,
            Err(Stopped::Reset(reason)) => call.reset_now(reason),
        });
    }
}

async fn send(
    response: Response<Body>,
    call: &Call,
    mut respond: SendResponse<Bytes>,
) -> Result<(), Stopped> {
    let (parts, body) = response.into_parts();
    finish(call, &parts.headers);
    let ended = body.is_end_stream();
    let stream = respond.send_response(Response::from_parts(parts, ()), ended)?;
    if ended {
        return Ok(());
    }
    let mut pump = Pump::new(Tap::new(body, call.clone(), Call::record_reply), stream);
    let sent = pump.run().await;
    if let Err(Stopped::Body(_)) = &sent {
        pump.reset();
    }
    sent
}

/// Records the status, if these headers or trailers have one.
fn finish(call: &Call, headers: &HeaderMap) {
    if let Some(status) = Status::from_header_map(headers) {
        call.finish(status.code().into());
    }
}

/// A body whose messages are recorded as they pass.
struct Tap<B> {
    body: B,
    call: Call,
    splitter: Splitter,
    record: fn(&Call, Bytes),
}

impl<B> Tap<B> {
    fn new(body: B, call: Call, record: fn(&Call, Bytes)) -> Self {
        Self {
            body,
            call,
            splitter: Splitter::new(MESSAGE_LIMIT),
            record,
        }
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Tap<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            if let Some(data) = frame.data_ref() {
                self.splitter.push(data.clone());
                while let Ok(Some(message)) = self.splitter.next() {
                    (self.record)(&self.call, message);
                }
            } else if let Some(trailers) = frame.trailers_ref() {
                finish(&self.call, trailers);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
