//! The path to a field: `user.tags[0]`, or as a [JSON pointer](https://www.rfc-editor.org/rfc/rfc6901) `/user/tags/0`.

use crate::error::Error;
use crate::schema::json;
use crate::schema::method::Method;
use crate::schema::partial::{field, has_own_json};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

/// A path as it was written, and its steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    written: String,
    steps: Vec<String>,
}

/// What a path leads to, by the schema.
#[derive(Clone, Debug)]
pub(crate) enum Leaf {
    /// One element of a list.
    Element(MessageDescriptor, FieldDescriptor),
    /// One value of a map.
    Entry(MessageDescriptor, FieldDescriptor, String),
    /// A field as a whole.
    Field(MessageDescriptor, FieldDescriptor),
    /// Something without a type, such as the inside of a `google.protobuf.Struct`.
    Free,
    /// A message of a stream.
    Message(MessageDescriptor),
    /// All messages of a stream.
    Stream,
}

impl FieldPath {
    pub(crate) fn new(written: &str) -> Self {
        let steps = match written.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => written
                .split(['.', '['])
                .map(|step| step.trim_end_matches(']').to_owned())
                .filter(|step| !step.is_empty())
                .collect(),
        };
        let written = written.to_owned();
        Self { written, steps }
    }

    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The value at the path.
    pub(crate) fn find<'a>(&self, json: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(json, |json, step| match json {
            Value::Object(fields) => fields.get(step),
            Value::Array(values) => values.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Follows the path through the request of this method: its steps take the names in which messages are printed.
    /// A step that leads nowhere is told.
    pub(crate) fn resolve(&mut self, method: &Method) -> Result<Leaf, String> {
        let mut leaf = if method.shape().streams_requests() {
            Leaf::Stream
        } else {
            Leaf::Message(method.input().clone())
        };
        for step in &mut self.steps {
            leaf = leaf.step(step, method.input())?;
        }
        Ok(leaf)
    }
}

impl Leaf {
    fn step(self, step: &mut String, input: &MessageDescriptor) -> Result<Self, String> {
        let index = |of: &str| match step.parse::<usize>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("{of} is a list, and `{step}` is no index")),
        };
        match self {
            Self::Free => Ok(Self::Free),
            Self::Stream => index("the request").map(|()| Self::Message(input.clone())),
            Self::Message(message) => field_of(&message, step),
            Self::Field(message, field) if field.is_list() => {
                index(field.name()).map(|()| Self::Element(message, field))
            }
            Self::Field(message, field) if field.is_map() => {
                Ok(Self::Entry(message, field, step.clone()))
            }
            Self::Element(_, field) | Self::Field(_, field) => inside(&field, &field.kind(), step),
            Self::Entry(_, field, _) => match field.kind() {
                Kind::Message(entry) => inside(&field, &entry.map_entry_value_field().kind(), step),
                _ => Ok(Self::Free),
            },
        }
    }

    /// The value as it would be printed there.
    pub(crate) fn canonical(&self, value: &Value) -> Result<Value, Error> {
        let of_field = |message: &MessageDescriptor, field: &FieldDescriptor, value: Value| {
            let name = field.json_name();
            let fields = Map::from_iter([(name.to_owned(), value)]);
            Ok::<_, Error>(json::filled(message, &Value::Object(fields))?[name].take())
        };
        match self {
            _ if value.is_null() => Ok(Value::Null),
            Self::Free | Self::Stream => Ok(value.clone()),
            Self::Message(message) => json::filled(message, value),
            Self::Field(message, field) => of_field(message, field, value.clone()),
            Self::Element(message, field) => {
                let list = Value::Array(vec![value.clone()]);
                Ok(of_field(message, field, list)?[0].take())
            }
            Self::Entry(message, field, key) => {
                let map = Map::from_iter([(key.clone(), value.clone())]);
                Ok(of_field(message, field, Value::Object(map))?[key.as_str()].take())
            }
        }
    }
}

fn inside(field: &FieldDescriptor, kind: &Kind, step: &mut String) -> Result<Leaf, String> {
    match kind {
        Kind::Message(message) => field_of(message, step),
        kind => Err(format!(
            "{} is of type {kind:?} and has no `{step}`",
            field.name()
        )),
    }
}

fn field_of(message: &MessageDescriptor, step: &mut String) -> Result<Leaf, String> {
    if has_own_json(message) {
        return Ok(Leaf::Free);
    }
    let Some(field) = field(message, step) else {
        let names: Vec<_> = message
            .fields()
            .map(|field| field.name().to_owned())
            .collect();
        let names = crate::schema::pool::list(&names, 24);
        return Err(format!(
            "{} has no field `{step}`; it has {names}",
            message.full_name()
        ));
    };
    field.json_name().clone_into(step);
    Ok(Leaf::Field(message.clone(), field))
}
