//! Whether bytes are a message of a type, without making one of them.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};
use prost_reflect::{Cardinality, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};

/// Reads all of a message and keeps nothing.
///
/// # Errors
///
/// Where, and as, [`DynamicMessage::decode`] has one.
pub(crate) fn check(descriptor: &MessageDescriptor, bytes: Bytes) -> Result<(), DecodeError> {
    Checked::new(descriptor.clone()).merge(bytes)
}

/// A message whose fields are read one by one, by prost as it reads those of generated types.
#[derive(Debug)]
struct Checked {
    descriptor: MessageDescriptor,
    /// For fields that are no single value: lists, maps, groups, extensions, and those that the type does not have.
    others: Option<Box<DynamicMessage>>,
}

impl Checked {
    const fn new(descriptor: MessageDescriptor) -> Self {
        Self {
            descriptor,
            others: None,
        }
    }

    /// The field of that number, if it has one value.
    fn single(&self, number: u32) -> Option<FieldDescriptor> {
        let field = self.descriptor.get_field(number)?;
        let is_single = field.cardinality() != Cardinality::Repeated && !field.is_group();
        is_single.then_some(field)
    }
}

impl Message for Checked {
    fn merge_field(
        &mut self,
        number: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        let Some(field) = self.single(number) else {
            let others = || Box::new(DynamicMessage::new(self.descriptor.clone()));
            let others = self.others.get_or_insert_with(others);
            return others.merge_field(number, wire_type, buf, ctx);
        };
        match field.kind() {
            // On the wire all of these are alike.
            Kind::Bool
            | Kind::Enum(_)
            | Kind::Int32
            | Kind::Int64
            | Kind::Sint32
            | Kind::Sint64
            | Kind::Uint32
            | Kind::Uint64 => encoding::uint64::merge(wire_type, &mut 0, buf, ctx),
            Kind::Fixed32 | Kind::Float | Kind::Sfixed32 => {
                encoding::fixed32::merge(wire_type, &mut 0, buf, ctx)
            }
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
                encoding::fixed64::merge(wire_type, &mut 0, buf, ctx)
            }
            Kind::Bytes => encoding::bytes::merge(wire_type, &mut Bytes::new(), buf, ctx),
            Kind::String => encoding::string::merge(wire_type, &mut String::new(), buf, ctx),
            Kind::Message(inner) => {
                encoding::message::merge(wire_type, &mut Self::new(inner), buf, ctx)
            }
        }
    }

    fn encode_raw(&self, _: &mut impl BufMut) {}

    fn encoded_len(&self) -> usize {
        0
    }

    fn clear(&mut self) {
        self.others = None;
    }
}

#[cfg(test)]
mod tests {
    use crate::schema::Schema;
    use crate::schema::check::check;
    use bytes::Bytes;
    use proptest::{collection, prelude::*};
    use prost::Message as _;
    use prost::encoding::{encode_key, encode_varint};
    use prost_reflect::{DynamicMessage, MessageDescriptor};
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    };
    use std::sync::LazyLock;

    /// With a field of every type, in its number; 11 is the message itself, 10 a group, and what is 20 more is a list of it.
    fn all_types() -> MessageDescriptor {
        let field = |number: i32, label: Label| {
            let kind = Type::try_from(number % 20).expect("a type");
            let type_name = match kind {
                Type::Group => Some(".All.Group".to_owned()),
                Type::Message => Some(".All".to_owned()),
                Type::Enum => Some(".All.Enum".to_owned()),
                _ => None,
            };
            let mut field = FieldDescriptorProto {
                name: Some(format!("field_{number}")),
                number: Some(number),
                type_name,
                ..FieldDescriptorProto::default()
            };
            field.set_type(kind);
            field.set_label(label);
            field
        };
        let one = (1..=18).map(|number| field(number, Label::Optional));
        let many = (21..=38).map(|number| field(number, Label::Repeated));
        let value = prost_types::EnumValueDescriptorProto {
            name: Some("ZERO".to_owned()),
            number: Some(0),
            ..prost_types::EnumValueDescriptorProto::default()
        };
        let all = DescriptorProto {
            name: Some("All".to_owned()),
            field: one.chain(many).collect(),
            nested_type: vec![DescriptorProto {
                name: Some("Group".to_owned()),
                field: vec![field(1, Label::Optional), field(9, Label::Optional)],
                ..DescriptorProto::default()
            }],
            enum_type: vec![prost_types::EnumDescriptorProto {
                name: Some("Enum".to_owned()),
                value: vec![value],
                ..prost_types::EnumDescriptorProto::default()
            }],
            ..DescriptorProto::default()
        };
        let file = FileDescriptorProto {
            name: Some("all.proto".to_owned()),
            message_type: vec![all],
            ..FileDescriptorProto::default()
        };
        let set = FileDescriptorSet { file: vec![file] };
        let schema = Schema::from_descriptor_set(set.encode_to_vec()).expect("it is one");
        schema.message("All").expect("it is in it")
    }

    fn echo_request() -> MessageDescriptor {
        let set = include_bytes!("../../proto/generated/echo.bin");
        let schema = Schema::from_descriptor_set(set).expect("the echo schema is valid");
        let request = schema.message("echo.v1.EchoRequest");
        request.expect("it is in the schema")
    }

    /// The wire type that a field of this number has in `All`, mostly.
    fn wire_type(number: u32) -> u8 {
        match number % 20 {
            1 | 6 | 16 => 1,
            2 | 7 | 15 => 5,
            9 | 11 | 12 => 2,
            10 => 3,
            _ => 0,
        }
    }

    /// One field as it is written: mostly well.
    fn field(inner: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let wire = prop_oneof![4 => Just(None), 1 => (0..8_u8).prop_map(Some)];
        let numbers = (any::<u64>(), 0..8_u32);
        (0..40_u32, wire, numbers, inner).prop_map(|(number, wire, (value, width), inner)| {
            let wire = wire.unwrap_or_else(|| wire_type(number));
            let mut bytes = Vec::new();
            encode_varint(u64::from(number << 3) | u64::from(wire), &mut bytes);
            match wire {
                0 => encode_varint(value >> (8 * width), &mut bytes),
                1 => bytes.extend(value.to_le_bytes()),
                2 => {
                    encode_varint(inner.len() as u64, &mut bytes);
                    bytes.extend(inner);
                }
                3 => {
                    bytes.extend(inner);
                    encode_key(
                        number.max(1),
                        prost::encoding::WireType::EndGroup,
                        &mut bytes,
                    );
                }
                5 => bytes.extend(&value.to_le_bytes()[..4]),
                _ => {}
            }
            bytes
        })
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            ".{0,4}".prop_map(String::into_bytes),
            collection::vec(any::<u8>(), 0..4),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            collection::vec(field(inner), 0..4).prop_map(|fields| fields.concat())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_takes_and_refuses_what_prost_reflect_does(bytes in message(), cut in prop_oneof![3 => Just(0), 1 => 0..4_usize]) {
            let bytes = Bytes::from(bytes);
            let bytes = bytes.slice(..bytes.len() - cut.min(bytes.len()));
            static TYPES: LazyLock<[MessageDescriptor; 2]> = LazyLock::new(|| [all_types(), echo_request()]);
            for descriptor in &*TYPES {
                let checked = check(descriptor, bytes.clone()).map_err(|error| error.to_string());
                let decoded = DynamicMessage::decode(descriptor.clone(), bytes.clone());
                let decoded = decoded.map(drop).map_err(|error| error.to_string());
                prop_assert_eq!(checked, decoded, "{:?}", bytes);
            }
        }
    }

    #[test]
    fn a_message_in_a_message_has_an_end() {
        let nested = |depth: usize| {
            let mut bytes = Vec::new();
            for _ in 0..depth {
                let mut outer = Vec::new();
                prost::encoding::bytes::encode(11, &bytes, &mut outer);
                bytes = outer;
            }
            Bytes::from(bytes)
        };
        let all = all_types();
        for (depth, taken) in [(100, true), (101, false), (1000, false)] {
            let bytes = nested(depth);
            let decoded = DynamicMessage::decode(all.clone(), bytes.clone());
            assert_eq!(
                (check(&all, bytes).is_ok(), decoded.is_ok()),
                (taken, taken),
                "{depth}"
            );
        }
    }
}
