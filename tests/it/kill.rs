//! Servers that die, stop, come back, and hold their breath: on every transport, with and without TLS.

use crate::process::{alone, open_files, settle};
use crate::support::{Transport, redialling, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Address, Client, Code, Error, MockServer, Outcome, Reply, Stub, json};
use std::{collections::HashSet, error, io, time::Duration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::{net::TcpStream, runtime::Handle, time::Instant};

/// All transports, in plaintext and in mutual TLS.
async fn servers() -> Vec<MockServer> {
    let mut servers = Vec::new();
    for transport in Transport::ALL {
        for secure in [false, true] {
            servers.push(transport.secured(secure).start().await);
        }
    }
    servers
}

/// A client that dials again at once.
async fn client(server: &MockServer) -> Client {
    let builder = redialling(server, server.address());
    within(builder.connect()).await.expect("it listens")
}

/// The kind of the IO error at the bottom.
fn cause(error: &Error) -> Option<io::ErrorKind> {
    let source = error::Error::source(error)?;
    source.downcast_ref::<io::Error>().map(io::Error::kind)
}

#[tokio::test]
async fn a_killed_server_is_dead_when_kill_returns_and_keeps_its_address() {
    for server in servers().await {
        let (reply, gate) = Reply::gate(json!({}));
        server.mount(Stub::method("Held").reply(reply));
        server.mount(Stub::method("Get").reply(json!({"value": 1})).times(0..));
        let caller = client(&server).await;
        within(caller.call("Get", json!({})).into_future())
            .await
            .unwrap();
        let held = tokio::spawn(caller.call("Held", json!({})).into_future());
        within(gate.arrived(1)).await;

        within(server.kill().into_future()).await;
        assert_eq!(server.connections(), 0);
        // The record is there already; the client finds out in its own time.
        assert_eq!(server.calls()[1].outcome(), Some(Outcome::Dropped));
        let error = within(held).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(Code::Unavailable), "{error}");
        let refused = within(Client::connect(
            server.address().to_string().replace("https://", ""),
        ))
        .await;
        let refused = refused.unwrap_err();
        assert_eq!(
            cause(&refused),
            Some(io::ErrorKind::ConnectionRefused),
            "{refused:?}"
        );
        let squatter =
            MockServer::builder().address(server.address().to_string().replace("https://", ""));
        assert!(squatter.try_start().await.unwrap_err().is_bind());

        let before = server.address().clone();
        within(server.restart()).await;
        assert_eq!(*server.address(), before);
        let get = caller.call("Get", json!({})).wait_for_ready();
        assert_eq!(
            within(get.into_future()).await.unwrap(),
            json!({"value": 1})
        );
        let calls = server.calls();
        assert_eq!((calls.len(), calls[2].connection_id()), (3, 2));
    }
}

#[tokio::test]
async fn a_server_is_killed_twice_restarted_twice_and_dropped_while_down() {
    for server in servers().await {
        within(server.restart()).await;
        within(server.kill().into_future()).await;
        within(server.kill().reset().into_future()).await;
        within(async { tokio::join!(server.restart(), server.restart(), server.restart()) }).await;
        within(client(&server).await.health_check()).await.unwrap();
        within(server.kill().into_future()).await;
        let address = server.address().to_string().replace("https://", "");
        drop(server);
        // The address is free again, and a private directory gone.
        if let Some(path) = address.strip_prefix("unix:") {
            assert!(!std::path::Path::new(path).exists());
            continue;
        }
        let next = MockServer::builder()
            .address(&address)
            .try_start()
            .await
            .unwrap();
        assert_eq!(next.address().to_string(), address);
    }
}

/// The kind, the flags and the payload of the next frame.
async fn frame(stream: &mut TcpStream) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

async fn raw(server: &MockServer) -> TcpStream {
    let Address::Tcp { host, port, .. } = server.address() else {
        panic!("not TCP");
    };
    let mut stream = TcpStream::connect((host.as_str(), *port))
        .await
        .expect("a connection");
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("sent");
    // Its settings: the server has accepted, and reads.
    assert_eq!(frame(&mut stream).await.expect("settings").0, 4);
    stream
}

/// What the wire sees.
#[tokio::test]
async fn a_connection_ends_by_fin_and_on_request_by_rst() {
    for reset in [false, true] {
        let server = MockServer::start().await;
        let mut stream = raw(&server).await;
        // Bytes that the server may not have read would turn a FIN into a reset.
        stream.write_all(&[0; 3]).await.unwrap();
        let kill = server.kill();
        let kill = if reset { kill.reset() } else { kill };
        within(kill.into_future()).await;
        let read = within(stream.read_to_end(&mut Vec::new())).await;
        match read {
            Ok(_) => assert!(!reset),
            Err(error) => assert_eq!(
                (error.kind(), reset),
                (io::ErrorKind::ConnectionReset, true)
            ),
        }
    }
}

#[tokio::test]
async fn a_shutdown_lets_calls_end_and_takes_no_others() {
    for server in servers().await {
        let (reply, gate) = Reply::gate(json!({"late": true}));
        server.mount(Stub::method("Held").reply(reply));
        server.mount(Stub::method("Get").reply(json!({})).times(0..));
        let caller = client(&server).await;
        let held = tokio::spawn(caller.call("Held", json!({})).into_future());
        within(gate.arrived(1)).await;
        let down = async {
            within(server.shutdown(Duration::from_secs(60))).await;
        };
        let rest = async {
            // Until it has heard the good-bye its calls are taken; then it dials, and is refused.
            loop {
                let get = within(caller.call("Get", json!({})).into_future()).await;
                if get.is_err_and(|error| error.is_connect()) {
                    break;
                }
            }
            assert_eq!(server.connections(), 1);
            gate.release(1);
        };
        tokio::join!(down, rest);
        assert_eq!(within(held).await.unwrap().unwrap(), json!({"late": true}));
        assert_eq!(server.connections(), 0);
        assert_eq!(server.calls()[0].outcome(), Some(Outcome::Ok));
        within(server.restart()).await;
        within(caller.call("Get", json!({})).wait_for_ready().into_future())
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_cuts_what_is_left_when_the_grace_is_over() {
    let server = MockServer::memory().await;
    let (reply, gate) = Reply::gate(json!({}));
    server.mount(Stub::method("Held").reply(reply));
    let caller = server.client().await;
    let held = tokio::spawn(caller.call("Held", json!({})).no_limit());
    gate.arrived(1).await;
    let (began, grace) = (Instant::now(), Duration::from_secs(7));
    server.shutdown(grace).await;
    assert_eq!(began.elapsed(), grace);
    assert_eq!(server.calls()[0].outcome(), Some(Outcome::Dropped));
    assert_eq!(
        held.await.unwrap().unwrap_err().code(),
        Some(Code::Unavailable)
    );
    // Nothing is left to wait for.
    server.restart().await;
    let began = Instant::now();
    server.shutdown(grace).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

trait NoLimit<T> {
    fn no_limit(self) -> impl Future<Output = Result<T, Error>> + Send + 'static;
}

impl<T: Send + 'static> NoLimit<T> for rpcplugin_testkit::client::UnaryCall<T> {
    fn no_limit(self) -> impl Future<Output = Result<T, Error>> + Send + 'static {
        self.timeout(Duration::MAX).into_future()
    }
}

/// A raw HTTP/2 client sees the two steps: first that no stream is refused yet, then which was the last.
#[tokio::test]
async fn a_shutdown_says_good_bye_in_two_steps() {
    let server = MockServer::start().await;
    let mut stream = raw(&server).await;
    let shutdown = async { within(server.shutdown(Duration::from_secs(60))).await };
    let client = async {
        let mut goaways = Vec::new();
        while let Some((kind, flags, payload)) = frame(&mut stream).await {
            match (kind, flags) {
                // PING: it is answered, which is what the second step waits for.
                (6, 0) => {
                    let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0], payload.as_slice()].concat();
                    stream.write_all(&answer).await.unwrap();
                }
                (7, _) => goaways.push((payload[..4].to_vec(), payload[4..8].to_vec())),
                _ => {}
            }
        }
        goaways
    };
    let ((), goaways) = tokio::join!(shutdown, within(client));
    let no_error = vec![0; 4];
    assert_eq!(
        goaways,
        [
            (vec![0x7f, 0xff, 0xff, 0xff], no_error.clone()),
            (vec![0; 4], no_error)
        ]
    );
}

#[tokio::test]
async fn a_paused_server_hangs_and_goes_on_where_it_stopped() {
    for server in servers().await {
        server.mount(Stub::method("Get").reply(json!({"value": 1})).times(0..));
        let caller = client(&server).await;
        within(caller.call("Get", json!({})).into_future())
            .await
            .unwrap();
        server.pause();
        let waiting: Vec<_> = (0..10)
            .map(|_| tokio::spawn(caller.call("Get", json!({})).into_future()))
            .collect();
        let dialling = tokio::spawn({
            let address = server.address().clone();
            let tls = server.client_tls();
            async move {
                let builder = Client::builder().address(address);
                let builder = tls
                    .into_iter()
                    .fold(builder, rpcplugin_testkit::client::ClientBuilder::tls);
                builder.connect().await
            }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(waiting.iter().all(|call| !call.is_finished()) && !dialling.is_finished());
        assert_eq!((server.calls().len(), server.connections()), (1, 1));
        server.resume();
        for call in waiting {
            within(call).await.unwrap().unwrap();
        }
        within(within(dialling).await.unwrap().unwrap().health_check())
            .await
            .unwrap();
        assert_eq!(server.calls().len(), 11);

        // One that hangs can be killed all the same.
        server.pause();
        let lost = tokio::spawn(caller.call("Get", json!({})).into_future());
        tokio::task::yield_now().await;
        within(server.kill().into_future()).await;
        within(lost).await.unwrap().unwrap_err();
        server.resume();
    }
}

#[test]
fn a_thousand_deaths_leave_nothing_behind() {
    // Open files are counted, which all tests of a process share.
    alone("kill::a_thousand_deaths", &[]);
}

/// Calls are in flight at every death: each ends with a definite outcome on both sides, and nothing is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above, in a process of its own"]
async fn a_thousand_deaths() {
    let rounds = if cfg!(debug_assertions) { 350 } else { 1000 };
    let (tasks, files) = (Handle::current().metrics().num_alive_tasks(), open_files());
    for transport in Transport::ALL {
        let server = transport.start().await;
        let address = server.address().clone();
        server.mount(Stub::method("Get").reply(json!({"value": 1})).times(0..));
        server.mount(Stub::method("Never").reply(Reply::never()).times(0..));
        let caller = client(&server).await;
        let mut outcomes = HashSet::new();
        for round in 0..rounds {
            let calls: Vec<_> = ["Get", "Never", "Get", "Never"]
                .map(|method| {
                    tokio::spawn(
                        caller
                            .call(method, json!({}))
                            .wait_for_ready()
                            .into_future(),
                    )
                })
                .into();
            within(server.wait_until(|journal| journal.to("Never").in_flight().len() == 2)).await;
            let kill = server.kill();
            let kill = if round % 2 == 0 { kill } else { kill.reset() };
            within(kill.into_future()).await;
            assert_eq!(server.connections(), 0);
            within(server.restart()).await;
            for call in calls {
                let ended = within(call).await.unwrap();
                outcomes.insert(ended.map_or_else(|error| error.code(), |_| Some(Code::Ok)));
            }
            assert!(server.journal().in_flight().is_empty(), "{round}");
            server
                .journal()
                .calls()
                .iter()
                .for_each(|call| assert!(call.outcome().is_some()));
            server.reset();
            server.mount(Stub::method("Get").reply(json!({"value": 1})).times(0..));
            server.mount(Stub::method("Never").reply(Reply::never()).times(0..));
        }
        let expected = HashSet::from([Some(Code::Ok), Some(Code::Unavailable)]);
        assert!(
            outcomes.is_subset(&expected) && outcomes.contains(&Some(Code::Unavailable)),
            "{outcomes:?}"
        );
        caller.close().await;
        drop((caller, server));
        settle(tasks).await;
        if let Address::Unix(path) = address {
            assert!(!path.exists());
        }
    }
    let left = open_files();
    assert!(left <= files, "{left} files are open, and {files} were");
}
