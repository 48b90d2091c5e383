//! What methods a server has, and JSON as their messages.

use crate::support::{ECHO_DESCRIPTOR_SET, echo_schema};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use rpcplugin_testkit::{Schema, Shape, proto};
use std::{error, ops::Range, panic};

/// `package|service|methods`, one file each.
fn schema_of(files: &[&str]) -> Schema {
    let mut set = FileDescriptorSet::default();
    for (number, file) in files.iter().enumerate() {
        let parts: Vec<_> = file.split('|').map(str::to_owned).collect();
        let [package, service, methods] = parts.try_into().expect("a file has three parts");
        let dot = if package.is_empty() { "" } else { "." };
        let of_message = format!("{dot}{package}.Message{number}");
        let method = methods.split(' ').map(|name| MethodDescriptorProto {
            name: Some(name.to_owned()),
            input_type: Some(of_message.clone()),
            output_type: Some(of_message.clone()),
            ..Default::default()
        });
        let service = ServiceDescriptorProto {
            name: Some(service),
            method: method.collect(),
            ..Default::default()
        };
        let message = DescriptorProto {
            name: Some(format!("Message{number}")),
            ..Default::default()
        };
        set.file.push(FileDescriptorProto {
            name: Some(format!("{number}.proto")),
            package: Some(package),
            syntax: Some("proto3".to_owned()),
            message_type: vec![message],
            service: vec![service],
            ..Default::default()
        });
    }
    Schema::from_descriptor_set(set.encode_to_vec()).expect("the set is consistent")
}

/// The full name of the method with that name, or what the error tells.
fn find(schema: &Schema, name: &str) -> Result<String, String> {
    let found = schema.method(name).map_err(|error| error.to_string());
    found.map(|method| method.full_name().to_owned())
}

#[test]
fn a_descriptor_set_has_its_services_methods_shapes_and_messages() {
    let schema = echo_schema();
    let services: Vec<_> = schema.services().collect();
    assert_eq!(services, ["echo.v1.Echo", "echo.v1.Parrot"]);
    let shapes = [
        (Shape::Unary, "Echo/Say Parrot/Say Parrot/Squawk", "unary"),
        (Shape::ServerStreaming, "Echo/Split", "server-streaming"),
        (Shape::ClientStreaming, "Echo/Join", "client-streaming"),
        (Shape::BidiStreaming, "Echo/Chat", "bidi-streaming"),
    ];
    for (shape, names, printed) in shapes {
        assert_eq!(shape.to_string(), printed);
        let both = shape == Shape::BidiStreaming;
        assert_eq!(
            shape.streams_requests(),
            both || printed.starts_with("client")
        );
        assert_eq!(
            shape.streams_replies(),
            both || printed.starts_with("server")
        );
        for name in names.split(' ') {
            let method = schema.method_at(&format!("/echo.v1.{name}")).unwrap();
            assert_eq!(method.full_name(), format!("echo.v1.{name}"));
            assert_eq!(method.path(), format!("/echo.v1.{name}"));
            assert_eq!(method.shape(), shape);
            assert_eq!(method.input().full_name(), "echo.v1.EchoRequest");
            assert_eq!(method.output().full_name(), "echo.v1.EchoReply");
        }
    }
    let listed: Vec<_> = schema
        .methods()
        .map(|method| &method.full_name()[8..])
        .collect();
    assert_eq!(
        listed.join(" "),
        "Echo/Say Echo/Split Echo/Join Echo/Chat Parrot/Say Parrot/Squawk"
    );
    for path in "|/|Say|echo.v1.Echo/Say|/echo.v1.Echo/say|/echo.v1.Echo.Say|/Echo/Say".split('|') {
        assert!(schema.method_at(path).is_none(), "{path}");
    }
    let message = schema.message("google.protobuf.Timestamp").unwrap();
    assert_eq!(message.name(), "Timestamp");
    assert!(schema.message("EchoRequest").is_none());
}

#[test]
fn a_descriptor_set_that_does_not_decode_or_fit_together_is_refused_with_the_cause() {
    const NOT_A_SET: &str = "the bytes are not an encoded FileDescriptorSet";
    const INCONSISTENT: &str = "the descriptor set is inconsistent";
    let set = FileDescriptorSet::decode(ECHO_DESCRIPTOR_SET).unwrap();
    assert_eq!(set.file[0].name(), "google/protobuf/any.proto");
    let [mut lacking, mut undefined, mut reversed] = [set.clone(), set.clone(), set];
    lacking.file.remove(0);
    let lacks = "imported file 'google/protobuf/any.proto' has not been added";
    let echo = undefined.file.last_mut().unwrap();
    echo.service[0].method[0].input_type = Some(".echo.v1.Nope".to_owned());
    let undefines = "name '.echo.v1.Nope' is not defined";
    let cases = [
        (b"junk".to_vec(), NOT_A_SET, "buffer underflow"),
        (
            ECHO_DESCRIPTOR_SET[..99].to_vec(),
            NOT_A_SET,
            "buffer underflow",
        ),
        (lacking.encode_to_vec(), INCONSISTENT, lacks),
        (undefined.encode_to_vec(), INCONSISTENT, undefines),
    ];
    for (bytes, text, cause) in cases {
        let error = Schema::from_descriptor_set(bytes).unwrap_err();
        assert_eq!(error.to_string(), text);
        let source = error::Error::source(&error).unwrap();
        assert!(source.to_string().ends_with(cause), "{error:?}");
        assert!(error.is_schema() && error.code().is_none(), "{error:?}");
    }
    // The order of the files is free.
    reversed.file.reverse();
    assert!(Schema::from_descriptor_set(reversed.encode_to_vec()).is_ok());
}

/// What `protoc` 27 and later write for a file with `edition = "2023"` instead of `syntax = "proto3"`.
#[test]
fn a_descriptor_set_of_an_edition_is_no_panic() {
    let mut set = FileDescriptorSet::decode(ECHO_DESCRIPTOR_SET).unwrap();
    set.file[1].syntax = Some("editions".to_owned());
    let schema = Schema::from_descriptor_set(set.encode_to_vec());
    assert!(schema.err().is_none_or(|error| error.is_schema()));
}

#[test]
fn a_damaged_descriptor_set_is_no_panic() {
    for at in (0..ECHO_DESCRIPTOR_SET.len()).step_by(3) {
        let mut flipped = ECHO_DESCRIPTOR_SET.to_vec();
        flipped[at] ^= 1;
        for bytes in [&flipped, &ECHO_DESCRIPTOR_SET[..at]] {
            let read = panic::catch_unwind(|| Schema::from_descriptor_set(bytes));
            let fine = read.map(|read| read.err().is_none_or(|error| error.is_schema()));
            assert!(fine.is_ok_and(|fine| fine), "byte {at} of {}", bytes.len());
        }
    }
}

#[test]
fn a_method_is_found_by_every_written_form_of_its_name() {
    let schema = echo_schema();
    for method in schema.methods() {
        let (service, name) = method.path()["/echo.v1.".len()..].split_once('/').unwrap();
        let full = format!("echo.v1.{service}/{name}");
        let mut forms = vec![full.clone(), format!("/{full}"), full.replace('/', ".")];
        for short in ["", "v1."] {
            forms.push(format!("{short}{service}.{name}"));
            forms.push(format!("{short}{service}/{name}"));
        }
        forms.extend((name != "Say").then(|| name.to_owned()));
        for form in forms {
            assert_eq!(find(&schema, &form), Ok(full.clone()), "{form}");
        }
    }
}

#[test]
fn an_unknown_or_ambiguous_name_lists_the_candidates() {
    let ambiguous = "is ambiguous: it could be echo.v1.Echo/Say, echo.v1.Parrot/Say";
    let known = "echo.v1.Echo/Chat, echo.v1.Echo/Join, echo.v1.Echo/Say, echo.v1.Echo/Split, echo.v1.Parrot/Say, \
                 echo.v1.Parrot/Squawk";
    let unknown = "Shout|chat|at|Parrot.Chat|x.Echo.Chat|cho.Chat|Echo|echo.v1.Echo|Chat.|.Chat|//Chat| Chat||/";
    let said = ["Say", "/Say"].map(|name| (name, format!("`{name}` {ambiguous}")));
    let unknown = unknown
        .split('|')
        .map(|name| (name, format!("unknown method `{name}`: known are {known}")));
    for (name, expected) in unknown.chain(said) {
        let error = echo_schema().method(name).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(error.is_unknown_method() && error.code().is_none());
    }
    let none = find(&Schema::from_descriptor_set([]).unwrap(), "Chat");
    let expected = "unknown method `Chat`: the schema has no methods";
    assert_eq!(none.unwrap_err(), expected);
}

#[test]
fn a_long_list_of_candidates_is_cut() {
    let names = |numbers: Range<u8>, before: &str, between: &str| {
        let names: Vec<_> = numbers.map(|number| format!("{before}{number}")).collect();
        names.join(between)
    };
    let schema = schema_of(&[&format!("a|S|{}", names(10..40, "M", " "))]);
    let listed = names(10..34, "a.S/M", ", ");
    let expected = format!("unknown method `Nope`: known are {listed} and 6 more");
    assert_eq!(find(&schema, "Nope"), Err(expected));
}

/// A longer name that ends like it must not make a full name unusable.
#[test]
fn a_full_name_is_never_ambiguous() {
    let schema = schema_of(&["|Store|Get", "kv|Store|Get", "legacy.kv|Store|Get"]);
    for full in ["legacy.kv.Store/Get", "kv.Store/Get", "Store/Get"] {
        for form in [full, &format!("/{full}"), &full.replace('/', ".")] {
            assert_eq!(find(&schema, form), Ok(full.to_owned()));
        }
    }
}

#[test]
fn the_services_of_the_plumbing_answer_to_their_full_names_only() {
    let plugin = Schema::from_descriptor_set(proto::FILE_DESCRIPTOR_SET).unwrap();
    let shop = schema_of(&[
        "grpc.health.v1|Health|Check Watch",
        "grpc.reflection.v1|ServerReflection|Info",
        "shop|Till|Check",
    ]);
    assert_eq!(find(&shop, "Check").unwrap(), "shop.Till/Check");
    let none = "the schema has no methods";
    let cases = [
        (&plugin, "rpcplugin.v1.Plugin/Call", none),
        (&plugin, "rpcplugin.v1.Plugin/ServerStream", none),
        (
            &shop,
            "grpc.health.v1.Health/Watch",
            "known are shop.Till/Check",
        ),
        (
            &shop,
            "grpc.reflection.v1.ServerReflection/Info",
            "known are shop.Till/Check",
        ),
    ];
    for (schema, full, known) in cases {
        let dotted = full.replace('/', ".");
        for form in [full, &format!("/{full}"), &dotted] {
            assert_eq!(find(schema, form).unwrap(), full);
        }
        for shorter in dotted.match_indices('.').map(|(dot, _)| &dotted[dot + 1..]) {
            let expected = format!("unknown method `{shorter}`: {known}");
            assert_eq!(find(schema, shorter), Err(expected));
        }
    }
}

#[test]
fn a_service_whose_name_only_begins_like_the_schemaless_one_is_not_plumbing() {
    let schema = schema_of(&["rpcplugin.v1|PluginAdmin|Purge"]);
    let full = "rpcplugin.v1.PluginAdmin/Purge".to_owned();
    assert_eq!(find(&schema, "Purge"), Ok(full));
}

#[cfg(feature = "proto-files")]
#[test]
fn proto_files_are_compiled_with_their_imports() {
    let listed = |schema: &Schema| {
        let paths = schema.methods().map(|method| method.path().to_owned());
        paths.collect::<Vec<_>>()
    };
    let compiled = [
        Schema::from_proto_file("proto/echo/v1/echo.proto"),
        Schema::from_proto_files(["echo/v1/echo.proto"], ["proto"]),
        Schema::from_proto_files(["proto/echo/v1/echo.proto"], ["src", "proto"]),
    ];
    for schema in compiled {
        assert_eq!(listed(&schema.unwrap()), listed(&echo_schema()));
    }
    let files = ["echo/v1/echo.proto", "rpcplugin/v1/plugin.proto"];
    let both = Schema::from_proto_files(files, ["proto"]).unwrap();
    assert_eq!(both.services().count(), 3);

    let directory = tempfile::tempdir().unwrap();
    let main = "import \"m.proto\"; package p; service S { rpc Do(M) returns (M); }";
    for (name, text) in [("m.proto", "package p; message M {}"), ("main.proto", main)] {
        let text = format!("syntax = \"proto3\"; {text}");
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let schema = Schema::from_proto_file(directory.path().join("main.proto")).unwrap();
    assert_eq!(listed(&schema), ["/p.S/Do"]);
}

#[cfg(feature = "proto-files")]
#[test]
fn proto_files_that_do_not_compile_are_told_with_their_place_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.proto");
    let told = |error: rpcplugin_testkit::Error| {
        assert!(error.is_schema() && error.code().is_none(), "{error:?}");
        format!("{error:?}")
    };
    let expected = "Schema: the .proto files do not compile\n  caused by: ";
    let cases = [
        (
            "message M {\n  strin a = 1;\n}",
            "bad.proto:3:3: name 'strin' is not defined",
        ),
        (
            "message M {\n  int32 a;\n}",
            "bad.proto:3:10: expected '=', but found ';'",
        ),
        (
            "import \"no.proto\";",
            "bad.proto:2:1: import 'no.proto' not found",
        ),
    ];
    for (text, problem) in cases {
        std::fs::write(&path, format!("syntax = \"proto3\";\n{text}")).unwrap();
        let error = told(Schema::from_proto_file(&path).unwrap_err());
        assert_eq!(error, format!("{expected}{problem}"));
    }
    let error = told(Schema::from_proto_files(["no.proto"], ["proto"]).unwrap_err());
    assert_eq!(
        error,
        format!("{expected}file 'no.proto' is not in any include path")
    );

    // Where a file breaks off there is no line to name, but the file there is.
    std::fs::write(&path, "syntax = \"proto3\";\nmessage M {\n").unwrap();
    let error = told(Schema::from_proto_file(&path).unwrap_err());
    assert!(
        error.contains("bad.proto") && error.contains("reached end of file"),
        "{error}"
    );
}
