//! One recorded call as JSON, both ways.
//!
//! What changes from one recording to the next is not in it: times, peers, connections, and the metadata that clients and
//! gRPC add by themselves.

use crate::mock::journal::{Call, Outcome, RecordedMessage, Target, text};
use crate::schema::{MethodName, Shape, json};
use crate::wire::status;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};

/// Names the format in a file, with its version.
pub(super) const FORMAT: &str = "rpcplugin-testkit recording 1";

/// A call as it is saved.
#[derive(Debug, PartialEq)]
pub(super) struct Recorded {
    pub(super) method: String,
    pub(super) form: Form,
    /// For people: no stub matches them.
    metadata: Value,
    pub(super) requests: Vec<Message>,
    pub(super) reply_metadata: Value,
    pub(super) replies: Vec<Message>,
    pub(super) end: End,
}

/// How the method and its messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A path, and bytes.
    Bytes,
    /// A schemaless call.
    Schemaless(Shape),
    /// A method of the schema, and JSON.
    Typed,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Bytes(Bytes),
    Json(Value),
}

/// How the call ended.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Status {
        code: Code,
        message: String,
        details: Bytes,
        trailers: Value,
    },
    /// Not with a status: in words.
    Without(String),
}

const SHAPES: [Shape; 4] = [
    Shape::BidiStreaming,
    Shape::ClientStreaming,
    Shape::ServerStreaming,
    Shape::Unary,
];

impl Recorded {
    pub(super) fn of(call: &Call) -> Self {
        let (requests, replies) = (call.requests(), call.replies());
        let form = match call.target() {
            Target::Schemaless { shape, .. } => Form::Schemaless(*shape),
            Target::Typed(method) => {
                let whole = |descriptor, messages: &[RecordedMessage]| {
                    let mut messages = messages.iter();
                    messages.all(|message| json::is_lossless(descriptor, message.bytes()))
                };
                if whole(method.input(), &requests) && whole(method.output(), &replies) {
                    Form::Typed
                } else {
                    Form::Bytes
                }
            }
            Target::Opaque(_) => Form::Bytes,
        };
        let messages = |messages: Vec<RecordedMessage>| {
            let messages = messages.into_iter();
            let saved = messages.map(|message| match form {
                Form::Bytes => Message::Bytes(message.bytes().clone()),
                Form::Schemaless(_) | Form::Typed => Message::Json(message.json()),
            });
            saved.collect()
        };
        Self {
            method: call.full_name().trim_start_matches('/').to_owned(),
            form,
            metadata: plain(call.metadata().as_ref()),
            requests: messages(requests),
            reply_metadata: plain(call.reply_metadata().as_ref()),
            replies: messages(replies),
            end: End::of(call.status(), call.outcome()),
        }
    }

    /// Whether a stub cannot tell this call from the other when it comes. What streams both ways (`bidi`) is known by its
    /// first message.
    pub(super) fn asks_the_same(&self, other: &Self, bidi: bool) -> bool {
        let known = |call: &Self| {
            let count = if bidi { 1 } else { call.requests.len() };
            call.requests
                .iter()
                .take(count)
                .cloned()
                .collect::<Vec<_>>()
        };
        (&self.method, self.form, known(self)) == (&other.method, other.form, known(other))
    }

    /// With the keys in alphabetical order, as they would be in any case.
    pub(super) fn to_json(&self) -> Value {
        let mut call = Map::new();
        let mut insert = |key: &str, value: Value| {
            let empty = match &value {
                Value::Array(values) => values.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                value => value.is_null(),
            };
            if !empty {
                call.insert(key.to_owned(), value);
            }
        };
        let messages = |messages: &[Message]| messages.iter().map(Message::to_json).collect();
        insert("form", self.form.name().into());
        insert("metadata", self.metadata.clone());
        insert("method", self.method.clone().into());
        if let End::Without(outcome) = &self.end {
            insert("outcome", outcome.clone().into());
        }
        insert("replies", messages(&self.replies));
        insert("reply_metadata", self.reply_metadata.clone());
        insert("requests", messages(&self.requests));
        if let Form::Schemaless(shape) = self.form {
            insert("shape", shape.to_string().into());
        }
        if let End::Status {
            code,
            message,
            details,
            trailers,
        } = &self.end
        {
            let mut status = json!({"code": status::name(*code)});
            if !details.is_empty() {
                status["details"] = BASE64_STANDARD.encode(details).into();
            }
            if !message.is_empty() {
                status["message"] = message.clone().into();
            }
            insert("status", status);
            insert("trailers", trailers.clone());
        }
        Value::Object(call)
    }

    /// What is wrong with it is told.
    pub(super) fn from_json(json: &Value) -> Result<Self, String> {
        let method = text_of(json, "method")?.ok_or("it has no `method`")?;
        let form = match text_of(json, "form")?.as_deref() {
            Some("bytes") => Form::Bytes,
            Some("schemaless") => {
                let shape = text_of(json, "shape")?.unwrap_or_default();
                let known = SHAPES.iter().find(|known| known.to_string() == shape);
                Form::Schemaless(*known.ok_or_else(|| format!("`{shape}` is no `shape`"))?)
            }
            Some("typed") => Form::Typed,
            form => {
                return Err(format!(
                    "its `form` is {form:?}, expected bytes, schemaless or typed"
                ));
            }
        };
        let messages = |key: &str| match &json[key] {
            Value::Null => Ok(Vec::new()),
            Value::Array(messages) => messages
                .iter()
                .map(|message| Message::from_json(message, form))
                .collect(),
            _ => Err(format!("its `{key}` are no array")),
        };
        Ok(Self {
            form,
            metadata: json["metadata"].clone(),
            requests: messages("requests")?,
            reply_metadata: json["reply_metadata"].clone(),
            replies: messages("replies")?,
            end: End::from_json(json)?,
            method,
        })
    }

    /// The name that stubs have, and none other is meant by.
    pub(super) fn method_name(&self) -> MethodName {
        match self.form {
            Form::Schemaless(_) => MethodName::full(&self.method),
            Form::Bytes | Form::Typed => MethodName::full(&format!("/{}", self.method)),
        }
    }
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Schemaless(_) => "schemaless",
            Self::Typed => "typed",
        }
    }
}

impl Message {
    fn to_json(&self) -> Value {
        match self {
            Self::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
            Self::Json(json) => json.clone(),
        }
    }

    fn from_json(json: &Value, form: Form) -> Result<Self, String> {
        match (form, json) {
            (Form::Bytes, json) => {
                let text = json
                    .as_str()
                    .ok_or("a message of bytes is no text in base64")?;
                decode_base64(text).map(Self::Bytes)
            }
            (Form::Schemaless(_) | Form::Typed, json) => Ok(Self::Json(json.clone())),
        }
    }
}

impl End {
    fn of(status: Option<Status>, outcome: Option<Outcome>) -> Self {
        match status {
            Some(status) => Self::Status {
                code: status.code(),
                message: status.message().to_owned(),
                details: Bytes::copy_from_slice(status.details()),
                trailers: plain(status.metadata().as_ref()),
            },
            None => Self::Without(
                outcome.map_or_else(|| "in flight".to_owned(), |outcome| outcome.to_string()),
            ),
        }
    }

    fn from_json(call: &Value) -> Result<Self, String> {
        let status = &call["status"];
        let Some(code) = text_of(status, "code")? else {
            let outcome = text_of(call, "outcome")?.ok_or("it has no `status` and no `outcome`")?;
            return Ok(Self::Without(outcome));
        };
        let known = (0..=16)
            .map(Code::from)
            .find(|known| status::name(*known) == code);
        let details = text_of(status, "details")?.unwrap_or_default();
        Ok(Self::Status {
            code: known.ok_or_else(|| format!("`{code}` is no status code"))?,
            message: text_of(status, "message")?.unwrap_or_default(),
            details: decode_base64(&details)?,
            trailers: call["trailers"].clone(),
        })
    }
}

/// A text, `None` when there is none.
fn text_of(json: &Value, key: &str) -> Result<Option<String>, String> {
    match &json[key] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(format!("its `{key}` is {other}, expected a text")),
    }
}

fn decode_base64(text: &str) -> Result<Bytes, String> {
    let decoded = BASE64_STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|error| format!("`{text}` is no base64: {error}"))
}

/// The metadata that people set: a text for each key, or an array of them.
fn plain(headers: &HeaderMap) -> Value {
    let mut plain = Map::new();
    let mut keys: Vec<_> = headers
        .keys()
        .filter(|key| !is_plumbing(key.as_str()))
        .collect();
    keys.sort_by_key(|key| key.as_str());
    for key in keys {
        let mut values: Vec<_> = headers
            .get_all(key)
            .iter()
            .map(text)
            .map(Value::from)
            .collect();
        let value = match values.len() {
            1 => values.remove(0),
            _ => Value::Array(values),
        };
        plain.insert(key.as_str().to_owned(), value);
    }
    Value::Object(plain)
}

fn is_plumbing(key: &str) -> bool {
    let own = ["content-length", "content-type", "date", "te", "user-agent"];
    own.contains(&key) || key.starts_with("grpc-")
}
