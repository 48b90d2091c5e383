//! Endpoints as JSON.
//!
//! None of serde's untagged enums: their mistakes have no line.

use crate::address::Address;
use crate::endpoint::Endpoint;
use serde::de::{
    Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use std::fmt;

/// The endpoints, or the mistake in words that begin with its line.
pub(super) fn read(contents: &[u8]) -> Result<Vec<Endpoint>, String> {
    let all: All = serde_json::from_slice(contents).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let what = text.strip_suffix(&format!(" at line {line} column {column}"));
        format!("line {line} column {column}: {}", what.unwrap_or(&text))
    })?;
    Ok(all.0.into_iter().map(|Entry(endpoint)| endpoint).collect())
}

/// The whole file.
struct All(Vec<Entry>);

/// The whole file as an object.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct AllObject {
    endpoints: Vec<Entry>,
}

struct Entry(Endpoint);

/// An endpoint that is more than its address.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryObject {
    #[serde(deserialize_with = "address")]
    address: Address,
    #[serde(default = "one", deserialize_with = "whole")]
    weight: u32,
    #[serde(default, deserialize_with = "whole")]
    priority: u32,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default, deserialize_with = "name")]
    tls_name: Option<String>,
}

fn one() -> u32 {
    1
}

impl<'de> Deserialize<'de> for All {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = All;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an array of endpoints, or an object with one under the key `endpoints`",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<All, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(All)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<All, A::Error> {
                let object = AllObject::deserialize(MapAccessDeserializer::new(map))?;
                Ok(All(object.endpoints))
            }
        }

        deserializer.deserialize_any(Written)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or an object with the key `address`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Entry, E> {
                let address: Address = text.parse().map_err(E::custom)?;
                Ok(Entry(address.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                let object = EntryObject::deserialize(MapAccessDeserializer::new(map))?;
                let mut endpoint = Endpoint::from(object.address)
                    .weight(object.weight)
                    .priority(object.priority)
                    .tags(object.tags);
                endpoint.tls_name = object.tls_name;
                Ok(Entry(endpoint))
            }
        }

        deserializer.deserialize_any(Written)
    }
}

/// A text that means something. What it does not mean is told at its place.
struct Meaning<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for Meaning<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    deserializer.deserialize_str(Meaning {
        expected: "an address",
        parse: |text| {
            text.parse()
                .map_err(|error: crate::error::Error| error.to_string())
        },
    })
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserializer.deserialize_str(Meaning {
        expected: "the name of a certificate",
        parse: |text| match text {
            "" => Err("`tls_name` is empty, expected the name of a certificate".to_owned()),
            name => Ok(Some(name.to_owned())),
        },
    })
}

fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    struct Whole;

    impl Visitor<'_> for Whole {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from 0 to {}", u32::MAX)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u32, E> {
            let told = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
            u32::try_from(number).map_err(told)
        }
    }

    deserializer.deserialize_u32(Whole)
}

#[cfg(test)]
mod tests {
    use crate::client::discovery::file::format::read;
    use crate::endpoint::Endpoint;
    use pretty_assertions::assert_eq;

    #[test]
    fn an_endpoint_is_an_address_or_an_object() {
        let endpoint = |address: &str| Endpoint::new(address).unwrap();
        let expected = [
            endpoint("a:1"),
            endpoint("unix:/run/b"),
            endpoint("https://10.0.0.3:50051")
                .weight(0)
                .priority(u32::MAX)
                .tags(["eu", ""])
                .tls_name("plugins.internal"),
            endpoint("c:3"),
        ];
        let array = r#"["a:1", "unix:\/run\/b", {
            "address": "https://10.0.0.3:50051", "weight": 0, "priority": 4294967295,
            "tags": ["eu", ""], "tls_name": "plugins.internal"
        }, {"address": "c:3"}]"#;
        assert_eq!(read(array.as_bytes()).unwrap(), expected);
        let object = format!(r#"{{"endpoints": {array}}}"#);
        assert_eq!(read(object.as_bytes()).unwrap(), expected);
        for empty in ["[]", " [\n] ", r#"{"endpoints": []}"#] {
            assert_eq!(read(empty.as_bytes()).unwrap(), []);
        }
    }

    /// What is written, and what is wrong with it.
    const MISTAKES: &[(&str, &str)] = &[
        ("", "line 1 column 0: EOF while parsing a value"),
        (
            "[\n\"a:1\",\n\"b:2\"",
            "line 3 column 5: EOF while parsing a list",
        ),
        ("[\"a:1\",]", "line 1 column 8: trailing comma"),
        ("[] []", "line 1 column 4: trailing characters"),
        (
            "3",
            "line 1 column 1: invalid type: integer `3`, expected an array of endpoints, or an object with one under the key `endpoints`",
        ),
        ("{}", "line 1 column 2: missing field `endpoints`"),
        (
            "{\"endpoint\": []}",
            "line 1 column 11: unknown field `endpoint`, expected `endpoints`",
        ),
        (
            "{\"endpoints\": [],\n\"endpoints\": []}",
            "line 2 column 11: duplicate field `endpoints`",
        ),
        (
            "{\"endpoints\": {}}",
            "line 1 column 14: invalid type: map, expected a sequence",
        ),
        (
            "[\n  \"a\"\n]",
            "line 2 column 5: invalid address `a`: the port is missing; expected `host:port`, `http://host:port`, `https://host:port`, `unix:/path` or `memory:name`",
        ),
        (
            "[null]",
            "line 1 column 5: invalid type: null, expected an address, or an object with the key `address`",
        ),
        (
            "[\n[]]",
            "line 2 column 2: invalid type: sequence, expected an address, or an object with the key `address`",
        ),
        ("[{}]", "line 1 column 3: missing field `address`"),
        (
            "[{\"weight\": 1\n}]",
            "line 2 column 1: missing field `address`",
        ),
        (
            "[{\"address\": 5}]",
            "line 1 column 14: invalid type: integer `5`, expected an address",
        ),
        (
            "[{\n\"address\": \"ftp://a:1\",\n\"weight\": 1}]",
            "line 2 column 22: invalid address `ftp://a:1`: unknown scheme `ftp`; expected `host:port`, `http://host:port`, `https://host:port`, `unix:/path` or `memory:name`",
        ),
        (
            "[{\"address\": \"a:1\",\n  \"wieght\": 3}]",
            "line 2 column 10: unknown field `wieght`, expected one of `address`, `weight`, `priority`, `tags`, `tls_name`",
        ),
        (
            "[{\"address\": \"a:1\",\n  \"weight\": \"x\"\n}]",
            "line 2 column 15: invalid type: string \"x\", expected a whole number from 0 to 4294967295",
        ),
        (
            "[{\"address\": \"a:1\", \"weight\": -1}]",
            "line 1 column 32: invalid type: integer `-1`, expected a whole number from 0 to 4294967295",
        ),
        (
            "[{\"address\": \"a:1\", \"weight\": 1.5}]",
            "line 1 column 33: invalid type: floating point `1.5`, expected a whole number from 0 to 4294967295",
        ),
        (
            "[{\"address\": \"a:1\", \"weight\": null}]",
            "line 1 column 34: invalid type: null, expected a whole number from 0 to 4294967295",
        ),
        (
            "[{\"address\": \"a:1\", \"priority\": 4294967296}]",
            "line 1 column 42: invalid value: integer `4294967296`, expected a whole number from 0 to 4294967295",
        ),
        (
            "[{\"address\": \"a:1\", \"tags\": \"eu\"}]",
            "line 1 column 32: invalid type: string \"eu\", expected a sequence",
        ),
        (
            "[{\"address\": \"a:1\",\n\"tags\": [\"eu\", 5]}]",
            "line 2 column 16: invalid type: integer `5`, expected a string",
        ),
        (
            "[{\"address\": \"a:1\", \"tls_name\": \"\"}]",
            "line 1 column 34: `tls_name` is empty, expected the name of a certificate",
        ),
        (
            "[{\"address\": \"a:1\", \"tls_name\": 5}]",
            "line 1 column 33: invalid type: integer `5`, expected the name of a certificate",
        ),
        (
            "[{\"address\": \"a:1\", \"address\": \"a:2\"}]",
            "line 1 column 29: duplicate field `address`",
        ),
    ];

    #[test]
    fn a_mistake_is_told_where_it_is() {
        let told: Vec<_> = MISTAKES
            .iter()
            .map(|(text, _)| (*text, read(text.as_bytes()).unwrap_err()))
            .collect();
        let expected: Vec<_> = MISTAKES
            .iter()
            .map(|(text, mistake)| (*text, (*mistake).to_owned()))
            .collect();
        assert_eq!(told, expected);
        assert_eq!(
            read(b"[\"\xff\"]").unwrap_err(),
            "line 1 column 3: invalid unicode code point"
        );
    }
}
