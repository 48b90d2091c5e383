//! Metadata that people write, checked as
//! [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests) has it.

use tonic::metadata::{
    AsciiMetadataKey, AsciiMetadataValue, BinaryMetadataKey, BinaryMetadataValue, MetadataMap,
};

/// What HTTP/2 forbids, and what gRPC sets itself.
const TAKEN: [&str; 14] = [
    "connection",
    "content-length",
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "grpc-timeout",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// What has a secret, whoever sends it.
pub(crate) const SECRET: [&str; 6] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-access-token",
    "x-api-key",
    "x-auth-token",
];

/// What carries a response, and is none of its metadata.
const PLUMBING: [&str; 6] = [
    "content-type",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
];

/// The metadata of a response, without the headers that carry it.
pub(crate) fn without_plumbing(mut metadata: MetadataMap) -> MetadataMap {
    let headers = metadata.as_mut();
    for name in PLUMBING {
        headers.remove(name);
    }
    metadata
}

/// Adds an ASCII pair, or says what was expected.
pub(crate) fn append(map: &mut MetadataMap, key: &str, value: &str) -> Result<(), &'static str> {
    check_free(key)?;
    // tonic takes tabs and bytes beyond ASCII too, which other implementations refuse.
    let visible = value.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    let parsed = key
        .parse::<AsciiMetadataKey>()
        .ok()
        .zip(value.parse::<AsciiMetadataValue>().ok());
    let (key, mut value) = parsed
        .filter(|_| visible)
        .ok_or("an ASCII key without `-bin`, and a value of visible ASCII characters")?;
    // `{:?}` of a call must not show them.
    value.set_sensitive(SECRET.contains(&key.as_str()));
    map.append(key, value);
    Ok(())
}

/// Adds a binary pair, or says what was expected.
pub(crate) fn append_bin(
    map: &mut MetadataMap,
    key: &str,
    value: &[u8],
) -> Result<(), &'static str> {
    let key = key
        .parse::<BinaryMetadataKey>()
        .map_err(|_| "a key that ends with `-bin`")?;
    map.append_bin(key, BinaryMetadataValue::from_bytes(value));
    Ok(())
}

/// Whether a token can stand under this key, which neither HTTP nor gRPC need for themselves.
pub(crate) fn can_hold_token(key: &str) -> bool {
    let reserved = key.ends_with("-bin") || key.starts_with("grpc-") || key == "user-agent";
    !reserved && check_free(key).is_ok()
}

/// Whether the key is neither HTTP's nor gRPC's own.
fn check_free(key: &str) -> Result<(), &'static str> {
    if TAKEN.contains(&key.to_ascii_lowercase().as_str()) {
        Err("a key that is not HTTP's or gRPC's own")
    } else {
        Ok(())
    }
}
