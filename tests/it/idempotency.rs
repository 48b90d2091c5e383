//! Which calls are declared idempotent, how, and what is kept of their requests.

use crate::support::{
    ECHO_DESCRIPTOR_SET, Transport,
    echo::{EchoReply, EchoRequest, echo_client::EchoClient},
    within,
};
use pretty_assertions::assert_eq;
use prost::Message as _;
use prost_types::{FileDescriptorSet, method_options::IdempotencyLevel};
use rpcplugin_testkit::client::{ClientBuilder, Idempotent, RetryPolicy};
use rpcplugin_testkit::{
    Client, Code, Fault, MockServer, Reason, Reply, Schema, Shape, Stub, json,
};
use tonic::{Request, Status};

const SHAPES: [Shape; 4] = [
    Shape::Unary,
    Shape::ServerStreaming,
    Shape::ClientStreaming,
    Shape::BidiStreaming,
];

/// How a call is written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Dynamic,
    Typed,
    Generated,
}

const KINDS: [Kind; 3] = [Kind::Dynamic, Kind::Typed, Kind::Generated];

/// How it is declared idempotent.
#[derive(Clone, Copy, Debug)]
enum Declared {
    Not,
    ByCall,
    ByHandle,
    ByName(&'static str),
    ByOption(IdempotencyLevel),
    /// The client has asked the server's reflection.
    ByReflection(IdempotencyLevel),
}

impl Declared {
    const ALL: [(Self, bool); 15] = [
        (Self::Not, false),
        (Self::ByCall, true),
        (Self::ByHandle, true),
        (Self::ByName("Echo"), false),
        (Self::ByName("Method"), true),
        (Self::ByName("Echo.Method"), true),
        (Self::ByName("Echo/Method"), true),
        (Self::ByName("echo.v1.Echo/Method"), true),
        (Self::ByName("/echo.v1.Echo/Method"), true),
        (Self::ByName("Parrot/Method"), false),
        (Self::ByOption(IdempotencyLevel::IdempotencyUnknown), false),
        (Self::ByOption(IdempotencyLevel::Idempotent), true),
        (Self::ByOption(IdempotencyLevel::NoSideEffects), true),
        (
            Self::ByReflection(IdempotencyLevel::IdempotencyUnknown),
            false,
        ),
        (Self::ByReflection(IdempotencyLevel::NoSideEffects), true),
    ];

    fn schema(self) -> Schema {
        match self {
            Self::ByOption(level) | Self::ByReflection(level) => schema(Some(level)),
            _ => schema(None),
        }
    }

    fn client(self, server: &MockServer, method: &str) -> ClientBuilder {
        let builder = Client::builder().address(server.address());
        match self {
            Self::ByReflection(_) => builder,
            Self::ByName(name) => builder
                .schema(self.schema())
                .idempotent(name.replace("Method", method)),
            _ => builder.schema(self.schema()),
        }
    }
}

/// The schema of the echo service, all of whose methods have this option.
fn schema(level: Option<IdempotencyLevel>) -> Schema {
    let mut set = FileDescriptorSet::decode(ECHO_DESCRIPTOR_SET).expect("a descriptor set");
    let services = set.file.iter_mut().flat_map(|file| &mut file.service);
    for method in services.flat_map(|service| &mut service.method) {
        let options = method.options.get_or_insert_default();
        options.idempotency_level = level.map(|level| level as i32);
    }
    Schema::from_descriptor_set(set.encode_to_vec()).expect("a schema")
}

fn method(shape: Shape) -> &'static str {
    match shape {
        Shape::Unary => "Say",
        Shape::ServerStreaming => "Split",
        Shape::ClientStreaming => "Join",
        Shape::BidiStreaming => "Chat",
    }
}

fn asked() -> EchoRequest {
    EchoRequest {
        message: "hello".to_owned(),
        ..EchoRequest::default()
    }
}

/// Makes a call, up to the beginning of its response.
async fn call(client: &Client, kind: Kind, shape: Shape, declared: Declared) -> Code {
    let told = match (kind, declared) {
        (Kind::Dynamic, _) => dynamic(client, shape, declared).await,
        (Kind::Typed, _) => typed(client, shape, declared).await,
        (Kind::Generated, Declared::ByHandle) => {
            generated(&client.idempotent(), shape, declared).await
        }
        (Kind::Generated, _) => generated(client, shape, declared).await,
    };
    told.map_or_else(|code| code, |()| Code::Ok)
}

/// Awaits a call, or declares it before.
macro_rules! begun {
    ($call:expr, $declared:expr) => {{
        let call = match $declared {
            Declared::ByCall => $call.idempotent(),
            _ => $call,
        };
        let begun = within(call.into_future()).await;
        begun
            .map(drop)
            .map_err(|error| error.code().expect("a status"))
    }};
}

async fn dynamic(client: &Client, shape: Shape, declared: Declared) -> Result<(), Code> {
    let client = handle(client, declared);
    let name = format!("Echo/{}", method(shape));
    let args = json!({"message": "hello"});
    let many = tokio_stream::iter([args.clone(), args.clone()]);
    match shape {
        Shape::Unary => begun!(client.call(name, args), declared),
        Shape::ServerStreaming => begun!(client.call_server_stream(name, args), declared),
        Shape::ClientStreaming => begun!(client.call_client_stream(name, many), declared),
        _ => begun!(client.call_bidi_stream(name, many), declared),
    }
}

async fn typed(client: &Client, shape: Shape, declared: Declared) -> Result<(), Code> {
    let client = handle(client, declared);
    let path = format!("/echo.v1.Echo/{}", method(shape));
    let many = tokio_stream::iter([asked(), asked()]);
    match shape {
        Shape::Unary => begun!(client.unary::<_, EchoReply>(path, asked()), declared),
        Shape::ServerStreaming => {
            begun!(
                client.server_stream::<_, EchoReply>(path, asked()),
                declared
            )
        }
        Shape::ClientStreaming => {
            begun!(client.client_stream::<_, EchoReply>(path, many), declared)
        }
        _ => begun!(client.bidi_stream::<_, EchoReply>(path, many), declared),
    }
}

async fn generated(client: &Client, shape: Shape, declared: Declared) -> Result<(), Code> {
    fn request<T>(message: T, declared: Declared) -> Request<T> {
        let mut request = Request::new(message);
        if matches!(declared, Declared::ByCall) {
            request.extensions_mut().insert(Idempotent);
        }
        request
    }
    let mut stub = EchoClient::new(client.clone());
    let one = request(asked(), declared);
    let many = request(tokio_stream::iter([asked(), asked()]), declared);
    let told: Result<(), Status> = match shape {
        Shape::Unary => within(stub.say(one)).await.map(drop),
        Shape::ServerStreaming => within(stub.split(one)).await.map(drop),
        Shape::ClientStreaming => within(stub.join(many)).await.map(drop),
        _ => within(stub.chat(many)).await.map(drop),
    };
    told.map_err(|status| status.code())
}

fn handle(client: &Client, declared: Declared) -> Client {
    match declared {
        Declared::ByHandle => client.idempotent(),
        _ => client.clone(),
    }
}

fn full() -> Reply {
    Reply::status(Code::Unavailable, "full")
}

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_if_it_is_declared_so_whoever_declares_it_and_however_it_is_written() {
    for (declared, repeated) in Declared::ALL {
        let server = Transport::Memory.builder().schema(declared.schema());
        let server = server.start().await;
        for shape in SHAPES {
            let stub = || {
                let stub = Stub::method(format!("Echo/{}", method(shape)));
                stub.reply(full()).then(json!({"message": "hi"}))
            };
            let client = declared.client(&server, method(shape));
            let client = within(client.connect()).await.unwrap();
            if let Declared::ByReflection(_) = declared {
                server.mount(Stub::method("Parrot/Squawk").reply(json!({})));
                within(client.call("Squawk", json!({})).into_future())
                    .await
                    .unwrap();
            }
            for kind in KINDS {
                let mounted = server.mount_scoped(stub());
                let code = call(&client, kind, shape, declared).await;
                let expected = if repeated {
                    (2, Code::Ok)
                } else {
                    (1, Code::Unavailable)
                };
                let seen = (mounted.count(), code);
                assert_eq!(seen, expected, "{declared:?} {kind:?} {shape:?}");
            }
        }
    }
}

/// A server that has not processed it is no reason to count.
#[tokio::test(start_paused = true)]
async fn a_server_is_told_how_often_others_may_have_processed_the_call() {
    for shape in SHAPES {
        for kind in KINDS {
            let server = Transport::Memory.start_echo().await;
            let stub = Stub::any().reply(full()).repeat(3);
            server.mount(stub.then(json!({"message": "hi"})));
            server.inject(Fault::reset(Reason::REFUSED_STREAM).nth_call(2));
            let client = Client::builder().address(server.address());
            let client = within(client.connect()).await.unwrap();
            let code = call(&client, kind, shape, Declared::ByCall).await;
            assert_eq!(code, Code::Ok, "{kind:?} {shape:?}");
            let calls = server.calls();
            let before: Vec<_> = calls
                .iter()
                .map(|call| call.metadata().get("grpc-previous-rpc-attempts"))
                .map(|told| told.map_or("", |told| told.to_str().unwrap()))
                .collect();
            assert_eq!(before, ["", "1", "1", "2"], "{kind:?} {shape:?}");
        }
    }
}

/// One byte more than is kept, and it is not sent again.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_kept_is_not_repeated_and_the_error_says_so() {
    let blob = |bytes: usize| EchoRequest {
        blob: vec![7; bytes],
        ..EchoRequest::default()
    };
    // Each message has its prefix of five bytes.
    let size: usize = [blob(600), blob(700)]
        .iter()
        .map(|one| 5 + one.encoded_len())
        .sum();
    for (kept, attempts) in [(size, 2), (size - 1, 1), (0, 1)] {
        let server = Transport::Memory.start_echo().await;
        server.mount(Stub::any().reply(full()).then(json!({"message": "hi"})));
        let retry = RetryPolicy::default().buffer(kept);
        let client = Client::builder().address(server.address()).retry(retry);
        let client = within(client.connect()).await.unwrap();
        let many = tokio_stream::iter([blob(600), blob(700)]);
        let call = client.client_stream::<_, EchoReply>("/echo.v1.Echo/Join", many);
        let called = within(call.idempotent().into_future()).await;
        assert_eq!(server.calls().len(), attempts, "{kept} bytes");
        let Err(error) = called else {
            assert_eq!(attempts, 2);
            assert_eq!(server.calls()[1].requests().len(), 2);
            continue;
        };
        let lines = [
            "/echo.v1.Echo/Join failed after 1 attempt, the request is not kept from its beginning:".to_owned(),
            format!("  {} after 0.0ns: UNAVAILABLE: full", server.address()),
        ];
        assert_eq!(error.to_string(), lines.join("\n"));
        assert_eq!(error.code(), Some(Code::Unavailable));
    }
}

#[tokio::test(start_paused = true)]
async fn with_no_policy_nothing_is_repeated_that_a_server_may_have_processed() {
    let server = Transport::Memory.start_echo().await;
    server.mount(Stub::any().reply(full()).then(json!({"message": "hi"})));
    let client = Client::builder().address(server.address());
    let client = within(client.retry(RetryPolicy::none()).connect())
        .await
        .unwrap();
    let code = call(&client, Kind::Typed, Shape::Unary, Declared::ByCall).await;
    assert_eq!((code, server.calls().len()), (Code::Unavailable, 1));
}
