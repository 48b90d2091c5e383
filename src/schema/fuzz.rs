//! Any JSON, any path: nothing panics, and what is taken comes back.

use crate::schema::json::{
    from_message, from_struct, hash, is_lossless, same, to_message, to_struct,
};
use crate::schema::{Extent, FieldPath, Schema, canonical, differences};
use proptest::{collection, prelude::*};
use prost::Message as _;
use prost_reflect::MessageDescriptor;
use serde_json::{Map, Value};

fn request() -> MessageDescriptor {
    let set = include_bytes!("../../proto/generated/echo.bin");
    let schema = Schema::from_descriptor_set(set).expect("the echo schema is valid");
    schema
        .message("echo.v1.EchoRequest")
        .expect("it is in the schema")
}

/// Names of fields, and others.
fn name() -> impl Strategy<Value = String> {
    let known = [
        "message",
        "times",
        "bigNumber",
        "big_number",
        "mood",
        "tags",
        "counts",
        "nickname",
        "user",
        "room",
        "sentAt",
        "blob",
        "ratio",
        "extra",
        "label",
        "limit",
        "settings",
        "inner",
        "@type",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

fn text() -> impl Strategy<Value = String> {
    let known = [
        "MOOD_LOUD",
        "NaN",
        "-Infinity",
        "2026-01-01T00:00:00Z",
        "AQI=",
        "12",
        "1e3",
    ];
    let any = "type.googleapis.com/echo.v1.EchoReply";
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        Just(any.to_owned()),
        ".{0,8}",
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3..3_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let fields = collection::vec((name(), inner.clone()), 0..4);
        let object = fields.prop_map(|fields| Value::Object(Map::from_iter(fields)));
        prop_oneof![
            1 => collection::vec(inner, 0..4).prop_map(Value::from),
            2 => object,
        ]
    })
}

/// The same value with small integers as doubles.
fn twin(json: &Value) -> Value {
    match json {
        Value::Number(number) => match number
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
        {
            Some(small) => Value::from(f64::from(small)),
            None => json.clone(),
        },
        Value::Array(values) => values.iter().map(twin).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), twin(value)))
            .collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_becomes_a_message_or_an_error_and_comes_back(json in json()) {
        let descriptor = request();
        if let Ok(message) = to_message(&descriptor, &json) {
            let printed = from_message(&message);
            let again = to_message(&descriptor, &printed);
            // Only what has no JSON does not come back: times and Anys out of range.
            if let Ok(again) = again {
                prop_assert!(same(&from_message(&again), &printed), "{json} {printed}");
            }
            prop_assert!(is_lossless(&descriptor, &message.encode_to_vec()) || printed.to_string().contains('<'), "{json} {printed}");
            let part = canonical(&descriptor, &json).expect("it fits");
            prop_assert!(differences(&part, &printed, Extent::Named).is_empty(), "{json} {part} {printed}");
        }
    }

    #[test]
    fn structs_come_back_and_equal_values_have_equal_hashes(json in json()) {
        if let Ok(fields) = to_struct(&json) {
            let back = from_struct(&fields);
            // Integers beyond 2^53 are rounded.
            prop_assert_eq!(to_struct(&back).expect("it was one"), fields);
        }
        let twin = twin(&json);
        prop_assert!(same(&json, &twin));
        prop_assert_eq!(hash(&json), hash(&twin));
        prop_assert!(differences(&json, &twin, Extent::Whole).is_empty());
    }

    #[test]
    fn paths_lead_somewhere_or_nowhere(written in prop_oneof![".{0,20}", "(/|\\.|\\[)?(inner|tags|counts|settings|mood|0|1|a)((/|\\.|\\[)(inner|tags|counts|settings|mood|0|1|a)\\]?){0,4}"], json in json()) {
        let set = include_bytes!("../../proto/generated/echo.bin");
        let schema = Schema::from_descriptor_set(set).expect("the echo schema is valid");
        for method in schema.methods() {
            let mut path = FieldPath::new(&written);
            if let Ok(leaf) = path.resolve(method) {
                let _ = leaf.canonical(&json);
            }
            let _ = path.find(&json);
        }
    }
}
