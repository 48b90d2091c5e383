//! One message of a call.

use crate::error::{Error, Kind};
use crate::mock::journal::messages::Stored;
use crate::proto::rpcplugin::v1::CallRequest;
use crate::schema::{check, json};
use bytes::Bytes;
use prost::Message;
use prost_reflect::MessageDescriptor;
use prost_types::Struct;
use serde_json::Value;
use std::fmt;
use tokio::time::Instant;

/// A message as it was on the wire, decoded when it is asked for.
#[derive(Clone)]
pub struct RecordedMessage {
    stored: Stored,
    form: Form,
}

/// How the bytes of a message are read.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// As the arguments of a schemaless call.
    CallRequest,
    /// By its type in the schema.
    Dynamic(MessageDescriptor),
    /// The mock has no schema for it.
    Opaque,
    /// As the reply to a schemaless call.
    Struct,
}

impl Form {
    /// Whether the bytes can be read in this form.
    pub(crate) fn check(&self, bytes: &Bytes) -> Result<(), Error> {
        // From `Bytes`, whose parts are not copied.
        let bytes = bytes.clone();
        let (name, decoded) = match self {
            Self::CallRequest => (
                "rpcplugin.v1.CallRequest",
                CallRequest::decode(bytes).map(drop),
            ),
            Self::Dynamic(descriptor) => (descriptor.full_name(), check(descriptor, bytes)),
            Self::Opaque => return Ok(()),
            Self::Struct => ("google.protobuf.Struct", Struct::decode(bytes).map(drop)),
        };
        decoded.map_err(|error| {
            Error::new(Kind::Message, format!("the request is not a valid {name}")).caused_by(error)
        })
    }

    /// The message as JSON. `None`, when there is no schema for it or it does not decode.
    pub(crate) fn json(&self, bytes: &[u8]) -> Option<Value> {
        match self {
            Self::CallRequest => {
                let request = CallRequest::decode(bytes).ok()?;
                Some(json::from_struct(&request.args.unwrap_or_default()))
            }
            Self::Dynamic(descriptor) => json::from_bytes(descriptor, bytes).ok(),
            Self::Opaque => None,
            Self::Struct => Some(json::from_struct(&Struct::decode(bytes).ok()?)),
        }
    }
}

/// How many characters of a message are printed in one line.
const PRINTED: usize = 2000;

impl RecordedMessage {
    pub(super) fn new(stored: Stored, form: Form) -> Self {
        Self { stored, form }
    }

    /// When it arrived, or was handed to the connection. On tokio's clock, so paused time shows.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.stored.at
    }

    /// The encoded message, without gRPC's prefix, decompressed.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.stored.bytes
    }

    /// Whether it was compressed on the wire. The call's metadata tells by what (`grpc-encoding`).
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.stored.compressed
    }

    /// The message as JSON; of a schemaless request, its arguments.
    ///
    /// `Null`, when the mock has no schema for it, or it does not decode.
    #[must_use]
    pub fn json(&self) -> Value {
        self.form.json(&self.stored.bytes).unwrap_or_default()
    }

    /// The message as a prost type.
    ///
    /// # Errors
    ///
    /// When the bytes are no message of that type.
    pub fn decode<M: Message + Default>(&self) -> Result<M, Error> {
        M::decode(self.stored.bytes.clone()).map_err(|error| {
            let text = format!(
                "the recorded message is not a valid {}",
                std::any::type_name::<M>()
            );
            Error::new(Kind::Message, text).caused_by(error)
        })
    }
}

impl fmt::Debug for RecordedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form.json(&self.stored.bytes) {
            Some(json) => {
                let text = json.to_string();
                match text.char_indices().nth(PRINTED) {
                    Some((end, _)) => {
                        write!(f, "{}… <{} bytes>", &text[..end], self.stored.bytes.len())
                    }
                    None => f.write_str(&text),
                }
            }
            None => write!(f, "<{} bytes>", self.stored.bytes.len()),
        }
    }
}
