//! What methods a server has, and JSON as their messages.

use crate::support::{ECHO_DESCRIPTOR_SET, echo_schema, within};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use rpcplugin_testkit::{Call, Client, Error, MockServer, Schema, Shape, Stub, Value, json, proto};
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

/// The rows of a table.
fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = table.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(" => ").expect("a row has two columns"))
}

/// The full name of the method with that name, or what the error tells.
fn find(schema: &Schema, name: &str) -> Result<String, String> {
    let found = schema.method(name).map_err(|error| error.to_string());
    found.map(|method| method.full_name().to_owned())
}

/// `object` with the fields of `patch`.
fn with(object: &Value, patch: &Value) -> Value {
    let mut object = object.clone();
    for (name, value) in patch.as_object().expect("a patch is an object") {
        object[name] = value.clone();
    }
    object
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
    assert_eq!(set.file[0].name(), "google/protobuf/timestamp.proto");
    let [mut lacking, mut undefined, mut reversed] = [set.clone(), set.clone(), set];
    lacking.file.remove(0);
    let lacks = "imported file 'google/protobuf/timestamp.proto' has not been added";
    undefined.file[1].service[0].method[0].input_type = Some(".echo.v1.Nope".to_owned());
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
    let told = |error: Error| {
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

// JSON as the messages of a method, and of a call without a schema.

const SAY: &str = "echo.v1.Echo/Say";

/// A mock of the echo service that answers with what it got, and its client.
async fn echo() -> (MockServer, Client) {
    let builder = MockServer::builder().schema(echo_schema()).memory();
    let server = within(builder.start()).await;
    server.mount(Stub::method(SAY).reply(|call: &Call| {
        let request = call.request();
        json!({"message": request["message"], "count": request["times"], "blob": request["blob"]})
    }));
    server.mount(Stub::method("Join").reply(json!({})));
    let client = within(server.client()).await;
    (server, client)
}

/// A mock without a schema that answers with what it got, and its client.
async fn schemaless() -> (MockServer, Client) {
    let server = within(MockServer::memory()).await;
    server.mount(Stub::any().reply(|call: &Call| call.request()));
    let client = within(server.client()).await;
    (server, client)
}

async fn send(client: &Client, method: &str, args: Value) -> Result<Value, Error> {
    within(client.call(method, args).into_future()).await
}

fn parse(json: &str) -> Value {
    json.parse()
        .unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// A request of which nothing is set.
fn unset() -> Value {
    json!({
        "message": "", "times": 0, "bigNumber": 0, "mood": "MOOD_UNSPECIFIED", "tags": [], "counts": {},
        "blob": "", "ratio": 0.0
    })
}

/// What is sent, and what is recorded besides the defaults.
const FITS: &str = r#"
{} => {}
{"message":"héllo \u0000","times":-2147483648} => {"message":"héllo \u0000","times":-2147483648}
{"times":3.0} => {"times":3}
{"times":"3"} => {"times":3}
{"bigNumber":9007199254740993} => {"bigNumber":9007199254740993}
{"bigNumber":"9007199254740993"} => {"bigNumber":9007199254740993}
{"bigNumber":-9223372036854775808} => {"bigNumber":-9223372036854775808}
{"bigNumber":9223372036854775807} => {"bigNumber":9223372036854775807}
{"big_number":7,"sent_at":"2024-05-06T07:08:09Z"} => {"bigNumber":7,"sentAt":"2024-05-06T07:08:09Z"}
{"mood":"MOOD_LOUD"} => {"mood":"MOOD_LOUD"}
{"mood":1} => {"mood":"MOOD_CALM"}
{"mood":99} => {"mood":99}
{"tags":["b","a","b"]} => {"tags":["b","a","b"]}
{"counts":{"a":1,"":0}} => {"counts":{"a":1,"":0}}
{"nickname":""} => {"nickname":""}
{"nickname":"n"} => {"nickname":"n"}
{"user":""} => {"user":""}
{"room":0} => {"room":0}
{"room":9007199254740993} => {"room":9007199254740993}
{"user":null,"room":1} => {"room":1}
{"message":null,"times":null,"tags":null,"counts":null,"nickname":null,"mood":null,"sentAt":null} => {}
{"sentAt":"1970-01-01T00:00:00Z"} => {"sentAt":"1970-01-01T00:00:00Z"}
{"sentAt":"2024-05-06T09:08:09.5+02:00"} => {"sentAt":"2024-05-06T07:08:09.500Z"}
{"sentAt":"2024-05-06T07:08:09.123456789Z"} => {"sentAt":"2024-05-06T07:08:09.123456789Z"}
{"blob":"AAEC/w=="} => {"blob":"AAEC/w=="}
{"blob":"AAEC_w"} => {"blob":"AAEC/w=="}
{"ratio":1} => {"ratio":1.0}
{"ratio":-0.125} => {"ratio":-0.125}
{"ratio":"NaN"} => {"ratio":"NaN"}
{"ratio":"-Infinity"} => {"ratio":"-Infinity"}
"#;

#[tokio::test]
async fn a_typed_request_is_recorded_with_its_defaults_and_exact_numbers() {
    let (server, client) = echo().await;
    for (index, (sent, recorded)) in rows(FITS).enumerate() {
        let (sent, recorded) = (parse(sent), parse(recorded));
        let expected = with(&unset(), &recorded);
        let reply = send(&client, SAY, sent.clone()).await.unwrap();
        let call = &server.calls()[index];
        // `Value` tells `1` from `1.0`, so the kinds of the numbers are compared too.
        assert_eq!(call.request(), expected, "{sent}");
        for (replied, sent) in [("message", "message"), ("count", "times"), ("blob", "blob")] {
            assert_eq!(reply[replied], expected[sent], "{expected}");
        }
        for written in [sent, recorded, expected] {
            assert_eq!(*call, ("Say", written));
        }
    }
}

/// What is sent, and why it does not fit.
const MISFITS: &str = r#"
{"nope":1} => unrecognized field name 'nope'
{"Message":"x"} => unrecognized field name 'Message'
{"message":5} => `message`: invalid type: integer `5`, expected a string
{"message":{}} => `message`: invalid type: map, expected a string
{"times":true} => `times`: invalid type: boolean `true`, expected a 32-bit signed integer
{"times":1.5} => `times`: expected integer value
{"times":2147483648} => `times`: out of range integral type conversion attempted
{"times":""} => `times`: cannot parse integer from empty string
{"bigNumber":9223372036854775808} => `bigNumber`: out of range integral type conversion attempted
{"mood":"MOOD_HAPPY"} => `mood`: unrecognized enum value 'MOOD_HAPPY'
{"mood":true} => `mood`: invalid type: boolean `true`, expected a string or integer
{"tags":"a"} => `tags`: invalid type: string "a", expected a list
{"tags":[null]} => `tags[0]`: invalid type: null, expected a string
{"counts":[]} => `counts`: invalid type: sequence, expected a map
{"counts":{"a":"x"}} => `counts.a`: invalid digit found in string
{"user":"u","room":1} => multiple fields provided for oneof 'target'
{"sentAt":"yesterday"} => `sentAt`: invalid rfc3339 timestamp: invalid date
{"sentAt":5} => `sentAt`: invalid type: integer `5`, expected a rfc3339 timestamp string
{"blob":"***"} => `blob`: invalid base64: Invalid symbol 42, offset 0.
{"blob":[1]} => `blob`: invalid type: sequence, expected a base64-encoded string
[] => invalid type: sequence, expected a map
"x" => invalid type: string "x", expected a map
"#;

#[tokio::test]
async fn json_that_does_not_fit_its_message_is_refused_and_not_sent() {
    let (server, client) = echo().await;
    for (sent, problem) in rows(MISFITS) {
        let error = send(&client, SAY, parse(sent)).await.expect_err(sent);
        let text = "the JSON does not fit echo.v1.EchoRequest";
        assert_eq!(error.to_string(), text, "{sent}");
        // The cause is told once.
        let debug = format!("Message: {text}\n  caused by: {problem}");
        assert_eq!(format!("{error:?}"), debug, "{sent}");
        assert!(error.is_invalid_message() && error.status().is_none());
    }
    // Calls of one connection arrive in order, so anything sent before would be recorded by now.
    send(&client, SAY, json!({})).await.unwrap();
    assert_eq!(server.calls(), [("Say", json!({}))]);
}

const SENT: &str = r#"{"message":"hi","times":1,"bigNumber":9007199254740993,"ratio":2,"mood":"MOOD_CALM",
    "user":"u","tags":["a","b"],"counts":{"a":1}}"#;

/// Changes to it that make no difference.
const SAME: &str = r#"{}|{"times":1.0}|{"ratio":2.0}|{"mood":1}|{"bigNumber":"9007199254740993"}|{"blob":""}|
    {"nickname":null}"#;

/// Changes to it that make a difference.
const OTHER: &str = r#"{"message":"ho"}|{"message":""}|{"times":2}|{"times":1.5}|{"times":"one"}|
    {"bigNumber":9007199254740992}|{"bigNumber":9007199254740992.0}|{"ratio":2.0000001}|{"mood":"MOOD_LOUD"}|
    {"mood":"MOOD_HAPPY"}|{"user":null}|{"user":"v"}|{"room":1}|{"tags":["b","a"]}|{"tags":["a"]}|{"tags":null}|
    {"counts":{"a":1,"b":0}}|{"counts":{}}|{"nickname":""}|{"blob":"AA=="}|{"nope":1}|{"nope":null}|
    {"sentAt":"1970-01-01T00:00:00Z"}"#;

#[tokio::test]
async fn a_call_equals_a_name_and_json_by_value() {
    let (server, client) = echo().await;
    send(&client, SAY, parse(SENT)).await.unwrap();
    let call = &server.calls()[0];
    for name in
        "Say Echo.Say Echo/Say echo.v1.Echo.Say echo.v1.Echo/Say /echo.v1.Echo/Say".split(' ')
    {
        assert_eq!(*call, (name, parse(SENT)));
        assert_eq!((name.to_owned(), parse(SENT)), *call);
    }
    for name in "|say|ay|Chat|Parrot.Say|echo.v1.Parrot/Say|x.echo.v1.Echo/Say".split('|') {
        assert_ne!(*call, (name, parse(SENT)));
    }
    for patch in SAME.split('|') {
        assert_eq!(*call, ("Say", with(&parse(SENT), &parse(patch))));
    }
    for patch in OTHER.split('|') {
        assert_ne!(*call, ("Say", with(&parse(SENT), &parse(patch))));
    }
    for request in ["{}", "null", "[]", "\"hi\"", "1", &format!("[{SENT}]")] {
        assert_ne!(*call, ("Say", parse(request)));
    }
}

#[tokio::test]
async fn the_messages_of_a_client_stream_equal_an_array() {
    let (server, client) = echo().await;
    let messages = [json!({"times": 1}), json!({}), json!({"ratio": 3})];
    let joined = client.call_client_stream("Join", tokio_stream::iter(messages.clone()));
    within(joined.into_future()).await.unwrap();
    let call = &server.calls()[0];
    assert_eq!(*call, ("Join", json!(messages)));
    let spelled = r#"[{"times":1.0,"message":""},{"tags":[]},{"ratio":3.0}]"#;
    assert_eq!(*call, ("Join", parse(spelled)));
    for other in [&messages[..2], &messages[1..], &[]] {
        assert_ne!(*call, ("Join", json!(other)));
    }
    let [one, two, three] = messages;
    assert_ne!(*call, ("Join", json!([two, one, three])));
    assert_ne!(*call, ("Join", one));
}

/// What is sent without a schema, and what is recorded and answered.
const STRUCTS: &str = r#"
{} => {}
{"n":1} => {"n":1}
{"n":1.0} => {"n":1}
{"n":-3} => {"n":-3}
{"n":-0.0} => {"n":0}
{"n":1.5} => {"n":1.5}
{"n":-1e-300} => {"n":-1e-300}
{"n":1e300} => {"n":1e300}
{"n":9007199254740991} => {"n":9007199254740991}
{"n":9007199254740992} => {"n":9007199254740992}
{"n":-9007199254740992} => {"n":-9007199254740992}
{"n":9007199254740994} => {"n":9007199254740994.0}
{"n":-9007199254740994} => {"n":-9007199254740994.0}
{"n":-9223372036854775808} => {"n":-9223372036854775808.0}
{"a":null,"b":true,"c":false,"d":"","e":"é"} => {"a":null,"b":true,"c":false,"d":"","e":"é"}
{"l":[],"m":[1,[2.0,[null,"x",{}]],{"k":-1.25}]} => {"l":[],"m":[1,[2,[null,"x",{}]],{"k":-1.25}]}
{"o":{"p":{"":{"q":[{"r":1}]}}}} => {"o":{"p":{"":{"q":[{"r":1}]}}}}
{"bigNumber":"9007199254740993","big_number":1} => {"bigNumber":"9007199254740993","big_number":1}
"#;

#[tokio::test]
async fn a_schemaless_request_is_recorded_and_answered_with_whole_numbers_as_integers() {
    let (server, client) = schemaless().await;
    for (index, (sent, recorded)) in rows(STRUCTS).enumerate() {
        let (sent, recorded) = (parse(sent), parse(recorded));
        let reply = send(&client, "Any.Name", sent.clone()).await.unwrap();
        let call = &server.calls()[index];
        assert_eq!(call.request(), recorded, "{sent}");
        assert_eq!(reply, recorded, "{sent}");
        for name in ["Any.Name", "Name", "/Any/Name"] {
            assert_eq!(*call, (name, sent.clone()));
            assert_eq!(*call, (name, recorded.clone()));
        }
        assert_ne!(*call, ("Name", with(&sent, &json!({"more": null}))));
        assert_ne!(*call, ("Other", sent));
    }
}

/// A `google.protobuf.Struct` has doubles only: an integer without a double of its own becomes the nearest that has.
const ROUNDED: &str = r#"
{"n":9007199254740993} => {"n":9007199254740992}
{"n":-9007199254740993} => {"n":-9007199254740992}
{"n":9007199254740995} => {"n":9007199254740996.0}
{"n":9223372036854775807} => {"n":9223372036854775808.0}
{"n":18446744073709551615} => {"n":18446744073709551616.0}
"#;

#[tokio::test]
async fn a_schemaless_integer_beyond_two_to_the_53_is_rounded_and_no_longer_equal() {
    let (server, client) = schemaless().await;
    for (index, (sent, rounded)) in rows(ROUNDED).enumerate() {
        let (sent, rounded) = (parse(sent), parse(rounded));
        send(&client, "N", sent.clone()).await.unwrap();
        let call = &server.calls()[index];
        assert_eq!(call.request(), rounded, "{sent}");
        assert_eq!(*call, ("N", rounded));
        assert_ne!(*call, ("N", sent));
    }
}

#[tokio::test]
async fn schemaless_arguments_that_are_no_object_are_refused_and_not_sent() {
    let (server, client) = schemaless().await;
    for args in [json!([1]), json!("x"), json!(1), json!(true)] {
        let error = send(&client, "Any", args.clone()).await.unwrap_err();
        let expected =
            format!("the arguments of a schemaless call are {args}, expected a JSON object");
        assert_eq!(error.to_string(), expected);
        assert!(error.is_invalid_message(), "{error:?}");
    }
    // No arguments at all are none.
    send(&client, "Any", json!(null)).await.unwrap();
    assert_eq!(server.calls(), [("Any", json!({}))]);
}

/// However deep JSON may be, it arrives, or the client says so: it is never taken for something else.
#[tokio::test]
async fn deep_schemaless_arguments_arrive_or_are_refused() {
    let (_server, client) = schemaless().await;
    let refusal = "the arguments of a schemaless call are nested deeper than 32 levels, which protobuf does not decode";
    for list in [false, true] {
        let mut inner = json!(1);
        for levels in 1..=60 {
            let args = json!({"n": inner});
            match send(&client, "Deep", args.clone()).await {
                Ok(reply) => assert_eq!((&reply, levels <= 32), (&args, true)),
                Err(error) => {
                    assert_eq!(error.to_string(), refusal);
                    assert!(levels > 32 && error.is_invalid_message(), "{levels}");
                }
            }
            inner = if list { json!([inner]) } else { args };
        }
    }
}
