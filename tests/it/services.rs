//! Real services behind the mock: mounted, and proxied.

use crate::support::{Transport, echo, echo_schema, within};
use echo::echo_client::EchoClient;
use echo::echo_server::{Echo, EchoServer};
use echo::{EchoReply, EchoRequest};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::matchers::field;
use rpcplugin_testkit::{Client, Code, MockServer, Outcome, Reply, Status, Stub, json};
use std::{pin::Pin, time::Duration};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Streaming};

/// A service as its authors would write it.
#[derive(Clone)]
pub(crate) struct Real;

fn reply(request: &EchoRequest) -> EchoReply {
    EchoReply {
        message: format!("real {}", request.message),
        ..EchoReply::default()
    }
}

#[tonic::async_trait]
impl Echo for Real {
    type SplitStream = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;
    type ChatStream = Self::SplitStream;

    async fn say(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        match request.get_ref().message.as_str() {
            "fail" => {
                let mut status = Status::with_details(Code::DataLoss, "gone", vec![1, 2].into());
                status
                    .metadata_mut()
                    .insert("x-lost", "7".parse().expect("ASCII"));
                Err(status)
            }
            "panic" => panic!("a bug in the service"),
            "never" => std::future::pending().await,
            _ => {
                let mut response = Response::new(reply(request.get_ref()));
                response
                    .metadata_mut()
                    .insert("x-real", "yes".parse().expect("ASCII"));
                Ok(response)
            }
        }
    }

    async fn split(
        &self,
        request: Request<EchoRequest>,
    ) -> Result<Response<Self::SplitStream>, Status> {
        let request = request.into_inner();
        let words = request
            .message
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>();
        let replies = words.into_iter().map(|message| {
            Ok(EchoReply {
                message,
                ..EchoReply::default()
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(replies))))
    }

    async fn join(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        let said: Vec<_> = request.into_inner().collect::<Result<Vec<_>, _>>().await?;
        let words: Vec<_> = said.into_iter().map(|request| request.message).collect();
        let message = words.join(" ");
        Ok(Response::new(EchoReply {
            message,
            ..EchoReply::default()
        }))
    }

    async fn chat(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        let replies = request.into_inner().map(|request| Ok(reply(&request?)));
        Ok(Response::new(Box::pin(replies)))
    }
}

fn say(message: &str) -> EchoRequest {
    EchoRequest {
        message: message.to_owned(),
        ..EchoRequest::default()
    }
}

/// Who stands behind the mock, and on what.
#[derive(Clone, Copy, Debug)]
enum Behind {
    Mounted,
    Proxied,
}

/// The mock, and the real server behind it, if it is one of its own.
async fn mock(behind: Behind, transport: Transport) -> (MockServer, Option<MockServer>) {
    let builder = MockServer::builder().schema(echo_schema());
    let builder = match transport {
        Transport::Memory => builder.memory(),
        Transport::Tcp => builder.tcp(),
        Transport::Unix => builder.unix(),
    };
    match behind {
        Behind::Mounted => {
            let server = builder.start().await;
            server.mount_service(EchoServer::new(Real));
            (server, None)
        }
        Behind::Proxied => {
            let real = transport.start_echo().await;
            real.mount_service(EchoServer::new(Real));
            (builder.proxy_to(real.address()).start().await, Some(real))
        }
    }
}

const ALL: [(Behind, Transport); 6] = [
    (Behind::Mounted, Transport::Memory),
    (Behind::Mounted, Transport::Tcp),
    (Behind::Mounted, Transport::Unix),
    (Behind::Proxied, Transport::Memory),
    (Behind::Proxied, Transport::Tcp),
    (Behind::Proxied, Transport::Unix),
];

/// {mounted, proxied} × {transport} × {shape}, by a generated client.
#[tokio::test]
async fn all_four_shapes_are_served_and_recorded() {
    for (behind, transport) in ALL {
        let (server, _real) = mock(behind, transport).await;
        let mut client = EchoClient::new(Client::connect(server.address()).await.unwrap());

        let said = within(client.say(say("a"))).await.unwrap();
        assert_eq!(said.metadata().get("x-real").unwrap(), "yes");
        assert_eq!(said.into_inner().message, "real a");
        let split = within(client.split(say("a b"))).await.unwrap().into_inner();
        let words: Vec<_> = split.map(|reply| reply.unwrap().message).collect().await;
        assert_eq!(words, ["a", "b"]);
        let joined = client.join(tokio_stream::iter([say("a"), say("b")]));
        assert_eq!(within(joined).await.unwrap().into_inner().message, "a b");
        // One word at a time, each answered before the next is said.
        let (words, spoken) = mpsc::channel(1);
        let mut replies = within(client.chat(ReceiverStream::new(spoken)))
            .await
            .unwrap()
            .into_inner();
        for word in ["a", "b"] {
            words.send(say(word)).await.unwrap();
            let reply = within(replies.message()).await.unwrap().unwrap();
            assert_eq!(reply.message, format!("real {word}"));
        }
        drop(words);
        assert_eq!(within(replies.message()).await.unwrap(), None);

        let calls = server.calls();
        let told: Vec<_> = calls
            .iter()
            .map(|call| {
                (
                    call.method(),
                    call.requests().len(),
                    call.replies().len(),
                    call.outcome(),
                )
            })
            .collect();
        let ok = Some(Outcome::Ok);
        assert_eq!(
            told,
            [
                ("Say", 1, 1, ok),
                ("Split", 1, 2, ok),
                ("Join", 2, 1, ok),
                ("Chat", 2, 2, ok)
            ],
            "{behind:?} {transport:?}"
        );
        assert_eq!(calls[0].reply_metadata().get("x-real").unwrap(), "yes");
        assert_eq!(calls[3].reply().unwrap()[1]["message"], "real b");
        within(server.verify()).await.unwrap();
    }
}

#[tokio::test]
async fn statuses_panics_and_cancellations_are_recorded() {
    for (behind, transport) in ALL {
        let (server, real) = mock(behind, transport).await;
        let client = Client::connect(server.address()).await.unwrap();
        let mut client = EchoClient::new(client);
        let failed = within(client.say(say("fail"))).await.unwrap_err();
        assert_eq!(
            (failed.code(), failed.message(), failed.details()),
            (Code::DataLoss, "gone", &[1, 2][..])
        );
        assert_eq!(failed.metadata().get("x-lost").unwrap(), "7");
        let status = server.calls()[0].status().unwrap();
        assert_eq!(
            (status.code(), status.message(), status.details()),
            (Code::DataLoss, "gone", &[1, 2][..])
        );
        assert_eq!(status.metadata().get("x-lost").unwrap(), "7");
        assert_eq!(status.metadata().len(), 1, "{:?}", status.metadata());

        let panicked = within(client.say(say("panic"))).await.unwrap_err();
        assert_eq!(
            (panicked.code(), panicked.message()),
            (Code::Internal, "the service panicked: a bug in the service")
        );

        let mut never = Request::new(say("never"));
        never.set_timeout(Duration::from_secs(3600));
        let mut waiting = client.clone();
        let waiting = tokio::spawn(async move { waiting.say(never).await });
        let held = within(server.wait_for_calls(3)).await.remove(2);
        waiting.abort();
        assert_eq!(
            within(held.ended()).await,
            Outcome::Cancelled,
            "{behind:?} {transport:?}"
        );
        // The server behind it is told too.
        if let Some(real) = real {
            within(real.wait_until(|journal| journal.ended(Outcome::Cancelled).len() == 1)).await;
        }
    }
}

/// A stub in front takes single calls; all others are read once and go on whole.
#[tokio::test]
async fn stubs_stand_in_front_of_services() {
    for (behind, transport) in ALL {
        let (server, _real) = mock(behind, transport).await;
        server.mount(
            Stub::method("Echo/Say")
                .when(field("message", "full"))
                .reply(Status::resource_exhausted("full")),
        );
        server.mount(
            Stub::method("Join")
                .when(field("1.message", "stub"))
                .reply(json!({"message": "stubbed"})),
        );
        server.mount(
            Stub::method("Chat")
                .when(json!({"message": "stub"}))
                .reply(Reply::stream([json!({"count": 1})])),
        );
        let mut client = EchoClient::new(Client::connect(server.address()).await.unwrap());
        let full = within(client.say(say("full"))).await.unwrap_err();
        assert_eq!(full.code(), Code::ResourceExhausted);
        assert_eq!(
            within(client.say(say("a")))
                .await
                .unwrap()
                .into_inner()
                .message,
            "real a"
        );
        for (second, expected) in [("stub", "stubbed"), ("b", "a b")] {
            let joined = client.join(tokio_stream::iter([say("a"), say(second)]));
            assert_eq!(
                within(joined).await.unwrap().into_inner().message,
                expected,
                "{behind:?} {transport:?}"
            );
        }
        let chatted = client.chat(tokio_stream::iter([say("a"), say("b")]));
        let replies = within(chatted).await.unwrap().into_inner();
        let replies: Vec<_> = replies.map(|reply| reply.unwrap().message).collect().await;
        assert_eq!(replies, ["real a", "real b"]);
        let journal = server.journal();
        let behind = server.calls()[1].stub().unwrap();
        assert_eq!(journal.served_by(&behind).len(), 3);
        assert_eq!(journal.len(), 5);
        assert!(journal.unmatched().is_empty());
        // Each message is recorded once.
        assert_eq!(journal.to("Chat").calls()[0].requests().len(), 2);
    }
}

#[tokio::test]
async fn a_service_without_a_schema_is_recorded_as_bytes() {
    let server = MockServer::start().await;
    server.mount_service(EchoServer::new(Real));
    let mut client = EchoClient::new(Client::connect(server.address()).await.unwrap());
    within(client.say(say("a"))).await.unwrap();
    let call = &server.calls()[0];
    assert_eq!(call.message::<EchoRequest>().unwrap(), say("a"));
    assert_eq!(
        call.replies()[0].decode::<EchoReply>().unwrap().message,
        "real a"
    );
    let label = call.stub().unwrap();
    assert!(
        label.starts_with("service echo.v1.Echo (tests/it/services.rs:"),
        "{label}"
    );
    assert_eq!(server.journal().served_by("echo.v1.Echo").len(), 1);
    // What the service has not is the service's to say.
    let reply = client_call(&server, "/echo.v1.Echo/Nothing").await;
    assert_eq!(reply, Some(Code::Unimplemented));
}

async fn client_call(server: &MockServer, path: &str) -> Option<Code> {
    let client = Client::connect(server.address()).await.expect("it listens");
    let called: Result<EchoReply, _> = client.unary(path, say("a")).await;
    called.err().and_then(|error| error.code())
}

/// A mock without a schema asks the server that it passes calls on to.
#[tokio::test]
async fn a_proxy_takes_the_schema_of_its_server_and_tells_when_that_is_gone() {
    let real = Transport::Tcp.start_echo().await;
    real.mount_service(EchoServer::new(Real));
    let server = MockServer::builder().proxy_to(real.address()).start().await;
    let client = server.client().await;
    let reply = client
        .call("Echo/Say", json!({"message": "a"}))
        .await
        .unwrap();
    assert_eq!(reply["message"], "real a");
    assert_eq!(server.calls()[0].request()["message"], "a");
    assert_eq!(
        server.calls()[0].stub().unwrap(),
        format!("proxy to {}", real.address())
    );
    // What nobody behind it serves is answered from there.
    let squawk = client.call("Squawk", json!({})).await.unwrap_err();
    assert_eq!(squawk.code(), Some(Code::FailedPrecondition));
    real.reset();

    drop(real);
    let gone = client.call("Echo/Say", json!({})).await.unwrap_err();
    assert_eq!(gone.code(), Some(Code::Unavailable));
    assert_eq!(
        server.calls()[2].outcome(),
        Some(Outcome::Status(Code::Unavailable))
    );
    server.verify().await.unwrap();
}

#[tokio::test]
async fn a_schemaless_server_is_proxied_in_all_four_shapes() {
    let real = MockServer::memory().await;
    real.mount(Stub::any().reply(json!({"by": "real"})));
    let server = MockServer::builder()
        .memory()
        .proxy_to(real.address())
        .start()
        .await;
    server.mount(Stub::method("Own").reply(json!({"by": "stub"})));
    let client = server.client().await;
    let args = || tokio_stream::iter([json!({"n": 1}), json!({"n": 2})]);
    for (method, by) in [("Get", "real"), ("Own", "stub")] {
        assert_eq!(
            within(client.call(method, json!({"n": 1})).into_future())
                .await
                .unwrap()["by"],
            by
        );
        assert_eq!(
            within(client.call_client_stream(method, args()).into_future())
                .await
                .unwrap()["by"],
            by
        );
        let mut replies = within(client.call_server_stream(method, json!({})).into_future())
            .await
            .unwrap();
        assert_eq!(within(replies.message()).await.unwrap().unwrap()["by"], by);
        let mut replies = within(client.call_bidi_stream(method, args()).into_future())
            .await
            .unwrap();
        assert_eq!(within(replies.message()).await.unwrap().unwrap()["by"], by);
    }
    assert_eq!(real.calls().len(), 4);
    assert_eq!(server.calls()[1], ("Get", json!([{"n": 1}, {"n": 2}])));
    assert_eq!(real.calls()[1], ("Get", json!([{"n": 1}, {"n": 2}])));
}

#[tokio::test]
#[should_panic(expected = "`grpc.health.v1.Health` is served by the mock itself")]
async fn the_mocks_own_services_cannot_be_mounted() {
    let (_, health) = tonic_health::server::health_reporter();
    MockServer::memory().await.mount_service(health);
}

/// A stub with a fault for some calls, in front of a real service: the others stream as if it were not there.
#[tokio::test]
async fn a_stub_that_the_headers_rule_out_does_not_hold_up_the_service_behind_it() {
    for (behind, transport) in ALL {
        let (server, _real) = mock(behind, transport).await;
        let failing = Stub::any().when(rpcplugin_testkit::matchers::metadata("x-fail", "1"));
        server.mount(failing.reply(Status::unavailable("down")));
        let mut client = EchoClient::new(Client::connect(server.address()).await.unwrap());
        let (words, spoken) = mpsc::channel(1);
        let chat = client.chat(ReceiverStream::new(spoken));
        let mut replies = within(chat).await.unwrap().into_inner();
        words.send(say("a")).await.unwrap();
        let reply = within(replies.message()).await.unwrap().unwrap();
        assert_eq!(reply.message, "real a", "{behind:?} {transport:?}");
        let mut failing = Request::new(say("a"));
        failing
            .metadata_mut()
            .insert("x-fail", "1".parse().unwrap());
        assert_eq!(
            within(client.say(failing)).await.unwrap_err().code(),
            Code::Unavailable
        );
    }
}
