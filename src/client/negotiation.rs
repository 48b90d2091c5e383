//! Which side of a call compresses with what, by its headers.

use crate::wire::compression::{
    ACCEPTED, Compression, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, Unknown,
};
use http::{HeaderMap, header::Entry};
use tonic::Status;

/// What of a call's compression is ours to do. A generated client may do its own, by tonic's `send_compressed` and
/// `accept_compressed`: what it has declared in the request's headers, it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Negotiation {
    /// What the request's messages are to be compressed with.
    pub(crate) request: Option<Compression>,
    decompresses: bool,
}

impl Negotiation {
    /// Declares in the headers of a request what its messages are compressed with, and what is understood.
    pub(crate) fn open(headers: &mut HeaderMap, compression: Option<Compression>) -> Self {
        let request = compression.filter(|_| !headers.contains_key(GRPC_ENCODING));
        if let Some(compression) = request {
            headers.insert(GRPC_ENCODING, compression.header());
        }
        let decompresses = match headers.entry(GRPC_ACCEPT_ENCODING) {
            Entry::Vacant(entry) => {
                entry.insert(ACCEPTED);
                true
            }
            Entry::Occupied(_) => false,
        };
        Self {
            request,
            decompresses,
        }
    }

    /// What the response has to be decompressed from, which its headers do not declare any more then.
    pub(crate) fn response(self, headers: &mut HeaderMap) -> Result<Option<Compression>, Unknown> {
        // A response that is only a status has no messages.
        if !self.decompresses || headers.contains_key(Status::GRPC_STATUS) {
            return Ok(None);
        }
        let declared = Compression::declared(headers)?;
        headers.remove(GRPC_ENCODING);
        Ok(declared)
    }
}
