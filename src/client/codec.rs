//! JSON as a tonic codec.

use crate::error::{Error, Kind};
use crate::proto::rpcplugin::v1::CallRequest;
use crate::schema::{Method, Shape, json};
use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message as _;
use prost_types::Struct;
use serde_json::{Map, Value};
use std::sync::{Arc, OnceLock};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// How the JSON of one call becomes messages.
#[derive(Clone, Debug)]
pub(crate) struct JsonCodec {
    form: Form,
    /// The only message of the call, encoded already.
    ready: Option<Bytes>,
    /// The first message of a stream that did not fit. tonic keeps no more than the text of an encoder's error.
    failure: Option<Arc<OnceLock<Error>>>,
}

#[derive(Clone, Debug)]
enum Form {
    /// By the schema of the method.
    Schema(Arc<Method>),
    /// As structs, with the method's name in the first message. A stream is opened by a message with the name alone, so
    /// that the server knows the method before there are arguments.
    Schemaless { method: String, opening: bool },
}

impl JsonCodec {
    pub(crate) fn by_schema(method: Arc<Method>) -> Self {
        Self::new(Form::Schema(method))
    }

    pub(crate) fn schemaless(method: String, shape: Shape) -> Self {
        let opening = shape.streams_requests();
        Self::new(Form::Schemaless { method, opening })
    }

    fn new(form: Form) -> Self {
        Self {
            form,
            ready: None,
            failure: None,
        }
    }

    /// Encodes the only message of a call, so that one that does not fit is told before anything is sent.
    pub(crate) fn prepare(&mut self, args: &Value) -> Result<(), Error> {
        self.ready = Some(self.encode(args)?.into());
        Ok(())
    }

    /// How many messages of no content the stream begins with.
    pub(crate) fn openings(&self) -> usize {
        usize::from(matches!(self.form, Form::Schemaless { opening: true, .. }))
    }

    /// Where a message that does not fit is told, if it is not encoded beforehand.
    pub(crate) fn failure(&mut self) -> Arc<OnceLock<Error>> {
        Arc::clone(self.failure.get_or_insert_default())
    }

    fn encode(&mut self, args: &Value) -> Result<Vec<u8>, Error> {
        Ok(match &mut self.form {
            Form::Schema(method) => json::to_message(method.input(), args)?.encode_to_vec(),
            Form::Schemaless { method, opening } => {
                let opens = std::mem::take(opening);
                let request = CallRequest {
                    method: std::mem::take(method),
                    args: if opens { None } else { Some(to_struct(args)?) },
                };
                request.encode_to_vec()
            }
        })
    }
}

impl Codec for JsonCodec {
    type Encode = Value;
    type Decode = Value;
    type Encoder = JsonEncoder;
    type Decoder = JsonDecoder;

    fn encoder(&mut self) -> JsonEncoder {
        let ready = self.ready.take();
        JsonEncoder(Self {
            ready,
            ..self.clone()
        })
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
        let encoded = match self.0.ready.take() {
            Some(ready) => Ok(ready),
            None => self.0.encode(&args).map(Bytes::from),
        };
        let encoded = encoded.map_err(|error| {
            let status = Status::invalid_argument(error.chain());
            if let Some(failure) = &self.0.failure {
                // The first is told.
                let _ = failure.set(error);
            }
            status
        })?;
        buffer.put(encoded);
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct JsonDecoder(JsonCodec);

impl Decoder for JsonDecoder {
    type Item = Value;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Value>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let value = match &self.0.form {
            Form::Schema(method) => json::from_bytes(method.output(), &bytes)?,
            Form::Schemaless { .. } => {
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
    json::to_struct(if args.is_null() { &none } else { args }).map_err(|problem| {
        Error::new(
            Kind::Message,
            format!("the arguments of a schemaless call are {problem}"),
        )
    })
}
