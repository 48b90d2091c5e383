//! What an `h2` error means in gRPC.

use h2::Reason;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use tonic::{Code, Status};

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

/// Trailers that end a call with this status.
pub(crate) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    write(status, &mut trailers);
    trailers
}

/// The headers of a response that is only a status ("Trailers-Only").
pub(crate) fn trailers_only(status: &Status) -> http::Response<()> {
    let mut response = http::Response::new(());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    write(status, response.headers_mut());
    response
}

fn write(status: &Status, headers: &mut HeaderMap) {
    // It fails for a message that cannot be a header even when percent-encoded, which no text is.
    if let Err(status) = status.add_header(headers) {
        headers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
    }
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
