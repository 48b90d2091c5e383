//! A tonic service, or whatever else answers HTTP requests, behind an `h2` stream, recorded.

use crate::mock::journal::{Call, Outcome, Server};
use crate::mock::reading::refusal;
use crate::panics::caught_async;
use crate::wire::compression::GRPC_ENCODING;
use crate::wire::message::{Framed, Splitter};
use crate::wire::metadata::without_plumbing;
use crate::wire::send::{Pump, Stopped};
use crate::wire::{Compression, Kept, Reader};
use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tonic::{Status, body::Body, codegen::Service, metadata::MetadataMap};

/// The largest reply of a service that is recorded. It is passed on whatever its size.
const RECORDED: usize = 1 << 30;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answer = BoxFuture<Result<Response<Body>, Status>>;

/// A service, whatever its type.
pub(crate) struct Backend {
    call: Box<dyn Fn(Request<Body>) -> Answer + Send + Sync>,
    /// How records name it; `None` for the mock's own.
    server: Option<Arc<Server>>,
}

/// One call on its way to a backend.
pub(crate) struct Passing {
    pub(crate) call: Call,
    pub(crate) parts: Parts,
    pub(crate) reader: Reader,
}

impl Backend {
    /// A service that tonic generated. Those are always ready.
    pub(crate) fn tonic<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        Self::new(move |request| {
            let answer = service.clone().call(request);
            Box::pin(async move {
                match answer.await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            })
        })
    }

    pub(crate) fn new(call: impl Fn(Request<Body>) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            call: Box::new(call),
            server: None,
        }
    }

    pub(crate) fn recorded_as(self, server: Server) -> Self {
        let server = Some(Arc::new(server));
        Self { server, ..self }
    }

    /// Serves one call and records it.
    pub(crate) async fn serve(&self, passing: Passing, mut respond: SendResponse<Bytes>) {
        let call = passing.call.clone();
        let sent = tokio::select! {
            biased;
            answer = self.answer(passing) => match answer {
                Ok(response) => send(response, respond).await,
                Err(never) => match never {},
            },
            stopped = poll_fn(|cx| respond.poll_reset(cx)) => Err(stopped.into()),
        };
        call.finish(match sent {
            // The status was recorded from the trailers; a service that sends none has not ended its call.
            Ok(()) | Err(Stopped::Lost | Stopped::Body(_)) => Outcome::Dropped,
            Err(Stopped::Reset(reason)) => call.reset_now(reason),
        });
    }

    /// What the service answers, which is recorded as it is read.
    pub(crate) async fn answer(&self, passing: Passing) -> Result<Response<Tap>, Infallible> {
        let Passing {
            call,
            mut parts,
            mut reader,
        } = passing;
        if let Some(server) = &self.server {
            call.record_server(Arc::clone(server));
        }
        // The messages go on as they were before they were compressed.
        parts.headers.remove(GRPC_ENCODING);
        let body = Body::new(Forwarded {
            // Messages that were read and recorded before it was known that the call goes on.
            backlog: reader.all_kept(),
            reader,
            call: call.clone(),
        });
        let answer = caught_async((self.call)(Request::from_parts(parts, body))).await;
        let response = answer
            .unwrap_or_else(|panic| Err(Status::internal(format!("the service panicked: {panic}"))))
            .unwrap_or_else(Status::into_http);
        let (parts, body) = response.into_parts();
        if !finish(&call, &parts.headers) {
            let metadata = MetadataMap::from_headers(parts.headers.clone());
            call.record_metadata(&without_plumbing(metadata));
        }
        // In one that is not known the messages pass unrecorded.
        let encoding = Compression::declared(&parts.headers).ok().flatten();
        let body = Tap::new(body, call, encoding);
        Ok(Response::from_parts(parts, body))
    }
}

async fn send(response: Response<Tap>, mut respond: SendResponse<Bytes>) -> Result<(), Stopped> {
    let (parts, body) = response.into_parts();
    let ended = body.is_end_stream();
    let stream = respond.send_response(Response::from_parts(parts, ()), ended)?;
    if ended {
        return Ok(());
    }
    let mut pump = Pump::new(body, stream);
    let sent = caught_async(poll_fn(|cx| pump.poll_run(cx))).await;
    let sent = sent.unwrap_or_else(|panic| {
        let text = format!("the service's stream panicked: {panic}");
        Err(Stopped::Body(Status::internal(text)))
    });
    if let Err(Stopped::Body(_)) = &sent {
        pump.reset();
    }
    sent
}

/// Records the status, if these headers or trailers have one.
fn finish(call: &Call, headers: &HeaderMap) -> bool {
    let Some(mut status) = Status::from_header_map(headers) else {
        return false;
    };
    let metadata = std::mem::take(status.metadata_mut());
    *status.metadata_mut() = without_plumbing(metadata);
    call.finish_with(&status, &MetadataMap::new());
    true
}

/// The request as the service reads it: messages are recorded as they pass.
struct Forwarded {
    backlog: Kept,
    reader: Reader,
    call: Call,
}

impl http_body::Body for Forwarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.backlog.next() {
            return Poll::Ready(Some(Ok(Frame::data(Framed::plain(&message).into_bytes()))));
        }
        Poll::Ready(match ready!(self.reader.poll_next(cx)) {
            Ok(Some(message)) => {
                let framed = Framed::plain(&message);
                let compressed = self.reader.was_compressed();
                self.call.record_request(message, compressed);
                Some(Ok(Frame::data(framed.into_bytes())))
            }
            Ok(None) => None,
            Err(error) => Some(Err(refusal(&error))),
        })
    }
}

/// The response as it passes: messages and the status are recorded.
pub(crate) struct Tap {
    body: Body,
    call: Call,
    /// `None`, when the messages cannot be told apart any more.
    splitter: Option<Splitter>,
}

impl Tap {
    /// `encoding` is what the response declares.
    fn new(body: Body, call: Call, encoding: Option<Compression>) -> Self {
        Self {
            body,
            call,
            splitter: Some(Splitter::new(RECORDED).with_encoding(encoding)),
        }
    }

    /// Records the messages that this completes. What is malformed ends the recording, and passes.
    fn record(&mut self, data: Bytes) {
        let Some(splitter) = &mut self.splitter else {
            return;
        };
        splitter.push(data);
        loop {
            match splitter.next() {
                Ok(Some(message)) => self.call.record_relayed(message, splitter.was_compressed()),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(call = %self.call, %error, "replies pass unrecorded");
                    self.splitter = None;
                    return;
                }
            }
        }
    }
}

impl http_body::Body for Tap {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            if let Some(data) = frame.data_ref() {
                self.record(data.clone());
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
