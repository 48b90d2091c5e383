//! Requests that are no gRPC calls, and those that cannot be understood.

use crate::mock::journal::Connection;
use crate::wire::compression::{ACCEPTED, GRPC_ACCEPT_ENCODING, Unknown};
use crate::wire::status;
use http::{HeaderMap, Method, Response, StatusCode, header, request::Parts};
use tonic::{Status, metadata::MetadataMap};

/// Whether it is a gRPC call at all, as the
/// [protocol](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests) has it.
pub(crate) fn check(parts: &Parts) -> Result<(), Response<()>> {
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
pub(crate) fn foreign(parts: &Parts, connection: &Connection, answer: StatusCode) -> String {
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
pub(crate) fn not_understood(unknown: &Unknown) -> Status {
    let accepted = String::from_utf8_lossy(ACCEPTED.as_bytes()).into_owned();
    let mut status = Status::unimplemented(format!(
        "the request is compressed with `{}`; this mock takes `{accepted}`{}",
        unknown.0,
        unknown.hint()
    ));
    let header =
        MetadataMap::from_headers(HeaderMap::from_iter([(GRPC_ACCEPT_ENCODING, ACCEPTED)]));
    *status.metadata_mut() = header;
    status
}
