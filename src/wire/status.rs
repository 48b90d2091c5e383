//! What an `h2` error means in gRPC.

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use tonic::{Code, Status, metadata::MetadataMap};

pub(crate) const GRPC_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The code of a call that ended with this error instead of a status.
///
/// [HTTP/2 error codes in gRPC](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors). A lost
/// connection is `UNAVAILABLE` ([status codes](https://grpc.github.io/grpc/core/md_doc_statuscodes.html)).
pub(crate) fn code(error: &h2::Error) -> Code {
    match error.reason() {
        Some(reason) if error.is_reset() => reset_code(reason),
        _ => Code::Unavailable,
    }
}

fn reset_code(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        Reason::NO_ERROR
        | Reason::PROTOCOL_ERROR
        | Reason::INTERNAL_ERROR
        | Reason::FLOW_CONTROL_ERROR
        | Reason::SETTINGS_TIMEOUT
        | Reason::FRAME_SIZE_ERROR
        | Reason::COMPRESSION_ERROR
        | Reason::CONNECT_ERROR => Code::Internal,
        _ => Code::Unknown,
    }
}

/// The metadata that goes with a status at the end of a call: that of the reply, then the status's own.
pub(crate) fn trailing(status: &Status, metadata: MetadataMap) -> HeaderMap {
    let mut trailing = metadata.into_headers();
    for (name, value) in status.metadata().as_ref() {
        trailing.append(name.clone(), value.clone());
    }
    trailing
}

/// Trailers that end a call with this status, after metadata of its own.
pub(crate) fn trailers(status: &Status, metadata: MetadataMap) -> HeaderMap {
    let mut trailers = trailing(status, metadata);
    if status.message().is_empty() && status.details().is_empty() {
        trailers.insert(Status::GRPC_STATUS, code_header(status.code()));
        return trailers;
    }
    let bare = Status::with_details(
        status.code(),
        status.message(),
        Bytes::copy_from_slice(status.details()),
    );
    // It fails for a message that cannot be a header even when percent-encoded, which no text is.
    if let Err(status) = bare.add_header(&mut trailers) {
        trailers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
    }
    trailers
}

/// The code as a header, which tonic allocates for every call.
fn code_header(code: Code) -> HeaderValue {
    match code {
        Code::Ok => HeaderValue::from_static("0"),
        code => (code as i32).into(),
    }
}

/// The headers of a response that is only a status ("Trailers-Only").
pub(crate) fn trailers_only(status: &Status, metadata: MetadataMap) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.headers_mut() = trailers(status, metadata);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

/// The code of a response that is not gRPC's, by its HTTP status; `None`, when it is gRPC's.
///
/// [HTTP to gRPC status codes](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
pub(crate) fn foreign(response: &http::response::Parts) -> Option<Code> {
    if response.headers.contains_key(Status::GRPC_STATUS) {
        return None;
    }
    match response.status.as_u16() {
        200 => (!is_grpc(&response.headers)).then_some(Code::Unknown),
        400 => Some(Code::Internal),
        401 => Some(Code::Unauthenticated),
        403 => Some(Code::PermissionDenied),
        404 => Some(Code::Unimplemented),
        429 | 502 | 503 | 504 => Some(Code::Unavailable),
        _ => Some(Code::Unknown),
    }
}

/// Whether the content type is gRPC's: `application/grpc`, alone or with `+proto` or parameters.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let rest = content_type.strip_prefix(GRPC_CONTENT_TYPE.as_bytes());
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The code as the gRPC specification writes it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
