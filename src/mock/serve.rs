//! One call, from its headers to its outcome.

use crate::mock::builtin::Builtin;
use crate::mock::journal::{Arrived, Call, Connection, Journal, Outcome, Target};
use crate::mock::registry::{Mounted, Registry};
use crate::mock::respond::{Responding, brief, outcome_of, refusal};
use crate::panics::caught;
use crate::proto::rpcplugin::v1::CallRequest;
use crate::schema::{Schema, Shape, list, schemaless};
use crate::wire::{ReadError, Reader, status, timeout};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Method, Request, Response, StatusCode, header, request::Parts};
use prost::Message as _;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::{Code, Status, metadata::MetadataMap};

/// Everything that answers calls, whatever connection they come on.
pub(crate) struct Service {
    pub(crate) schema: Option<Schema>,
    pub(crate) journal: Journal,
    pub(crate) registry: Registry,
    pub(crate) builtin: Builtin,
    pub(crate) message_limit: usize,
}

/// Why no stub serves a call.
enum Refused {
    /// The request could not be read.
    Broken(ReadError),
    /// The call is answered with this, whatever it may still send.
    AtOnce(Status),
    /// The call is answered with this.
    With(Status),
}

/// Ends the record of a call whose task is dropped, when its server is.
struct InFlight(Call);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.finish(Outcome::Dropped);
    }
}

impl Service {
    /// Serves one stream.
    pub(crate) async fn serve(
        &self,
        connection: Arc<Connection>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let (parts, stream) = request.into_parts();
        if let Err(response) = check(&parts) {
            self.journal
                .add_foreign(foreign(&parts, &connection, response.status()));
            // It fails when the client has gone, which is as good.
            let _ = respond.send_response(response, true);
            return;
        }
        let mut arrived = Arrived {
            timeout: timeout::read(&parts.headers),
            metadata: MetadataMap::new(),
            connection,
            at: Instant::now(),
            builtin: false,
        };
        let path = parts.uri.path().to_owned();
        if let Some(service) = self.builtin.find(&path) {
            arrived.builtin = true;
            arrived.metadata = MetadataMap::from_headers(parts.headers.clone());
            service
                .serve(
                    &self.journal,
                    arrived,
                    Request::from_parts(parts, stream),
                    respond,
                )
                .await;
            return;
        }
        let encoding = unknown_encoding(&parts.headers);
        arrived.metadata = MetadataMap::from_headers(parts.headers);
        let mut reader = Reader::new(stream, self.message_limit);
        let (call, first) = self.identify(&path, arrived, &mut reader).await;
        let _in_flight = InFlight(call.clone());
        let first = encoding.map_or(first, |refused| Err(Refused::With(refused)));
        let taken = match first {
            Ok(first) => self.take(&call, first, &mut reader).await,
            Err(refused) => {
                self.journal.add(call.clone());
                Err(refused)
            }
        };
        let open = matches!(&taken, Ok((_, true)) | Err(Refused::AtOnce(_)));
        let responding = Responding {
            call,
            respond,
            reader,
            open,
        };
        match taken {
            Ok((stub, _)) => responding.serve(&stub).await,
            Err(Refused::AtOnce(status) | Refused::With(status)) => {
                responding.refuse_with(&status).await;
            }
            Err(Refused::Broken(error)) => {
                responding.call.finish(outcome_of(&responding.call, &error));
                responding.refuse_with(&refusal(&error)).await;
            }
        }
    }

    /// Which method is called. A schemaless call tells it in its first message, which is read here then.
    async fn identify(
        &self,
        path: &str,
        arrived: Arrived,
        reader: &mut Reader,
    ) -> (Call, Result<Option<Bytes>, Refused>) {
        let opaque = || Target::Opaque(path.to_owned());
        let known = self
            .schema
            .as_ref()
            .and_then(|schema| schema.method_at(path));
        if let Some(method) = known {
            return (
                Call::new(Target::Typed(Arc::clone(method)), arrived),
                Ok(None),
            );
        }
        let Some(shape) = schemaless::shape(path).filter(|_| self.schema.is_none()) else {
            return (Call::new(opaque(), arrived), Ok(None));
        };
        let first = match reader.next().await {
            Ok(Some(first)) => first,
            Ok(None) => {
                let refused = Status::internal(format!("no request message in a {shape} call"));
                return (Call::new(opaque(), arrived), Err(Refused::With(refused)));
            }
            Err(error) => return (Call::new(opaque(), arrived), Err(Refused::Broken(error))),
        };
        match CallRequest::decode(first.clone()) {
            Ok(request) => {
                let method = request.method;
                let call = Call::new(Target::Schemaless { method, shape }, arrived);
                // A stream may be opened by a message that only names the method.
                let opening = shape.streams_requests() && request.args.is_none();
                (call, Ok(Some(first).filter(|_| !opening)))
            }
            Err(error) => {
                let call = Call::new(opaque(), arrived);
                call.record_request(first);
                let text = format!("the request is not a valid rpcplugin.v1.CallRequest: {error}");
                (call, Err(Refused::With(Status::internal(text))))
            }
        }
    }

    /// Reads as much of the request as choosing a stub needs, records it, and chooses. Tells whether more may come.
    async fn take(
        &self,
        call: &Call,
        first: Option<Bytes>,
        reader: &mut Reader,
    ) -> Result<(Arc<Mounted>, bool), Refused> {
        if let Some(first) = first {
            call.record_request(first);
        }
        let single = matches!(call.shape(), Some(Shape::Unary | Shape::ServerStreaming));
        if !single && !self.registry.names(call) {
            // No message could change it, and the client may wait for the response before it sends one.
            self.journal.add(call.clone());
            return Err(Refused::AtOnce(self.unmatched(call)));
        }
        if call.shape().is_some_and(Shape::streams_requests) {
            self.journal.add(call.clone());
            return self.take_stream(call, reader).await;
        }
        if !single && let Some(stub) = self.early(call) {
            self.journal.add(call.clone());
            return Ok((stub, true));
        }
        let stub = self.take_single(call, reader).await?;
        Ok((stub, false))
    }

    /// A stub that needs no message to be chosen and to answer.
    fn early(&self, call: &Call) -> Option<Arc<Mounted>> {
        let (stub, is_stream) = self.registry.select_early(call)?;
        (is_stream || call.shape() == Some(Shape::BidiStreaming)).then_some(stub)
    }

    /// The request of a call whose client streams: all of it, or the first message when the server streams too.
    async fn take_stream(
        &self,
        call: &Call,
        reader: &mut Reader,
    ) -> Result<(Arc<Mounted>, bool), Refused> {
        let first_will_do = call.shape() == Some(Shape::BidiStreaming);
        if let Some(stub) = self.early(call) {
            return Ok((stub, true));
        }
        loop {
            if first_will_do && call.has_request() {
                return self.select(call).map(|stub| (stub, true));
            }
            match reader.next().await.map_err(Refused::Broken)? {
                Some(message) => call.record_request(message),
                None => return self.select(call).map(|stub| (stub, false)),
            }
        }
    }

    /// The request of a call with one message, or of a method that is not known and may have any number.
    async fn take_single(&self, call: &Call, reader: &mut Reader) -> Result<Arc<Mounted>, Refused> {
        let mut added = false;
        let mut add = || {
            if !std::mem::replace(&mut added, true) {
                self.journal.add(call.clone());
            }
        };
        if call.has_request() {
            add();
        }
        loop {
            match reader.next().await {
                Ok(Some(message)) if call.has_request() && call.shape().is_some() => {
                    call.record_request(message);
                    let text = format!(
                        "more than one request message in a {} call",
                        shape_name(call)
                    );
                    return Err(Refused::With(Status::internal(text)));
                }
                Ok(Some(message)) => {
                    call.record_request(message);
                    add();
                }
                Ok(None) => break,
                Err(error) => {
                    add();
                    return Err(Refused::Broken(error));
                }
            }
        }
        add();
        if !call.has_request() && call.shape().is_some() {
            let text = format!("no request message in a {} call", shape_name(call));
            return Err(Refused::With(Status::internal(text)));
        }
        self.select(call)
    }

    fn select(&self, call: &Call) -> Result<Arc<Mounted>, Refused> {
        let selected = caught(|| self.registry.select(call)).map_err(|text| {
            let text = brief(format!("a stub's condition panicked: {text}"));
            Refused::With(Status::internal(text))
        })?;
        selected.ok_or_else(|| Refused::With(self.unmatched(call)))
    }

    /// What a call gets that no stub is for: `UNIMPLEMENTED` when nothing knows its method, and a status of its own when
    /// the method is known, so that no client mistakes a mistake in the test for an old server.
    fn unmatched(&self, call: &Call) -> Status {
        let (near, far) = self.registry.labels(call);
        let name = call.full_name().trim_start_matches('/');
        let known = call.is_typed() || !near.is_empty();
        let text = match (near.as_slice(), far.as_slice()) {
            ([], []) => format!("no stub for {name}: nothing is mounted"),
            ([], far) => format!("no stub for {name}; mounted are {}", list(far, LISTED)),
            (near, _) => format!(
                "no stub for {name} accepts this call: {} did not",
                list(near, LISTED)
            ),
        };
        let text = brief(text);
        tracing::warn!(%call, "unmatched call: {text}");
        Status::new(
            if known {
                Code::FailedPrecondition
            } else {
                Code::Unimplemented
            },
            text,
        )
    }
}

/// How many stubs a message names.
const LISTED: usize = 10;

fn shape_name(call: &Call) -> String {
    call.shape()
        .map(|shape| shape.to_string())
        .unwrap_or_default()
}

/// Whether it is a gRPC call at all, as the
/// [protocol](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests) has it.
fn check(parts: &Parts) -> Result<(), Response<()>> {
    let refuse = |status| {
        let mut response = Response::new(());
        *response.status_mut() = status;
        Err(response)
    };
    if parts.method != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    if status::is_grpc(&parts.headers) {
        Ok(())
    } else {
        refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }
}

/// A request that is no gRPC call, in words.
fn foreign(parts: &Parts, connection: &Connection, answer: StatusCode) -> String {
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .map(|kind| String::from_utf8_lossy(kind.as_bytes()));
    let kind = kind.as_deref().unwrap_or("no content type");
    let (method, path, peer) = (&parts.method, parts.uri.path(), &connection.peer);
    let request = format!("{method} {path} with {kind} from {peer} → HTTP {answer}");
    tracing::warn!("no gRPC call: {request}");
    request
}

/// The refusal of a compression that the mock does not speak.
fn unknown_encoding(headers: &HeaderMap) -> Option<Status> {
    let encoding = headers
        .get("grpc-encoding")?
        .to_str()
        .unwrap_or("(not text)");
    if encoding == "identity" {
        return None;
    }
    let mut status = Status::unimplemented(format!(
        "the request is compressed with `{encoding}`; this mock takes `identity`"
    ));
    let accepted = tonic::metadata::MetadataValue::from_static("identity");
    status
        .metadata_mut()
        .insert("grpc-accept-encoding", accepted);
    Some(status)
}
