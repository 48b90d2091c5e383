//! JSON ↔ protobuf, and comparing JSON by value.
//!
//! Messages become [ProtoJSON](https://protobuf.dev/programming-guides/json/) with three choices of ours, made for
//! assertions: fields without presence are printed when they have their default too, 64-bit integers are numbers and
//! not strings (`serde_json` keeps all their digits), and the whole doubles of a `google.protobuf.Struct` are integers.

use crate::error::{Error, Kind};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::{ListValue, Struct, value::Kind as StructKind};
use serde_json::{Map, Number, Value};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

const PRINTED: SerializeOptions = SerializeOptions::new()
    .skip_default_fields(false)
    .stringify_64_bit_integers(false);

/// A decoded message as JSON.
pub(crate) fn from_message(message: &DynamicMessage) -> Value {
    message
        .serialize_with_options(serde_json::value::Serializer, &PRINTED)
        // Only a timestamp or duration out of range, or an Any of an unknown type, has no JSON.
        .unwrap_or_else(|error| Value::String(format!("<{error}>")))
}

/// Encoded bytes of that type as JSON without the fields that have their default. `None`, when they are no such message.
pub(crate) fn sparse(descriptor: &MessageDescriptor, bytes: &[u8]) -> Option<Value> {
    const SPARSE: SerializeOptions = PRINTED.skip_default_fields(true);
    let message = DynamicMessage::decode(descriptor.clone(), bytes).ok()?;
    message
        .serialize_with_options(serde_json::value::Serializer, &SPARSE)
        .ok()
}

/// JSON of that type in the form in which messages are printed: with defaults filled in, names and numbers in one form.
pub(crate) fn filled(descriptor: &MessageDescriptor, json: &Value) -> Result<Value, Error> {
    Ok(from_message(&to_message(descriptor, json)?))
}

/// Encoded bytes of that type as JSON.
pub(crate) fn from_bytes(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<Value, Error> {
    let message = DynamicMessage::decode(descriptor.clone(), bytes).map_err(|error| {
        let text = format!("the message is not a valid {}", descriptor.full_name());
        Error::new(Kind::Message, text).caused_by(error)
    })?;
    Ok(from_message(&message))
}

/// Whether the bytes are a message of that type that its JSON has whole.
pub(crate) fn is_lossless(descriptor: &MessageDescriptor, bytes: &[u8]) -> bool {
    let message = DynamicMessage::decode(descriptor.clone(), bytes);
    message.is_ok_and(|message| {
        let back = to_message(descriptor, &from_message(&message));
        // What has no JSON, such as an unknown field, is missing in length. (The bytes themselves differ in maps' order.)
        back.is_ok_and(|back| back.encoded_len() == message.encoded_len())
    })
}

/// JSON as a message of that type. An unknown field is an error, `null` is an unset one.
pub(crate) fn to_message(
    descriptor: &MessageDescriptor,
    json: &Value,
) -> Result<DynamicMessage, Error> {
    DynamicMessage::deserialize(descriptor.clone(), json).map_err(|error| {
        let cause = match misfit(descriptor, json) {
            Some(place) => format!("`{place}`: {error}"),
            None => error.to_string(),
        };
        Error::new(
            Kind::Message,
            format!("the JSON does not fit {}", descriptor.full_name()),
        )
        .caused_by(cause)
    })
}

/// Which field does not fit. Asked only after a failure: watching the way there takes time.
fn misfit(descriptor: &MessageDescriptor, json: &Value) -> Option<String> {
    let mut track = serde_path_to_error::Track::new();
    let watched = serde_path_to_error::Deserializer::new(json, &mut track);
    DynamicMessage::deserialize(descriptor.clone(), watched).err()?;
    Some(track.path().to_string()).filter(|path| path != ".")
}

/// How deep JSON may be nested: a struct takes three levels of messages for each of its own, and protobuf's decoders
/// stop at 100.
const DEEPEST: usize = 32;

/// The JSON object as a struct, or what it is instead.
pub(crate) fn to_struct(json: &Value) -> Result<Struct, String> {
    if !json.is_object() {
        return Err(format!("{json}, expected a JSON object"));
    }
    if is_deeper(json, DEEPEST) {
        return Err(format!(
            "nested deeper than {DEEPEST} levels, which protobuf does not decode"
        ));
    }
    Ok(to_struct_fields(json))
}

fn is_deeper(json: &Value, levels: usize) -> bool {
    let inner = |value: &Value| is_deeper(value, levels - 1);
    match json {
        Value::Array(values) => levels == 0 || values.iter().any(inner),
        Value::Object(fields) => levels == 0 || fields.values().any(inner),
        _ => false,
    }
}

fn to_struct_fields(json: &Value) -> Struct {
    let fields = json.as_object().into_iter().flatten();
    Struct {
        fields: fields
            .map(|(name, value)| (name.clone(), to_struct_value(value)))
            .collect(),
    }
}

fn to_struct_value(json: &Value) -> prost_types::Value {
    let kind = match json {
        Value::Null => StructKind::NullValue(0),
        Value::Bool(value) => StructKind::BoolValue(*value),
        Value::Number(number) => StructKind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => StructKind::StringValue(text.clone()),
        Value::Array(values) => StructKind::ListValue(ListValue {
            values: values.iter().map(to_struct_value).collect(),
        }),
        Value::Object(_) => StructKind::StructValue(to_struct_fields(json)),
    };
    prost_types::Value { kind: Some(kind) }
}

/// A struct as a JSON object. A number without a fraction becomes an integer, as it most likely was one.
pub(crate) fn from_struct(fields: &Struct) -> Value {
    let fields = fields.fields.iter();
    Value::Object(
        fields
            .map(|(name, value)| (name.clone(), from_struct_value(value)))
            .collect::<Map<_, _>>(),
    )
}

fn from_struct_value(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(StructKind::NullValue(_)) => Value::Null,
        Some(StructKind::BoolValue(value)) => Value::Bool(*value),
        Some(StructKind::NumberValue(number)) => from_double(*number),
        Some(StructKind::StringValue(text)) => Value::String(text.clone()),
        Some(StructKind::ListValue(list)) => list.values.iter().map(from_struct_value).collect(),
        Some(StructKind::StructValue(fields)) => from_struct(fields),
    }
}

/// JSON as it comes back from a struct, whose numbers are doubles.
pub(crate) fn rounded(json: &Value) -> Value {
    match json {
        Value::Number(number) => number.as_f64().map_or(Value::Null, from_double),
        Value::Array(values) => values.iter().map(rounded).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            Value::Object(
                fields
                    .map(|(name, value)| (name.clone(), rounded(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// Up to here every integer has a double of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn from_double(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is a whole number within i64"
        )]
        return Value::from(number as i64);
    }
    // JSON has no NaN and no infinity; ProtoJSON writes them as these strings.
    Number::from_f64(number).map_or_else(|| Value::String(odd_double(number)), Value::Number)
}

fn odd_double(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number > 0.0 {
        "Infinity".to_owned()
    } else {
        "-Infinity".to_owned()
    }
}

/// Whether two JSON values are equal, with numbers compared by value: `1` is `1.0`.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => same_number(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

fn same_number(left: &Number, right: &Number) -> bool {
    if left.is_f64() == right.is_f64() {
        return left == right;
    }
    // One is an integer and the other a double: equal, if the double is that very integer.
    let (integer, double) = if left.is_f64() {
        (right, left)
    } else {
        (left, right)
    };
    let (Some(double), Some(rounded)) = (double.as_f64(), integer.as_f64()) else {
        return false;
    };
    #[expect(clippy::cast_possible_truncation, reason = "checked by comparing back")]
    let back = double as i128;
    let exact = integer
        .as_i64()
        .map(i128::from)
        .or_else(|| integer.as_u64().map(i128::from));
    double.fract() == 0.0 && Some(back) == exact && rounded == double
}

/// A hash that [`same`] values have in common.
pub(crate) fn hash(json: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    feed(json, &mut hasher);
    hasher.finish()
}

fn feed(json: &Value, hasher: &mut DefaultHasher) {
    match json {
        Value::Null => 0_u8.hash(hasher),
        Value::Bool(value) => value.hash(hasher),
        // Numbers are the same by value, so an integer is hashed as the double next to it; and there is one zero.
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let number = if number == 0.0 { 0.0 } else { number };
            number.to_bits().hash(hasher);
        }
        Value::String(text) => text.hash(hasher),
        Value::Array(values) => {
            values.len().hash(hasher);
            values.iter().for_each(|value| feed(value, hasher));
        }
        // In whatever order they stand.
        Value::Object(fields) => {
            let sum = fields.iter().fold(0_u64, |sum, (name, value)| {
                let mut hasher = DefaultHasher::new();
                name.hash(&mut hasher);
                feed(value, &mut hasher);
                sum.wrapping_add(hasher.finish())
            });
            sum.hash(hasher);
        }
    }
}
