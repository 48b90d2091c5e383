//! All four shapes, called in all three ways, over all three transports.

use crate::support::{Transport, echo, within};
use echo::{EchoReply, EchoRequest, echo_client::EchoClient};
use rpcplugin_testkit::{
    Call, CallStream, Client, MockServer, Outcome, Reply, Shape, Stub, Value, json,
};
use tokio_stream::StreamExt as _;

#[derive(Clone, Copy, Debug)]
enum Way {
    /// By name, with JSON.
    Dynamic,
    /// By a tonic-generated stub.
    Generated,
    /// By path, with prost messages.
    Typed,
}

const WAYS: [Way; 3] = [Way::Dynamic, Way::Generated, Way::Typed];
const SHAPES: [Shape; 4] = [
    Shape::BidiStreaming,
    Shape::ClientStreaming,
    Shape::ServerStreaming,
    Shape::Unary,
];

/// A mock that behaves as an echo service would.
async fn echo_server(transport: Transport) -> MockServer {
    let server = transport.start_echo().await;
    server.mount(
        Stub::method("Echo/Say").reply(|call: &Call| json!({"message": call.request()["message"]})),
    );
    server.mount(Stub::method("Split").reply(|call: &Call| {
        let message = call
            .message::<EchoRequest>()
            .expect("Split has a request")
            .message;
        Reply::stream(message.split(' ').map(|word| json!({"message": word})))
    }));
    server.mount(Stub::method("Join").reply(|call: Call| async move {
        let messages: Vec<_> = call
            .requests()
            .iter()
            .map(|request| request.json())
            .collect();
        let words: Vec<_> = messages
            .iter()
            .filter_map(|message| message["message"].as_str())
            .collect();
        json!({"message": words.join(" "), "count": words.len()})
    }));
    server.mount(
        Stub::method("Chat").reply(|mut stream: CallStream| async move {
            while let Some(message) = stream.recv().await? {
                let said = message["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_uppercase();
                stream.send(json!({"message": said})).await?;
            }
            Ok(())
        }),
    );
    server
}

fn request(message: &str) -> EchoRequest {
    EchoRequest {
        message: message.to_owned(),
        ..EchoRequest::default()
    }
}

fn requests() -> impl tokio_stream::Stream<Item = EchoRequest> + Send {
    tokio_stream::iter(["one", "two", "three"]).map(request)
}

fn arguments() -> impl tokio_stream::Stream<Item = Value> + Send {
    tokio_stream::iter(["one", "two", "three"]).map(|word| json!({"message": word}))
}

/// Calls the echo service in that way and gives the messages of the replies.
#[expect(
    clippy::too_many_lines,
    reason = "a table of four shapes in three ways"
)]
async fn call(client: &Client, shape: Shape, way: Way) -> Vec<String> {
    let text = |reply: EchoReply| reply.message;
    let json_text = |reply: Value| reply["message"].as_str().expect("a message").to_owned();
    let mut stub = EchoClient::new(client.clone());
    match (shape, way) {
        (Shape::Unary, Way::Dynamic) => {
            vec![json_text(
                client
                    .call("Echo/Say", json!({"message": "hi"}))
                    .await
                    .expect("an answer"),
            )]
        }
        (Shape::Unary, Way::Typed) => {
            vec![text(
                client
                    .unary("/echo.v1.Echo/Say", request("hi"))
                    .await
                    .expect("an answer"),
            )]
        }
        (Shape::Unary, Way::Generated) => {
            vec![text(
                stub.say(request("hi"))
                    .await
                    .expect("an answer")
                    .into_inner(),
            )]
        }
        (Shape::ServerStreaming, Way::Dynamic) => {
            let replies = client.call_server_stream("Split", json!({"message": "one two three"}));
            collect(replies.await.expect("an answer"))
                .await
                .into_iter()
                .map(json_text)
                .collect()
        }
        (Shape::ServerStreaming, Way::Typed) => {
            let replies = client.server_stream("/echo.v1.Echo/Split", request("one two three"));
            collect(replies.await.expect("an answer"))
                .await
                .into_iter()
                .map(text)
                .collect()
        }
        (Shape::ServerStreaming, Way::Generated) => {
            let replies = stub
                .split(request("one two three"))
                .await
                .expect("an answer")
                .into_inner();
            collect(replies).await.into_iter().map(text).collect()
        }
        (Shape::ClientStreaming, Way::Dynamic) => {
            vec![json_text(
                client
                    .call_client_stream("Join", arguments())
                    .await
                    .expect("an answer"),
            )]
        }
        (Shape::ClientStreaming, Way::Typed) => {
            vec![text(
                client
                    .client_stream("/echo.v1.Echo/Join", requests())
                    .await
                    .expect("an answer"),
            )]
        }
        (Shape::ClientStreaming, Way::Generated) => {
            vec![text(
                stub.join(requests()).await.expect("an answer").into_inner(),
            )]
        }
        (Shape::BidiStreaming, Way::Dynamic) => {
            let replies = client
                .call_bidi_stream("Chat", arguments())
                .await
                .expect("an answer");
            collect(replies).await.into_iter().map(json_text).collect()
        }
        (Shape::BidiStreaming, Way::Typed) => {
            let replies = client
                .bidi_stream("/echo.v1.Echo/Chat", requests())
                .await
                .expect("an answer");
            collect(replies).await.into_iter().map(text).collect()
        }
        (Shape::BidiStreaming, Way::Generated) => {
            let replies = stub.chat(requests()).await.expect("an answer").into_inner();
            collect(replies).await.into_iter().map(text).collect()
        }
    }
}

async fn collect<T, E: std::fmt::Debug>(
    stream: impl tokio_stream::Stream<Item = Result<T, E>>,
) -> Vec<T> {
    stream.map(|reply| reply.expect("a reply")).collect().await
}

/// What the echo service answers, and what the mock must have recorded.
fn expected(shape: Shape) -> (Vec<&'static str>, &'static str, Value) {
    let one = json!({"message": "hi"});
    let whole = json!({"message": "one two three"});
    let many = json!([{"message": "one"}, {"message": "two"}, {"message": "three"}]);
    match shape {
        Shape::Unary => (vec!["hi"], "echo.v1.Echo/Say", one),
        Shape::ServerStreaming => (vec!["one", "two", "three"], "echo.v1.Echo/Split", whole),
        Shape::ClientStreaming => (vec!["one two three"], "echo.v1.Echo/Join", many),
        Shape::BidiStreaming => (vec!["ONE", "TWO", "THREE"], "echo.v1.Echo/Chat", many),
    }
}

#[tokio::test]
async fn every_shape_works_in_every_way_over_every_transport_and_is_recorded() {
    for transport in Transport::ALL {
        let server = echo_server(transport).await;
        let client = Client::connect(server.address()).await.unwrap();
        for shape in SHAPES {
            for way in WAYS {
                let case = format!("{transport:?} {shape} {way:?}");
                let replies = within(call(&client, shape, way)).await;
                let (wanted, method, seen) = expected(shape);
                assert_eq!(replies, wanted, "{case}");

                let recorded = within(server.next_call()).await;
                assert_eq!(recorded, (method, seen), "{case}");
                assert_eq!(within(recorded.ended()).await, Outcome::Ok, "{case}");
                assert_eq!(recorded.shape(), Some(shape), "{case}");
                let sent: Vec<_> = recorded
                    .replies()
                    .iter()
                    .map(|reply| reply.json()["message"].clone())
                    .collect();
                assert_eq!(sent, wanted, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn every_shape_works_without_a_schema_over_every_transport() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        server.mount(Stub::method("Unary").reply(|call: &Call| json!({"got": call.request()})));
        server
            .mount(Stub::method("Server").reply(Reply::stream([json!({"n": 1}), json!({"n": 2})])));
        server.mount(
            Stub::method("Client").reply(|call: &Call| json!({"count": call.requests().len()})),
        );
        server.mount(
            Stub::method("Bidi").reply(|mut stream: CallStream| async move {
                while let Some(message) = stream.recv().await? {
                    stream.send(message).await?;
                }
                Ok(())
            }),
        );
        let client = server.client().await;
        let two = || tokio_stream::iter([json!({"n": 1}), json!({"n": 2})]);
        let both = [json!({"n": 1}), json!({"n": 2})];

        let unary = client.call("Unary", json!({"n": 1})).await.unwrap();
        assert_eq!(unary, json!({"got": {"n": 1}}));
        let replies = client
            .call_server_stream("Server", json!({"n": 0}))
            .await
            .unwrap();
        assert_eq!(within(collect(replies)).await, both);
        let counted = within(client.call_client_stream("Client", two()).into_future())
            .await
            .unwrap();
        assert_eq!(counted, json!({"count": 2}));
        let replies = client.call_bidi_stream("Bidi", two()).await.unwrap();
        assert_eq!(within(collect(replies)).await, both);

        let calls = server.calls();
        assert_eq!(calls[0], ("Unary", json!({"n": 1})));
        assert_eq!(calls[1], ("Server", json!({"n": 0})));
        assert_eq!(calls[2], ("Client", json!(both)));
        assert_eq!(calls[3], ("Bidi", json!(both)));
    }
}

#[tokio::test]
async fn a_call_of_another_shape_says_which_one_to_make() {
    let server = echo_server(Transport::Memory).await;
    let client = server.client().await;
    let error = client.call("Split", json!({})).await.unwrap_err();
    assert!(error.is_wrong_shape());
    assert_eq!(
        error.to_string(),
        "echo.v1.Echo/Split is server-streaming, and this is a unary call: use `Client::call_server_stream`"
    );
    assert!(server.calls().is_empty(), "{:?}", server.calls());
}

#[tokio::test]
async fn a_typed_path_that_is_none_is_refused_before_anything_is_sent() {
    let server = echo_server(Transport::Memory).await;
    let client = server.client().await;
    for path in [
        "echo.v1.Echo/Say",
        "/Say",
        "",
        "/a/b/c",
        "/echo.v1.Echo/Say?x=1",
        "/echo v1/Say",
    ] {
        let error = client
            .unary::<_, EchoReply>(path, request("hi"))
            .await
            .unwrap_err();
        assert!(error.is_unknown_method(), "{path}: {error:?}");
        let expected =
            format!("`{path}` is not the path of a method, expected `/pkg.Service/Method`");
        assert_eq!(error.to_string(), expected);
    }
    assert!(server.calls().is_empty(), "{:?}", server.calls());
}

#[tokio::test]
async fn a_schemaless_call_takes_an_object_and_nothing_else() {
    let server = Transport::Memory.start().await;
    server.mount(Stub::any().reply(json!({"ok": true})));
    let client = server.client().await;
    for wrong in [json!(1), json!("text"), json!([1]), json!(true)] {
        let error = client.call("Echo", wrong.clone()).await.unwrap_err();
        assert!(error.is_invalid_message());
        let expected =
            format!("the arguments of a schemaless call are {wrong}, expected a JSON object");
        assert_eq!(error.to_string(), expected);
    }
    client.call("Echo", Value::Null).await.unwrap();
    assert_eq!(server.calls(), [("Echo", json!({}))]);
}

#[tokio::test]
async fn a_message_that_does_not_fit_breaks_a_stream_with_the_reason() {
    let server = echo_server(Transport::Tcp).await;
    let client = server.client().await;
    let messages = tokio_stream::iter([json!({"message": "one"}), json!({"massage": "two"})]);
    let error = within(client.call_client_stream("Join", messages).into_future())
        .await
        .unwrap_err();
    assert!(error.is_invalid_message(), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the JSON does not fit echo.v1.EchoRequest"
    );
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "unrecognized field name 'massage'");

    let call = within(server.next_call()).await;
    assert_eq!(within(call.ended()).await, Outcome::Cancelled);
}

#[tokio::test]
async fn messages_larger_than_every_window_arrive_whole() {
    for transport in Transport::ALL {
        let server = large_server(transport).await;
        let client = Client::builder()
            .address(server.address())
            .max_message_size(64 << 20)
            .connect()
            .await
            .unwrap();
        let blob: Vec<u8> = (0..20_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let big = EchoRequest {
            blob: blob.clone(),
            ..EchoRequest::default()
        };
        let reply: EchoReply = within(client.unary("/echo.v1.Echo/Say", big).into_future())
            .await
            .unwrap();
        assert!(reply.blob == blob, "{transport:?}");
    }
}

/// A mock that takes messages of any size and gives the blob back.
async fn large_server(transport: Transport) -> MockServer {
    let builder = MockServer::builder().max_message_size(64 << 20);
    let builder = match transport {
        Transport::Memory => builder.memory(),
        Transport::Tcp => builder.tcp(),
        Transport::Unix => builder.unix(),
    };
    let server = builder.start().await;
    server.mount(Stub::method("echo.v1.Echo/Say").reply(|call: &Call| {
        let blob = call.message::<EchoRequest>().expect("a request").blob;
        Reply::message(&EchoReply {
            blob,
            ..EchoReply::default()
        })
    }));
    server
}
