//! Independent judges: a stock tonic client for the mock, a stock tonic server for the client.

use crate::support::{ECHO_DESCRIPTOR_SET, Transport, echo, within};
use echo::{
    EchoReply, EchoRequest,
    echo_client::EchoClient,
    echo_server::{Echo, EchoServer},
};
use prost::Message as _;
use rpcplugin_testkit::{
    Address, Call, CallStream, Client, Code, Outcome, Reply, ServingStatus, Status, Stub, Value,
    json,
};
use std::{pin::Pin, time::Duration};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Streaming,
    metadata::MetadataValue,
    transport::{Channel, Endpoint, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

pub(crate) fn request(message: &str) -> EchoRequest {
    EchoRequest {
        message: message.to_owned(),
        ..EchoRequest::default()
    }
}

fn words() -> impl Stream<Item = EchoRequest> + Send + 'static {
    tokio_stream::iter(["one", "two", "three"]).map(request)
}

pub(crate) async fn channel(address: &Address) -> Channel {
    let uri = match address {
        Address::Unix(path) => format!("unix://{}", path.display()),
        other => other.uri(),
    };
    Endpoint::from_shared(uri)
        .expect("a URI")
        .connect()
        .await
        .expect("a connection")
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "four shapes, one after the other, over one connection"
)]
async fn a_stock_tonic_client_is_served_in_all_four_shapes() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let server = transport.start_echo().await;
        server.mount(Stub::method("Echo/Say").reply(|call: &Call| {
            Reply::json(json!({"message": call.request()["message"]}))
                .metadata("x-before", "1")
                .trailer("x-after", "2")
        }));
        server.mount(Stub::method("Split").reply(Reply::stream([
            json!({"message": "a"}),
            json!({"message": "b"}),
        ])));
        server.mount(
            Stub::method("Join").reply(|call: &Call| json!({"count": call.requests().len()})),
        );
        server.mount(
            Stub::method("Chat").reply(|mut stream: CallStream| async move {
                while let Some(message) = stream.recv().await? {
                    stream.send(json!({"message": message["message"]})).await?;
                }
                Ok(())
            }),
        );
        server.mount(
            Stub::method("Squawk")
                .reply(Reply::status(Code::DataLoss, "naïve ☃").details(b"why".to_vec())),
        );
        let channel = channel(server.address()).await;
        let mut client = EchoClient::new(channel.clone());

        let reply = within(client.say(request("hi"))).await.unwrap();
        assert_eq!(reply.metadata().get("x-before").unwrap(), "1");
        assert_eq!(reply.metadata().get("x-after").unwrap(), "2");
        assert_eq!(reply.into_inner().message, "hi");
        let split = within(client.split(request("ab")))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(messages(split).await, ["a", "b"]);
        assert_eq!(
            within(client.join(words()))
                .await
                .unwrap()
                .into_inner()
                .count,
            3
        );
        let chat = within(client.chat(words())).await.unwrap().into_inner();
        assert_eq!(messages(chat).await, ["one", "two", "three"]);
        let status =
            within(echo::parrot_client::ParrotClient::new(channel.clone()).squawk(request("")))
                .await
                .unwrap_err();
        assert_eq!(
            (status.code(), status.message(), status.details()),
            (Code::DataLoss, "naïve ☃", b"why".as_slice())
        );

        let health = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
        assert_eq!(health.into_inner().status, 1);

        let seen: Vec<_> = server
            .calls()
            .iter()
            .map(|call| (call.method().to_owned(), call.outcome()))
            .collect();
        let ok = |method: &str| (method.to_owned(), Some(Outcome::Ok));
        let lost = ("Squawk".to_owned(), Some(Outcome::Status(Code::DataLoss)));
        assert_eq!(seen, [ok("Say"), ok("Split"), ok("Join"), ok("Chat"), lost]);
        assert_eq!(server.calls()[2].requests().len(), 3);
    }
}

#[tokio::test]
async fn a_stock_tonic_client_that_gives_up_is_recorded_so() {
    let server = Transport::Tcp.start_echo().await;
    server.mount(Stub::any().reply(|_: Call| std::future::pending::<Reply>()));
    let mut client = EchoClient::new(channel(server.address()).await);
    let mut late = Request::new(request("late"));
    late.set_timeout(Duration::from_millis(50));
    within(client.say(late)).await.unwrap_err();
    let call = within(server.next_call()).await;
    assert_eq!(call.timeout(), Some(Duration::from_millis(50)));
    assert_eq!(within(call.ended()).await, Outcome::DeadlineExceeded);

    let calling = tokio::spawn(async move { client.say(request("gone")).await });
    let call = within(server.next_call()).await;
    calling.abort();
    // tonic closes the connection with its last channel, or resets the stream: whichever is read first.
    let outcome = within(call.ended()).await;
    assert!(
        matches!(outcome, Outcome::Cancelled | Outcome::Dropped),
        "{outcome}"
    );
}

async fn messages(stream: Streaming<EchoReply>) -> Vec<String> {
    within(
        stream
            .map(|reply| reply.expect("a reply").message)
            .collect(),
    )
    .await
}

/// A real echo service on a stock tonic server.
pub(crate) struct EchoService;

type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

pub(crate) fn reply(message: &str) -> EchoReply {
    EchoReply {
        message: message.to_owned(),
        ..EchoReply::default()
    }
}

#[tonic::async_trait]
impl Echo for EchoService {
    async fn say(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let key = request.metadata().get("x-key").cloned();
        let binary = request.metadata().get_bin("key-bin").cloned();
        let message = request.into_inner().message;
        if message == "never" {
            std::future::pending::<()>().await;
        }
        if message == "fail" {
            let mut status =
                Status::with_details(Code::NotFound, "no such thing", b"why".to_vec().into());
            status
                .metadata_mut()
                .insert("x-trailer", MetadataValue::from_static("t"));
            return Err(status);
        }
        let mut response = Response::new(reply(&message));
        if let (Some(key), Some(binary)) = (key, binary) {
            response.metadata_mut().insert("x-key", key);
            response.metadata_mut().insert_bin("key-bin", binary);
        }
        Ok(response)
    }

    type SplitStream = Replies;

    async fn split(&self, request: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        let words: Vec<_> = request
            .into_inner()
            .message
            .split(' ')
            .map(|word| Ok(reply(word)))
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(words))))
    }

    async fn join(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        let mut requests = request.into_inner();
        let mut words = Vec::new();
        while let Some(request) = requests.message().await? {
            words.push(request.message);
        }
        Ok(Response::new(reply(&words.join(" "))))
    }

    type ChatStream = Replies;

    async fn chat(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let replies = request
            .into_inner()
            .map(|request| request.map(|request| reply(&request.message)));
        Ok(Response::new(Box::pin(replies)))
    }
}

/// Which reflection the stock server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reflection {
    None,
    V1,
    V1Alpha,
}

/// Runs until the sender is dropped.
async fn tonic_server(
    transport: Transport,
    reflection: Reflection,
) -> (Address, oneshot::Sender<()>) {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(ECHO_DESCRIPTOR_SET)
    };
    let v1 = (reflection == Reflection::V1).then(|| builder().build_v1().expect("reflection"));
    let v1alpha =
        (reflection == Reflection::V1Alpha).then(|| builder().build_v1alpha().expect("reflection"));
    let (_reporter, health) = tonic_health::server::health_reporter();
    let router = Server::builder()
        .add_service(EchoServer::new(EchoService))
        .add_service(health)
        .add_optional_service(v1)
        .add_optional_service(v1alpha);
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    match transport {
        Transport::Tcp => {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .expect("a free port");
            let address = listener.local_addr().expect("an address").into();
            let serving =
                router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped);
            tokio::spawn(serving);
            (address, stop)
        }
        Transport::Unix => {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = directory.path().join("judge");
            let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
            let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
            let serving = router.serve_with_incoming_shutdown(incoming, stopped);
            tokio::spawn(async move {
                let served = serving.await;
                // The socket goes with its server, also when the runtime drops it.
                drop(directory);
                served
            });
            (Address::unix(path).expect("a short path"), stop)
        }
        Transport::Memory => panic!("a stock server has no in-process pipe"),
    }
}

fn text(reply: &Value) -> &str {
    reply["message"].as_str().expect("a message")
}

#[tokio::test]
async fn a_stock_tonic_server_is_called_in_all_four_shapes_by_its_reflection() {
    for transport in [Transport::Tcp, Transport::Unix] {
        for reflection in [Reflection::V1, Reflection::V1Alpha] {
            let (address, _stop) = tonic_server(transport, reflection).await;
            let client = Client::connect(&address).await.unwrap();
            let words = || tokio_stream::iter(["one", "two"]).map(|word| json!({"message": word}));

            let said = within(
                client
                    .call("Echo.Say", json!({"message": "hi"}))
                    .into_future(),
            )
            .await
            .unwrap();
            assert_eq!(
                said,
                json!({"message": "hi", "count": 0, "blob": ""}),
                "{transport:?} {reflection:?}"
            );
            let split = client
                .call_server_stream("Split", json!({"message": "one two"}))
                .await
                .unwrap();
            let split: Vec<_> = within(split.collect::<Vec<_>>()).await;
            assert_eq!(
                split
                    .iter()
                    .map(|reply| text(reply.as_ref().unwrap()))
                    .collect::<Vec<_>>(),
                ["one", "two"]
            );
            let joined = within(client.call_client_stream("Join", words()).into_future())
                .await
                .unwrap();
            assert_eq!(text(&joined), "one two");
            let chat = client.call_bidi_stream("Chat", words()).await.unwrap();
            let chat: Vec<_> = within(chat.collect::<Vec<_>>()).await;
            assert_eq!(
                chat.iter()
                    .map(|reply| text(reply.as_ref().unwrap()))
                    .collect::<Vec<_>>(),
                ["one", "two"]
            );

            client.health_check().await.unwrap();
            assert_eq!(client.health("").await.unwrap(), ServingStatus::Serving);
            within(client.close()).await;
        }
    }
}

#[tokio::test]
async fn a_stock_tonic_server_answers_typed_calls_and_generated_clients() {
    let (address, _stop) = tonic_server(Transport::Tcp, Reflection::None).await;
    let client = Client::connect(&address).await.unwrap();
    let said = client.unary::<_, EchoReply>("/echo.v1.Echo/Say", request("hi"));
    let response = said
        .metadata("x-key", "value")
        .metadata_bin("key-bin", [0, 255])
        .response()
        .await
        .unwrap();
    assert_eq!(response.message().message, "hi");
    assert_eq!(response.metadata().get("x-key").unwrap(), "value");
    assert_eq!(
        response
            .metadata()
            .get_bin("key-bin")
            .unwrap()
            .to_bytes()
            .unwrap(),
        [0, 255].as_slice()
    );

    let mut generated = EchoClient::new(client.clone());
    assert_eq!(
        within(generated.join(words()))
            .await
            .unwrap()
            .into_inner()
            .message,
        "one two three"
    );
    let chat = within(generated.chat(words())).await.unwrap().into_inner();
    assert_eq!(messages(chat).await, ["one", "two", "three"]);

    let error = client
        .unary::<_, EchoReply>("/echo.v1.Echo/Say", request("fail"))
        .await
        .unwrap_err();
    let status = error.status().unwrap();
    assert_eq!(
        (status.code(), status.message(), status.details()),
        (Code::NotFound, "no such thing", b"why".as_slice())
    );
    assert_eq!(status.metadata().get("x-trailer").unwrap(), "t");
    assert_eq!(
        error.to_string(),
        format!("/echo.v1.Echo/Say at {address} failed: NOT_FOUND: no such thing")
    );

    let never = client.unary::<_, EchoReply>("/echo.v1.Echo/Say", request("never"));
    let error = within(never.timeout(Duration::from_millis(50)).into_future())
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let missing = client
        .unary::<_, EchoReply>("/echo.v1.Parrot/Say", request("hi"))
        .await
        .unwrap_err();
    assert!(missing.is_unknown_method(), "{missing:?}");
}

#[tokio::test]
async fn a_server_without_reflection_is_told_apart_and_the_error_says_what_to_do() {
    let (address, _stop) = tonic_server(Transport::Tcp, Reflection::None).await;
    let client = Client::connect(&address).await.unwrap();
    let error = client.call("Say", json!({})).await.unwrap_err();
    assert!(error.is_unknown_method());
    assert_eq!(
        error.to_string(),
        format!(
            "Say at {address} failed: UNIMPLEMENTED: the server has no reflection service and does not serve \
             rpcplugin.v1.Plugin; give `Client::builder()` its `.descriptor_set(..)`"
        )
    );
    let client = Client::builder()
        .address(&address)
        .descriptor_set(ECHO_DESCRIPTOR_SET)
        .connect()
        .await
        .unwrap();
    let said = client
        .call("Echo/Say", json!({"message": "hi"}))
        .await
        .unwrap();
    assert_eq!(text(&said), "hi");
}

/// The typed method has the name, but never gets a struct.
#[tokio::test]
async fn an_unknown_name_is_never_sent_to_a_typed_server() {
    let (address, _stop) = tonic_server(Transport::Tcp, Reflection::V1).await;
    let client = Client::connect(&address).await.unwrap();
    let error = client.call("Shout", json!({})).await.unwrap_err();
    assert!(error.is_unknown_method());
    assert_eq!(error.code(), None);
    assert!(
        error
            .to_string()
            .starts_with("unknown method `Shout`: known are echo.v1.Echo/Chat, "),
        "{error}"
    );
}

/// tonic's reflection ends the stream at what it does not know, and this one does not know the imports.
#[tokio::test]
async fn a_reflection_without_the_well_known_types_is_enough() {
    let mut set = prost_types::FileDescriptorSet::decode(ECHO_DESCRIPTOR_SET).unwrap();
    set.file.retain(|file| file.name() == "echo/v1/echo.proto");
    let (address, _stop) = serve_reflection(set).await;
    let client = Client::connect(&address).await.unwrap();
    let said = within(
        client
            .call("Echo.Say", json!({"message": "hi"}))
            .into_future(),
    )
    .await
    .unwrap();
    assert_eq!(text(&said), "hi");
}

#[tokio::test]
async fn a_reflection_of_no_use_is_an_error_and_no_panic() {
    let mut set = prost_types::FileDescriptorSet::decode(ECHO_DESCRIPTOR_SET).unwrap();
    for file in &mut set.file {
        file.syntax = Some("editions".to_owned());
    }
    let (address, _stop) = serve_reflection(set).await;
    let client = Client::connect(&address).await.unwrap();
    let error = within(
        client
            .call("Echo.Say", json!({"message": "hi"}))
            .into_future(),
    )
    .await
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot look up `Echo.Say`: the server's reflection failed: INTERNAL: the server's reflection is of no use: the descriptor set is inconsistent: \
         `echo/v1/echo.proto` is written in a protobuf edition, and only proto2 and proto3 are known"
    );
}

/// The echo service with a reflection of these files.
async fn serve_reflection(set: prost_types::FileDescriptorSet) -> (Address, oneshot::Sender<()>) {
    let reflection =
        tonic_reflection::server::Builder::configure().register_file_descriptor_set(set);
    let router = Server::builder()
        .add_service(EchoServer::new(EchoService))
        .add_service(reflection.build_v1().expect("reflection"));
    let (stop, stopped) = oneshot::channel::<()>();
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address").into();
    let stopped = async move { drop(stopped.await) };
    tokio::spawn(router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped));
    (address, stop)
}
