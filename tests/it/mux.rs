//! All connections of a plugin through one: hosts that multiplex, by hashicorp's yamux in Go, and by the crate's in Rust.

use crate::plugin_probe::judge;
use crate::process::Running;
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::MockServerBuilder;
use rpcplugin_testkit::plugin::Handshake;
use rpcplugin_testkit::{Address, MockServer, Outcome, Stub, json};
use std::process::Command;
use std::time::Duration;
use std::{future::poll_fn, io, sync::Arc};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const ALL: [fn(MockServerBuilder) -> MockServerBuilder; 2] =
    [MockServerBuilder::tcp, MockServerBuilder::unix];

fn host(server: &MockServer) -> Running {
    let mut command = Command::new(judge("TESTKIT_GO_MUX"));
    match server.address() {
        Address::Unix(path) => command.arg("unix").arg(path),
        other => command.arg("tcp").arg(other.to_string()),
    };
    Running::start(&mut command)
}

#[tokio::test]
#[ignore = "needs hashicorp's yamux: see .ci/run"]
async fn a_go_host_that_multiplexes_knocks_and_is_knocked_for() {
    for transport in ALL {
        let plugin = transport(MockServer::builder()).multiplexed().start().await;
        let second = MockServer::start().await;
        let mut host = host(&plugin);
        assert_eq!(host.line().await, "ok SERVING");

        // What nobody offers is refused, in its words, and nothing else is the worse for it.
        host.send(b"dial 9\n");
        assert_eq!(
            host.line().await,
            "error the knock for 9 is refused: no listener for id 9"
        );
        let broker = plugin.broker();
        broker.offer(9, &second);
        broker.refuse(10, "not today");
        host.send(b"dial 10\n");
        assert_eq!(
            host.line().await,
            "error the knock for 10 is refused: not today"
        );
        for n in 1..=3 {
            host.send(b"dial 9\n");
            assert_eq!(host.line().await, "ok SERVING");
            assert_eq!(second.calls_to("grpc.health.v1.Health/Check").len(), n);
        }
        host.send(b"health\n");
        assert_eq!(host.line().await, "ok SERVING");
        assert_eq!(plugin.calls_to("grpc.health.v1.Health/Check").len(), 2);

        // The plugin dials what the host serves.
        host.send(b"accept 5\n");
        let stream = within(broker.dial(5)).await.unwrap();
        // The host learns of it by the first byte.
        let (channel, line) = tokio::join!(over(stream), host.line());
        let channel = channel.unwrap();
        assert_eq!(line, "ok");
        assert_eq!(check(&channel).await.unwrap(), 1);

        host.send(b"accept 6\n");
        let refused = within(broker.dial(7)).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the host refuses the knock for 7: not this one"
        );
        assert_eq!(host.line().await, "ok");
        let left = host.leave().await;
        assert!(left.success, "{}", left.text);
    }
}

/// A channel of stock tonic over one stream.
async fn over<S>(stream: S) -> Result<Channel, tonic::transport::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let stream = Arc::new(Mutex::new(Some(stream)));
    let connector = tower_fn(move || {
        let stream = Arc::clone(&stream);
        async move {
            let stream = stream.lock().await.take();
            stream.ok_or_else(|| io::Error::other("there was one stream"))
        }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    within(endpoint.connect_with_connector(connector)).await
}

/// A connector from a closure.
fn tower_fn<F, Fut, S>(dial: F) -> Dialling<F>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = io::Result<S>>,
{
    Dialling(dial)
}

struct Dialling<F>(F);

impl<F, Fut, S> tonic::codegen::Service<tonic::transport::Uri> for Dialling<F>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = io::Result<S>> + Send + 'static,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    type Response = hyper_util::rt::TokioIo<S>;
    type Error = io::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: tonic::transport::Uri) -> Self::Future {
        let dialled = (self.0)();
        Box::pin(async move { dialled.await.map(hyper_util::rt::TokioIo::new) })
    }
}

/// A host whose streams are yamux's own.
struct Host(tokio::sync::mpsc::UnboundedSender<tokio::sync::oneshot::Sender<yamux::Stream>>);

impl Host {
    async fn of(server: &MockServer) -> io::Result<Self> {
        match server.address() {
            Address::Unix(path) => Ok(Self::over(UnixStream::connect(path).await?)),
            other => Ok(Self::over(TcpStream::connect(other.to_string()).await?)),
        }
    }

    fn over<S>(socket: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (opening, mut openings) =
            tokio::sync::mpsc::unbounded_channel::<tokio::sync::oneshot::Sender<yamux::Stream>>();
        let config = yamux::Config::default();
        let mut session = yamux::Connection::new(socket.compat(), config, yamux::Mode::Client);
        tokio::spawn(async move {
            let mut wanted = None;
            poll_fn(|cx| {
                loop {
                    if wanted.is_none()
                        && let std::task::Poll::Ready(next) = openings.poll_recv(cx)
                    {
                        wanted = next;
                    }
                    if wanted.is_some()
                        && let std::task::Poll::Ready(Ok(stream)) = session.poll_new_outbound(cx)
                    {
                        let _ = wanted.take().map(|wanted| wanted.send(stream));
                        continue;
                    }
                    match session.poll_next_inbound(cx) {
                        std::task::Poll::Ready(Some(Ok(_))) => {}
                        std::task::Poll::Ready(_) => return std::task::Poll::Ready(()),
                        std::task::Poll::Pending => return std::task::Poll::Pending,
                    }
                }
            })
            .await;
        });
        Self(opening)
    }

    async fn open(&self) -> Channel {
        let (opening, opened) = tokio::sync::oneshot::channel();
        self.0.send(opening).expect("the session is there");
        let stream = within(opened).await.expect("it is opened");
        over(stream.compat()).await.expect("it connects")
    }
}

async fn check(channel: &Channel) -> Result<i32, tonic::Status> {
    let mut health = HealthClient::new(channel.clone());
    let answer = within(health.check(HealthCheckRequest::default())).await?;
    Ok(answer.into_inner().status)
}

#[tokio::test]
async fn each_stream_is_a_connection_of_its_own_and_all_die_at_once() {
    for transport in ALL {
        let plugin = transport(MockServer::builder()).multiplexed().start().await;
        let host = Host::of(&plugin).await.unwrap();
        let [one, other] = [host.open().await, host.open().await];
        assert_eq!(check(&one).await.unwrap(), 1);
        assert_eq!(check(&other).await.unwrap(), 1);
        let ids: Vec<_> = plugin
            .calls_to("Check")
            .iter()
            .map(rpcplugin_testkit::Call::connection_id)
            .collect();
        assert_eq!(ids, [1, 2]);
        assert_eq!(plugin.connections(), 2);

        plugin.kill().await;
        assert_eq!(plugin.connections(), 0);
        check(&one).await.unwrap_err();
        check(&other).await.unwrap_err();
        plugin.restart().await;
        let again = Host::of(&plugin).await.unwrap().open().await;
        assert_eq!(check(&again).await.unwrap(), 1);
        // One that is left alone does not keep its server from stopping.
        within(plugin.shutdown(Duration::MAX)).await;
        check(&again).await.unwrap_err();
    }
}

/// A stream that is no HTTP/2, and a connection that is no yamux, are the end of themselves alone.
#[tokio::test]
async fn what_is_no_session_harms_nobody() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let plugin = MockServer::builder().multiplexed().start().await;
    let host = Host::of(&plugin).await.unwrap();
    let own = host.open().await;
    assert_eq!(check(&own).await.unwrap(), 1);

    let mut raw = TcpStream::connect(plugin.address().to_string())
        .await
        .unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    // Reset or ended.
    let _ = within(raw.read_to_end(&mut rest)).await;
    assert_eq!(check(&own).await.unwrap(), 1);
}

#[tokio::test]
async fn a_program_multiplexes_if_its_host_asks_for_it() {
    let mut plugin =
        crate::plugin_probe::launch("mock_plugin", &[], &[("PLUGIN_MULTIPLEX_GRPC", "true")]);
    let handshake: Handshake = plugin.line().await.parse().unwrap();
    // The example may have been built without the feature.
    if handshake.multiplexed {
        let Address::Unix(path) = &handshake.address else {
            panic!("{handshake}");
        };
        let host = Host::over(UnixStream::connect(path).await.unwrap());
        assert_eq!(check(&host.open().await).await.unwrap(), 1);
    }
    plugin.stop();
}

#[tokio::test]
async fn calls_over_a_stream_are_recorded_as_any() {
    let plugin = MockServer::builder().multiplexed().start().await;
    plugin.mount(Stub::method("/a.B/C").reply(json!({})).times(0..));
    let host = Host::of(&plugin).await.unwrap();
    let channel = host.open().await;
    check(&channel).await.unwrap();
    let calls = plugin.calls_to("Check");
    assert_eq!(calls[0].outcome(), Some(Outcome::Ok));
    // No multiplexed connection is there of one that has none.
    let none = MockServer::memory().await;
    let error = none.broker().dial(1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no multiplexed connection of a host is there"
    );
}
