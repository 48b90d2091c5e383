//! What becomes of the headers, the messages and the trailers of an answer.

use crate::mock::fault::Mangle;
use crate::wire::compression::GRPC_ENCODING;
use crate::wire::message::{PREFIX, length_of, prefix};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const STATUS_KEYS: [HeaderName; 3] = [
    STATUS,
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];
const OVERSIZED: HeaderName = HeaderName::from_static("x-oversized");

/// Takes the status and what goes with it from the headers of a response that is nothing else, to be its trailers.
pub(super) fn split_trailers<B>(response: &mut Response<B>) -> HeaderMap {
    let mut trailers = std::mem::take(response.headers_mut());
    for name in [CONTENT_TYPE, CONTENT_LENGTH] {
        if let Some(value) = trailers.remove(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    trailers
}

/// What becomes of the headers. `status` is the one at the end, if it is known.
pub(super) fn headers<B>(mangle: &Mangle, response: &mut Response<B>, status: Option<&HeaderMap>) {
    let headers = response.headers_mut();
    match mangle {
        Mangle::ContentType(value) => {
            headers.insert(CONTENT_TYPE, value.clone());
        }
        Mangle::HttpStatus(status) => {
            headers.clear();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            *response.status_mut() = *status;
        }
        Mangle::OversizedMetadata(bytes) => {
            let value = HeaderValue::from_bytes(&vec![b'x'; *bytes]);
            headers.insert(OVERSIZED, value.expect("letters are a header's value"));
        }
        Mangle::StatusInHeaders => {
            headers.insert(STATUS, HeaderValue::from_static("0"));
            for key in STATUS_KEYS {
                if let Some(known) = status.and_then(|status| status.get(&key)) {
                    headers.insert(key, known.clone());
                }
            }
        }
        _ => {}
    }
}

/// The page that comes with an HTTP status.
pub(super) fn page(status: http::StatusCode) -> Bytes {
    format!("<html><body><h1>{status}</h1></body></html>\n").into()
}

/// The headers say that messages may be compressed, whatever way they are.
pub(super) fn announce_compression<B>(response: &mut Response<B>) {
    let told = response.headers_mut().entry(GRPC_ENCODING);
    let told = told.or_insert(HeaderValue::from_static("gzip"));
    if told == "identity" {
        *told = HeaderValue::from_static("gzip");
    }
}

/// What becomes of a message with its prefix.
pub(super) fn message(mangle: &Mangle, message: &Bytes) -> Bytes {
    let payload = message.get(PREFIX..).unwrap_or_default();
    match mangle {
        Mangle::BadCompression => nonsense(1, payload),
        Mangle::Garbage => nonsense(0, payload),
        Mangle::NoMessage => Bytes::new(),
        Mangle::OversizedMessage(bytes) => oversized(*bytes),
        Mangle::Truncated if payload.is_empty() => framed(0, 10, &[]),
        Mangle::Truncated => {
            let half = message.len() - payload.len().div_ceil(2);
            message.slice(..half)
        }
        Mangle::TwoMessages => [&message[..], message].concat().into(),
        _ => message.clone(),
    }
}

/// As many bytes whose highest bit is set, which are a number without end; one at least.
fn nonsense(flag: u8, payload: &[u8]) -> Bytes {
    let length = payload.len().max(1);
    framed(flag, length, &vec![0xFF; length])
}

fn framed(flag: u8, length: usize, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + payload.len());
    out.put_slice(&prefix(flag, length.min(u32::MAX as usize)));
    out.put_slice(payload);
    out.freeze()
}

/// A message of so many bytes, all of them field 2047, which no type has.
fn oversized(bytes: usize) -> Bytes {
    let mut payload = BytesMut::with_capacity(bytes);
    payload.put_slice(&[0xFA, 0x7F]);
    // The length in five bytes, whatever it is.
    let length = bytes.saturating_sub(7) as u64;
    for shift in [0, 7, 14, 21] {
        payload.put_u8((length >> shift) as u8 | 0x80);
    }
    payload.put_u8((length >> 28) as u8 & 0x7F);
    payload.resize(bytes, 0);
    framed(0, bytes, &payload)
}

/// What becomes of the trailers. `None`, when there are none any more.
pub(super) fn trailers(mangle: &Mangle, mut trailers: HeaderMap) -> Option<HeaderMap> {
    match mangle {
        Mangle::MalformedStatus(value) => {
            trailers.insert(STATUS, value.clone());
        }
        Mangle::MissingStatus => {
            for key in STATUS_KEYS {
                trailers.remove(key);
            }
        }
        _ => {}
    }
    (!trailers.is_empty()).then_some(trailers)
}

/// How long the first message of these bytes is with its prefix, if it is all there.
pub(super) fn message_length(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<PREFIX>()?;
    let whole = PREFIX.checked_add(length_of(*prefix))?;
    (bytes.len() >= whole).then_some(whole)
}

#[cfg(test)]
mod tests {
    use crate::mock::breaking::mangle::{message, message_length, split_trailers, trailers};
    use crate::mock::fault::Mangle;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, Response};

    fn broken(mangle: &Mangle, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let framed = [&[0, 0, 0, 0, length], payload].concat();
        message(mangle, &Bytes::from(framed)).to_vec()
    }

    #[test]
    fn messages_are_broken_as_told_also_empty_ones() {
        let cases: [(Mangle, &[u8], &[u8]); 10] = [
            (Mangle::NoMessage, b"ab", b""),
            (Mangle::TwoMessages, b"a", b"\0\0\0\0\x01a\0\0\0\0\x01a"),
            (Mangle::TwoMessages, b"", b"\0\0\0\0\0\0\0\0\0\0"),
            (Mangle::Garbage, b"ab", b"\0\0\0\0\x02\xFF\xFF"),
            (Mangle::Garbage, b"", b"\0\0\0\0\x01\xFF"),
            (Mangle::BadCompression, b"ab", b"\x01\0\0\0\x02\xFF\xFF"),
            (Mangle::BadCompression, b"", b"\x01\0\0\0\x01\xFF"),
            (Mangle::Truncated, b"abc", b"\0\0\0\0\x03a"),
            (Mangle::Truncated, b"", b"\0\0\0\0\x0A"),
            (
                Mangle::OversizedMessage(8),
                b"ab",
                b"\0\0\0\0\x08\xFA\x7F\x81\x80\x80\x80\0\0",
            ),
        ];
        for (mangle, payload, expected) in cases {
            assert_eq!(broken(&mangle, payload), expected, "{mangle:?} {payload:?}");
        }
    }

    #[test]
    fn an_oversized_message_has_exactly_as_many_bytes() {
        for bytes in [7, 300, 70_000, 5 << 20] {
            let whole = message(&Mangle::OversizedMessage(bytes), &Bytes::new());
            assert_eq!(message_length(&whole), Some(whole.len()), "{bytes}");
            assert_eq!(whole.len(), bytes + 5);
            let mut payload = &whole[5..];
            let key = prost::encoding::decode_varint(&mut payload).unwrap();
            let length = prost::encoding::decode_varint(&mut payload).unwrap();
            assert_eq!((key, length), (2047 << 3 | 2, payload.len() as u64));
        }
    }

    #[test]
    fn a_status_alone_becomes_trailers() {
        let mut response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "5")
            .body(())
            .unwrap();
        let split = split_trailers(&mut response);
        assert_eq!(split.len(), 1);
        assert_eq!(response.headers().len(), 1);
        assert_eq!(trailers(&Mangle::MissingStatus, split.clone()), None);
        let malformed = Mangle::MalformedStatus(HeaderValue::from_static("x"));
        let malformed = trailers(&malformed, split).unwrap();
        assert_eq!(
            malformed,
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), "x".parse().unwrap())])
        );
    }
}
