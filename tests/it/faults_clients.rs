//! What stock clients make of faults of the RPC layer, and what the record tells of a status.

use crate::ask::{ask, h2};
use crate::faults_stream::channel;
use crate::faults_target::Target;
use crate::judges::request;
use crate::probe::{Wire, framed, said};
use crate::services::Real;
use crate::support::{echo, within};
use echo::{echo_client::EchoClient, echo_server::EchoServer, parrot_client::ParrotClient};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Client, Code, Error, Fault, MockServer, Outcome, Reply, Status, Stub, json,
};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// A fault, and what a unary call and a stream of three end with: in tonic's client, and in this crate's own.
/// Our own has no code for what it cannot decode.
type Row = (Fault, [Option<Code>; 2], [Option<Code>; 2]);

fn rows() -> Vec<Row> {
    use Code::{DataLoss, Internal, Ok, OutOfRange, Unavailable, Unimplemented, Unknown};
    let both = |code: Code| [Some(code); 2];
    let pair = |tonic: Code, own: Code| [Some(tonic), Some(own)];
    vec![
        (
            Fault::status(Status::data_loss("lost")),
            both(DataLoss),
            both(DataLoss),
        ),
        (Fault::no_message(), both(Internal), both(Ok)),
        // tonic takes the first, and looks at no other.
        (Fault::two_messages(), pair(Ok, Internal), both(Ok)),
        (Fault::missing_status(), both(Unknown), both(Unknown)),
        (
            Fault::malformed_status("fine"),
            both(Unknown),
            both(Unknown),
        ),
        // tonic asks the headers first.
        (Fault::status_in_headers(), both(Ok), both(Ok)),
        // tonic does not look at it.
        (
            Fault::content_type("text/html"),
            pair(Ok, Unknown),
            pair(Ok, Unknown),
        ),
        // tonic takes the page for a message before it looks at the status.
        (
            Fault::http_status(503),
            pair(Internal, Unavailable),
            pair(Internal, Unavailable),
        ),
        // tonic is told that gzip comes, which it was not told to take.
        (
            Fault::bad_compression(),
            pair(Unimplemented, Internal),
            pair(Unimplemented, Internal),
        ),
        (
            Fault::garbage_message(),
            [Some(Internal), None],
            [Some(Internal), None],
        ),
        // What follows in a stream is taken for the rest of it.
        (
            Fault::truncated_message(),
            both(Internal),
            [Some(Internal), None],
        ),
        (
            Fault::oversized_message(5 << 20),
            both(OutOfRange),
            both(OutOfRange),
        ),
        (Fault::oversized_metadata(8_000), both(Ok), both(Ok)),
    ]
}

fn code<T>(result: Result<T, Status>) -> Option<Code> {
    Some(result.map_or_else(|status| status.code(), |_| Code::Ok))
}

fn own_code<T>(result: Result<T, Error>) -> Option<Code> {
    result.map_or_else(|error| error.code(), |_| Some(Code::Ok))
}

async fn tonic_stream(channel: Channel) -> Result<(), Status> {
    let mut stream = EchoClient::new(channel)
        .split(request("x"))
        .await?
        .into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

async fn own_stream(client: &Client) -> Result<(), Error> {
    let mut stream = client.call_server_stream("Split", json!({})).await?;
    while stream.message().await?.is_some() {}
    Ok(())
}

#[tokio::test]
async fn every_fault_has_the_code_that_is_told_in_tonic_and_in_our_own_client() {
    let server = Target::start(Wire::Tcp).await;
    let channel = channel(&server).await;
    let own = within(server.client().into_future()).await;
    let mut wrong = Vec::new();
    for (fault, unary, stream) in rows() {
        let name = format!("{fault:?}");
        let fault = server.inject(fault);
        let mut parrot = ParrotClient::new(channel.clone());
        let call = own.call("Squawk", json!({}));
        let seen = [
            code(within(parrot.squawk(request("x"))).await),
            own_code(within(call.into_future()).await),
            code(within(tonic_stream(channel.clone())).await),
            own_code(within(own_stream(&own)).await),
        ];
        if seen != [unary[0], unary[1], stream[0], stream[1]] {
            wrong.push((name.clone(), seen));
        }
        // What serves the call is not seen by the client. The mock's own services get no fault that does not name them.
        let mut echo = EchoClient::new(channel.clone());
        let mut health = HealthClient::new(channel.clone());
        let check = HealthCheckRequest::default();
        let others = [
            code(within(echo.say(request("x"))).await),
            code(within(health.check(check)).await),
        ];
        if others != [unary[0], Some(Code::Ok)] {
            wrong.push((
                format!("{name} elsewhere"),
                [others[0], others[1], None, None],
            ));
        }
        assert_eq!(fault.hits(), 5, "{name}");
        fault.remove();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(server.connections(), 2);
}

/// The codes that stand for HTTP statuses, in
/// [gRPC's table](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
#[tokio::test]
async fn http_statuses_have_the_codes_of_grpcs_table() {
    let server = Target::start(Wire::Tcp).await;
    let mut tonic = ParrotClient::new(channel(&server).await);
    let own = within(server.client().into_future()).await;
    for (status, expected) in [
        (200, Code::Unknown),
        (301, Code::Unknown),
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
        (999, Code::Unknown),
    ] {
        let _fault = server.inject_scoped(Fault::http_status(status).times(2));
        let call = own.call("Squawk", json!({}));
        let error = within(call.into_future()).await.unwrap_err();
        assert_eq!(error.code(), Some(expected), "{status}");
        let error = within(tonic.squawk(request("x"))).await.unwrap_err();
        // tonic takes the page for a message before it looks at the status.
        assert_eq!(error.code(), Code::Internal, "{status} {error:?}");
    }
}

/// A status with all that it can have.
fn lost() -> Status {
    let mut status = Status::with_details(Code::DataLoss, "naïve ☃", vec![1, 2].into());
    status
        .metadata_mut()
        .insert("x-lost", "7".parse().expect("ASCII"));
    status
}

#[tokio::test]
async fn a_status_comes_whole_asks_no_stub_and_is_recorded() {
    for wire in [Wire::Tcp, Wire::Unix] {
        let server = wire.start().await;
        let stub = server.mount(Stub::method("Squawk").reply(json!({})).never());
        let chat = server.mount(Stub::method("Chat").reply(json!({})).never());
        let fault = server.inject(Fault::status(lost()));
        let uri = match server.address() {
            rpcplugin_testkit::Address::Unix(path) => format!("unix://{}", path.display()),
            other => other.uri(),
        };
        let endpoint = tonic::transport::Endpoint::from_shared(uri).unwrap();
        let channel = within(endpoint.connect()).await.unwrap();
        let mut parrot = ParrotClient::new(channel.clone());
        let errors = [
            within(parrot.squawk(request("unary"))).await.unwrap_err(),
            // Nothing serves that.
            within(parrot.say(request("nobody"))).await.unwrap_err(),
            within(EchoClient::new(channel).chat(tokio_stream::once(request("chat"))))
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!((error.code(), error.message()), (Code::DataLoss, "naïve ☃"));
            assert_eq!(error.details(), [1, 2]);
            assert_eq!(error.metadata().get("x-lost").unwrap(), "7");
        }
        within(server.wait_until(|journal| {
            journal
                .calls()
                .iter()
                .all(|call| call.requests().len() == 1)
        }))
        .await;
        for (call, said) in server.calls().iter().zip(["unary", "nobody", "chat"]) {
            assert_eq!(call.outcome(), Some(Outcome::Status(Code::DataLoss)));
            let status = call.status().unwrap();
            assert_eq!(
                (status.message(), status.details()),
                ("naïve ☃", &[1, 2][..])
            );
            assert_eq!(status.metadata().get("x-lost").unwrap(), "7");
            assert_eq!(call.requests()[0].json()["message"], said);
            assert_eq!(call.stub(), None);
        }
        assert!(server.journal().unmatched().is_empty());
        assert_eq!((stub.count(), chat.count(), fault.hits()), (0, 0, 3));
        within(server.verify()).await.unwrap();
    }
}

#[tokio::test]
async fn a_status_after_messages_or_bytes_breaks_the_answer_off_there() {
    let server = Target::start(Wire::Tcp).await;
    let requests = h2(&server).await;
    let whole = ["a", "b", "c"].map(|word| framed(&said(word))).concat();
    let places = (0..=4).map(|n| (Fault::status(lost()).after_messages(n), 8 * n, n <= 3));
    let bytes = (0..=25).map(|n| (Fault::status(lost()).after_bytes(n), n, n <= 24));
    for (fault, sent, happens) in places.chain(bytes) {
        let fault = server.inject(fault);
        let answer = ask(&requests, Target::Streaming.path(), &said("x"), None).await;
        let sent = usize::try_from(sent.min(24)).unwrap();
        assert_eq!(answer.data, whole[..sent]);
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers["grpc-status"], if happens { "15" } else { "0" });
        assert_eq!(trailers.contains_key("x-lost"), happens);
        assert_eq!(fault.hits(), u64::from(happens));
        let calls = server.calls();
        let call = calls.last().unwrap();
        let expected = if happens {
            Outcome::Status(Code::DataLoss)
        } else {
            Outcome::Ok
        };
        assert_eq!(within(call.ended()).await, expected);
        // What has begun to answer was asked.
        assert!(call.stub().is_some());
        fault.remove();
    }
}

#[tokio::test]
async fn faults_that_break_an_answer_count_the_stub_or_the_service_that_gave_it() {
    let server: MockServer = Wire::Tcp.start().await;
    let stub = server.mount(
        Stub::method("Squawk")
            .reply(json!({"message": "hi"}))
            .times(3),
    );
    let gone = server.mount(
        Stub::method("Parrot/Say")
            .reply(Reply::status(Code::NotFound, ""))
            .times(3),
    );
    server.mount_service(EchoServer::new(Real));
    let mut parrot = ParrotClient::new(channel(&server).await);
    for fault in [
        Fault::missing_status(),
        Fault::http_status(503),
        Fault::reset_before_trailers(rpcplugin_testkit::Reason::CANCEL),
    ] {
        let fault = server.inject(fault);
        within(parrot.squawk(request("x"))).await.unwrap_err();
        within(parrot.say(request("x"))).await.unwrap_err();
        assert_eq!(fault.hits(), 2);
        fault.remove();
    }
    assert_eq!((stub.count(), gone.count()), (3, 3));
    within(server.verify()).await.unwrap();
}
