//! JSON as a tonic codec.

use crate::error::{Error, Kind};
use crate::proto::rpcplugin::v1::CallRequest;
use crate::schema::{Method, json};
use bytes::Buf as _;
use prost::Message as _;
use prost_types::Struct;
use serde_json::{Map, Value};
use std::sync::Arc;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// How the JSON of one call becomes messages.
#[derive(Clone, Debug)]
pub(crate) enum JsonCodec {
    /// By the schema of the method.
    Schema(Arc<Method>),
    /// As a struct, with the method's name in the message.
    Schemaless { method: String },
}

impl JsonCodec {
    /// Whether these arguments fit, told before anything is sent.
    pub(crate) fn check(&self, args: &Value) -> Result<(), Error> {
        match self {
            Self::Schema(method) => json::to_message(method.input(), args).map(drop),
            Self::Schemaless { .. } => to_struct(args).map(drop),
        }
    }
}

impl Codec for JsonCodec {
    type Encode = Value;
    type Decode = Value;
    type Encoder = JsonEncoder;
    type Decoder = JsonDecoder;

    fn encoder(&mut self) -> JsonEncoder {
        JsonEncoder(self.clone())
    }

    fn decoder(&mut self) -> JsonDecoder {
        JsonDecoder(self.clone())
    }
}

#[derive(Debug)]
pub(crate) struct JsonEncoder(JsonCodec);

impl Encoder for JsonEncoder {
    type Item = Value;
    type Error = Status;

    fn encode(&mut self, args: Value, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match &mut self.0 {
            JsonCodec::Schema(method) => json::to_message(method.input(), &args)?.encode(buffer),
            JsonCodec::Schemaless { method } => {
                let request = CallRequest {
                    // Only the first message of a stream needs it.
                    method: std::mem::take(method),
                    args: Some(to_struct(&args)?),
                };
                request.encode(buffer)
            }
        }
        .map_err(|error| Status::internal(error.to_string()))
    }
}

#[derive(Debug)]
pub(crate) struct JsonDecoder(JsonCodec);

impl Decoder for JsonDecoder {
    type Item = Value;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Value>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let value = match &self.0 {
            JsonCodec::Schema(method) => json::from_bytes(method.output(), &bytes)?,
            JsonCodec::Schemaless { .. } => {
                let reply = Struct::decode(bytes).map_err(|error| {
                    let text = "the reply is not a google.protobuf.Struct";
                    Status::from(Error::new(Kind::Message, text).caused_by(error))
                })?;
                json::from_struct(&reply)
            }
        };
        Ok(Some(value))
    }
}

/// No arguments at all are an empty struct.
fn to_struct(args: &Value) -> Result<Struct, Error> {
    let none = Value::Object(Map::new());
    json::to_struct(if args.is_null() { &none } else { args }).ok_or_else(|| {
        let text = format!("the arguments of a schemaless call are {args}, expected a JSON object");
        Error::new(Kind::Message, text)
    })
}
