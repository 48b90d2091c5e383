//! Which calls matchers choose for a fault: of all shapes, of services behind the mock, and of its own.

use crate::faults_probe::{client, squawk};
use crate::faults_when::{down, hit, wire};
use crate::services::Real;
use crate::support::{Transport, echo, within};
use echo::echo_server::EchoServer;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::matchers::{field, metadata, some_message};
use rpcplugin_testkit::{Call, Client, Code, Fault, MockServer, Outcome, Status, Stub, json};
use tonic::{Request, metadata::MetadataValue};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Who decides by a message decides for all four shapes, for stubs and for services behind the mock.
#[tokio::test]
async fn metadata_and_messages_decide_in_all_shapes() {
    for mounted in [false, true] {
        for by_message in [false, true] {
            for transport in Transport::ALL {
                let server = wire(transport).builder().start().await;
                if mounted {
                    server.mount_service(EchoServer::new(Real));
                } else {
                    server.mount(Stub::any().reply(json!({"message": "x"})).times(0..));
                    server.mount(
                        Stub::method("Chat")
                            .reply(crate::support::repeat_what_is_said)
                            .times(0..),
                    );
                }
                let fault = if by_message {
                    down().when(some_message(json!({"message": "blue"})))
                } else {
                    down().when(metadata("x-tenant", "blue"))
                };
                let fault = server.inject(fault);
                let mut client = echo::echo_client::EchoClient::new(client(&server).await);
                for (colour, hits) in [("red", 0), ("blue", 4), ("green", 4)] {
                    let codes = codes(&mut client, colour).await;
                    let code = if colour == "blue" {
                        Code::Unavailable
                    } else {
                        Code::Ok
                    };
                    assert_eq!(
                        codes, [code; 4],
                        "{transport:?} {mounted} {by_message} {colour}"
                    );
                    assert_eq!(fault.hits(), hits);
                }
                let faulted: Vec<_> = server
                    .calls()
                    .iter()
                    .filter(|call| !call.faults().is_empty())
                    .map(Call::outcome)
                    .collect();
                assert_eq!(faulted, [Some(Outcome::Status(Code::Unavailable)); 4]);
                assert!(server.journal().unmatched().is_empty());
            }
        }
    }
}

/// How a call of each shape ends that says this, and has it in its metadata.
async fn codes(client: &mut echo::echo_client::EchoClient<Client>, colour: &str) -> [Code; 4] {
    fn tagged<T>(message: T, colour: &str) -> Request<T> {
        let mut request = Request::new(message);
        let value = MetadataValue::try_from(colour).expect("a value");
        request.metadata_mut().insert("x-tenant", value);
        request
    }
    async fn end<T>(streaming: Result<tonic::Response<tonic::Streaming<T>>, Status>) -> Code {
        let mut stream = match streaming {
            Ok(response) => response.into_inner(),
            Err(status) => return status.code(),
        };
        loop {
            match within(stream.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }
    let said = || crate::judges::request(colour);
    let one = within(client.say(tagged(said(), colour))).await;
    let split = within(client.split(tagged(said(), colour))).await;
    let join = within(client.join(tagged(tokio_stream::iter([said(), said()]), colour))).await;
    let chat = within(client.chat(tagged(tokio_stream::iter([said(), said()]), colour))).await;
    let code =
        |result: Result<(), Status>| result.map_or_else(|status| status.code(), |()| Code::Ok);
    [
        code(one.map(drop)),
        end(split).await,
        code(join.map(drop)),
        end(chat).await,
    ]
}

/// A client that waits for the response before it says anything else is not kept waiting by a matcher.
#[tokio::test]
async fn a_conversation_with_a_service_that_no_schema_knows_is_decided_by_its_first_message() {
    let server = MockServer::memory().await;
    server.mount_service(EchoServer::new(Real));
    let fault = server.inject(down().when(|call: &Call| call.requests().is_empty()));
    let mut client = echo::echo_client::EchoClient::new(server.client().await);
    let (words, spoken) = tokio::sync::mpsc::channel(1);
    let chat = client.chat(tokio_stream::wrappers::ReceiverStream::new(spoken));
    words.send(crate::judges::request("a")).await.unwrap();
    let mut replies = within(chat).await.unwrap().into_inner();
    let reply = within(replies.message()).await.unwrap().unwrap();
    assert_eq!(reply.message, "real a");
    drop(words);
    assert!(within(replies.message()).await.unwrap().is_none());
    assert_eq!(fault.hits(), 0);
}

#[tokio::test]
async fn health_checks_are_hit_by_the_name_of_the_service() {
    for transport in Transport::ALL {
        let server = wire(transport).start().await;
        let held = server.inject(
            Fault::hold()
                .method("grpc.health.v1.Health/Check")
                .when(field("service", "echo.v1.Echo")),
        );
        let client = client(&server).await;
        let check = |service: &str| {
            let mut health = HealthClient::new(client.clone());
            let service = service.to_owned();
            tokio::spawn(async move { health.check(HealthCheckRequest { service }).await })
        };
        let hanging = check("echo.v1.Echo");
        within(held.hit()).await;
        within(check("")).await.unwrap().unwrap();
        within(check("echo.v1.Parrot")).await.unwrap().unwrap();
        squawk(&client).await.unwrap();
        assert!(!hanging.is_finished());
        assert_eq!((held.hits(), held.held(), held.active()), (1, 1, 1));
        held.release(1);
        within(hanging).await.unwrap().unwrap();
        assert_eq!((held.held(), held.active()), (0, 0), "{transport:?}");
        let calls = server.calls_to("grpc.health.v1.Health/Check");
        let told: Vec<_> = calls.iter().map(|call| call.faults().len()).collect();
        assert_eq!(told.iter().sum::<usize>(), 1);
    }
}

#[tokio::test]
async fn a_matcher_that_panics_fails_its_call_and_verification() {
    let builder = MockServer::builder().memory().verify_on_drop(false);
    let server = builder.start().await;
    server.mount(Stub::any().reply(json!({})).times(0..));
    let bad = server.inject(down().when(|_: &Call| -> bool { panic!("a bug in the test") }));
    let client = server.client().await;
    let error = within(client.call("Get", json!({})).into_future())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.status().map(Status::message)),
        (
            Some(Code::Internal),
            Some("a fault's condition panicked: a bug in the test")
        )
    );
    bad.remove();
    assert!(!hit(&client, "Get").await);
    let report = within(server.verify()).await.unwrap_err();
    let problem = report.problems()[0].split(" from ").next().unwrap();
    assert_eq!(
        problem,
        "a fault's condition panicked: a bug in the test, asked about (\"Get\", {})"
    );
}
