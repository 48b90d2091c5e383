//! The schema by reflection, both ways.

use crate::support::{ECHO_DESCRIPTOR_SET, Transport, lenient_echo, within};
use pretty_assertions::assert_eq;
use prost::Message as _;
use rpcplugin_testkit::{Client, Code, MockServer, Reply, Stub, json};
use tokio_stream::StreamExt as _;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

#[tokio::test]
async fn a_client_without_a_schema_asks_the_server_once() {
    for transport in Transport::ALL {
        let server = transport.start_echo().await;
        server.mount(Stub::method("Squawk").reply(json!({"message": "hi"})));
        server.mount(Stub::method("Split").reply(Reply::stream([json!({"count": 1})])));
        let client = Client::connect(server.address()).await.unwrap();

        let calls: Vec<_> = (0..20)
            .map(|n| client.call("Squawk", json!({"times": n})).into_future())
            .collect();
        for call in calls.into_iter().map(tokio::spawn) {
            assert_eq!(within(call).await.unwrap().unwrap()["message"], "hi");
        }
        let replies: Vec<_> = client
            .call_server_stream("Echo.Split", json!({}))
            .await
            .unwrap()
            .collect()
            .await;
        assert_eq!(replies.len(), 1);

        assert_eq!(server.calls().len(), 21);
        assert_eq!(
            server.calls_to("ServerReflectionInfo").len(),
            1,
            "{transport:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_or_ambiguous_name_lists_the_candidates_of_the_server() {
    let server = Transport::Tcp.start_echo().await;
    let client = Client::connect(server.address()).await.unwrap();
    let unknown = client.call("Sya", json!({})).await.unwrap_err();
    assert!(unknown.is_unknown_method());
    assert_eq!(
        unknown.to_string(),
        "unknown method `Sya`: known are echo.v1.Echo/Chat, echo.v1.Echo/Join, echo.v1.Echo/Say, \
         echo.v1.Echo/Split, echo.v1.Parrot/Say, echo.v1.Parrot/Squawk"
    );
    let ambiguous = client.call("Say", json!({})).await.unwrap_err();
    assert!(ambiguous.is_unknown_method());
    assert_eq!(
        ambiguous.to_string(),
        "`Say` is ambiguous: it could be echo.v1.Echo/Say, echo.v1.Parrot/Say"
    );
    assert!(server.calls().is_empty());
}

/// A server that wants to know who calls wants to know it here too.
#[tokio::test]
async fn reflection_is_asked_with_the_metadata_of_the_call() {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::method("Squawk").reply(json!({})));
    let client = Client::connect(server.address()).await.unwrap();
    client
        .call("Squawk", json!({}))
        .metadata("authorization", "Bearer token")
        .await
        .unwrap();
    let asked = &server.calls_to("ServerReflectionInfo")[0];
    assert_eq!(
        asked.metadata().get("authorization").unwrap(),
        "Bearer token"
    );
}

/// What the server lists, asked by the plain protocol.
async fn listed(server: &MockServer) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(server.client().await);
    let replies = client
        .server_reflection_info(tokio_stream::once(request))
        .await;
    let mut replies = replies.expect("reflection answers").into_inner();
    let reply = within(replies.message())
        .await
        .expect("a message")
        .expect("no end");
    let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else {
        panic!("{reply:?}");
    };
    let mut names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_mock_reflects_the_schema_it_has() {
    let plumbing = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "plugin.GRPCBroker",
        "plugin.GRPCController",
        "plugin.GRPCStdio",
    ];
    let server = MockServer::builder()
        .memory()
        .descriptor_set(ECHO_DESCRIPTOR_SET)
        .start()
        .await;
    assert_eq!(
        listed(&server).await,
        [["echo.v1.Echo", "echo.v1.Parrot"].as_slice(), &plumbing].concat()
    );
    let server = MockServer::memory().await;
    assert_eq!(
        listed(&server).await,
        [plumbing.as_slice(), &["rpcplugin.v1.Plugin"]].concat()
    );
}

/// A server with a schema does not serve the schemaless service, and a typed method never gets a struct.
#[tokio::test]
async fn a_mock_with_a_schema_has_no_schemaless_service() {
    let server = lenient_echo().await;
    server.mount(Stub::method("Squawk").reply(json!({})));
    let client = server.client().await;
    let error = client
        .call("rpcplugin.v1.Plugin/Call", json!({"method": "Squawk"}))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Unimplemented));
}

/// As `grpcurl` and grpcio's own utilities rely on.
#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn an_unknown_symbol_is_an_error_response_and_the_stream_goes_on() {
    let server = MockServer::builder()
        .memory()
        .descriptor_set(ECHO_DESCRIPTOR_SET)
        .start()
        .await;
    let asked = [
        (
            MessageRequest::FileContainingSymbol("echo.v1.Nothing".to_owned()),
            None,
        ),
        (
            MessageRequest::FileByFilename("echo/v1/nothing.proto".to_owned()),
            None,
        ),
        (
            MessageRequest::FileContainingSymbol("echo.v1.Echo".to_owned()),
            Some("echo/v1/echo.proto"),
        ),
        (
            MessageRequest::FileContainingSymbol("echo.v1.Echo.Say".to_owned()),
            Some("echo/v1/echo.proto"),
        ),
        (
            MessageRequest::FileContainingSymbol("echo.v1.EchoRequest.tags".to_owned()),
            Some("echo/v1/echo.proto"),
        ),
        (
            MessageRequest::FileContainingSymbol("echo.v1.Mood".to_owned()),
            Some("echo/v1/echo.proto"),
        ),
        (
            MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned()),
            Some("health.proto"),
        ),
        (
            MessageRequest::FileByFilename("google/protobuf/timestamp.proto".to_owned()),
            Some("google/protobuf/timestamp.proto"),
        ),
    ];
    let requests = asked
        .clone()
        .map(|(message_request, _)| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        });
    let mut client = ServerReflectionClient::new(server.client().await);
    let replies = client
        .server_reflection_info(tokio_stream::iter(requests))
        .await;
    let mut replies = replies.unwrap().into_inner();
    for (request, expected) in asked {
        let reply = within(replies.message()).await.unwrap().unwrap();
        assert_eq!(
            reply.original_request.unwrap().message_request.as_ref(),
            Some(&request)
        );
        let file = match reply.message_response.unwrap() {
            MessageResponse::FileDescriptorResponse(files) => {
                let file = prost_types::FileDescriptorProto::decode(
                    files.file_descriptor_proto[0].as_slice(),
                );
                Some(file.unwrap().name().to_owned())
            }
            MessageResponse::ErrorResponse(error) => {
                assert_eq!(error.error_code, i32::from(Code::NotFound));
                None
            }
            other => panic!("{other:?}"),
        };
        assert!(
            match (&file, expected) {
                (Some(file), Some(expected)) => file.ends_with(expected),
                (None, None) => true,
                _ => false,
            },
            "{request:?}: {file:?}"
        );
    }
    assert!(within(replies.message()).await.unwrap().is_none());
}
