//! JSON that names some fields of a message, in the names and forms in which messages are printed.

use crate::error::Error;
use crate::schema::json;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

/// The named fields as they would be printed: camelCase, enums by name, 64-bit integers as numbers. `null` stays for a
/// field that is unset.
pub(crate) fn canonical(descriptor: &MessageDescriptor, part: &Value) -> Result<Value, Error> {
    let whole = json::filled(descriptor, part)?;
    Ok(pick(descriptor, part, &whole))
}

/// Of the whole message what the part names.
fn pick(descriptor: &MessageDescriptor, part: &Value, whole: &Value) -> Value {
    let (Value::Object(named), Value::Object(all)) = (part, whole) else {
        return whole.clone();
    };
    if descriptor.full_name() == "google.protobuf.Any" {
        return pick_any(descriptor, named, all);
    }
    if has_own_json(descriptor) {
        return whole.clone();
    }
    let picked = named.iter().map(|(name, part)| {
        let Some(field) = field(descriptor, name) else {
            return (name.clone(), part.clone());
        };
        let name = field.json_name().to_owned();
        let value = match all.get(&name) {
            Some(whole) => pick_field(&field, part, whole),
            None => Value::Null,
        };
        (name, value)
    });
    Value::Object(picked.collect())
}

fn pick_field(field: &FieldDescriptor, part: &Value, whole: &Value) -> Value {
    let Kind::Message(message) = field.kind() else {
        return whole.clone();
    };
    match (part, whole) {
        (Value::Object(parts), Value::Object(all)) if field.is_map() => {
            let Kind::Message(entry) = message.map_entry_value_field().kind() else {
                return whole.clone();
            };
            let entries = all.iter().map(|(key, whole)| {
                let part = parts.get(key).unwrap_or(whole);
                (key.clone(), pick(&entry, part, whole))
            });
            Value::Object(entries.collect())
        }
        (Value::Array(parts), Value::Array(all)) if field.is_list() => {
            let pairs = parts.iter().zip(all);
            pairs
                .map(|(part, whole)| pick(&message, part, whole))
                .collect()
        }
        (part, whole) => pick(&message, part, whole),
    }
}

/// The fields of the packed message, and its type.
fn pick_any(
    any: &MessageDescriptor,
    named: &Map<String, Value>,
    all: &Map<String, Value>,
) -> Value {
    let kind = all.get("@type").and_then(Value::as_str).unwrap_or_default();
    let name = kind.rsplit('/').next().unwrap_or_default();
    let whole = Value::Object(all.clone());
    let Some(packed) = any.parent_pool().get_message_by_name(name) else {
        return whole;
    };
    let mut picked = pick(&packed, &Value::Object(named.clone()), &whole);
    if let Value::Object(fields) = &mut picked {
        fields.insert("@type".to_owned(), kind.into());
    }
    picked
}

/// The field of that name, as JSON or as the `.proto` file writes it.
pub(crate) fn field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    let by_json = descriptor.get_field_by_json_name(name);
    by_json.or_else(|| descriptor.get_field_by_name(name))
}

/// Whether ProtoJSON has a form of its own for the message, which is no object of its fields.
pub(crate) fn has_own_json(descriptor: &MessageDescriptor) -> bool {
    const OWN: [&str; 16] = [
        "Any",
        "BoolValue",
        "BytesValue",
        "DoubleValue",
        "Duration",
        "FieldMask",
        "FloatValue",
        "Int32Value",
        "Int64Value",
        "ListValue",
        "StringValue",
        "Struct",
        "Timestamp",
        "UInt32Value",
        "UInt64Value",
        "Value",
    ];
    let name = descriptor.full_name().strip_prefix("google.protobuf.");
    name.is_some_and(|name| OWN.contains(&name))
}
