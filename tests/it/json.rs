//! JSON as the messages of a method, and of a call without a schema.

use crate::support::{echo_schema, rows, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Call, Client, Error, MockServer, Stub, Value, json};

/// `object` with the fields of `patch`.
fn with(object: &Value, patch: &Value) -> Value {
    let mut object = object.clone();
    for (name, value) in patch.as_object().expect("a patch is an object") {
        object[name] = value.clone();
    }
    object
}

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
async fn a_schemaless_integer_beyond_two_to_the_53_is_rounded_and_still_equal_to_what_was_sent() {
    let (server, client) = schemaless().await;
    for (index, (sent, rounded)) in rows(ROUNDED).enumerate() {
        let (sent, rounded) = (parse(sent), parse(rounded));
        send(&client, "N", sent.clone()).await.unwrap();
        let call = &server.calls()[index];
        assert_eq!(call.request(), rounded, "{sent}");
        assert_eq!(*call, ("N", rounded));
        assert_eq!(*call, ("N", sent));
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
