//! Starting and dropping a server.

use crate::support::{Transport, within};
use rpcplugin_testkit::{Address, Client, ConnectionState, MockServer, Outcome, Reply, Stub, json};
use std::{collections::HashSet, path::PathBuf};
use tokio::{io::AsyncReadExt as _, net::TcpStream, runtime::Handle};

fn socket_path(server: &MockServer) -> PathBuf {
    match server.address() {
        Address::Unix(path) => path.clone(),
        other => panic!("{other} is no socket"),
    }
}

/// Lets the tasks that were told to end do so. Only the number of rounds is bounded, not the time.
async fn until_tasks(expected: usize) {
    let metrics = Handle::current().metrics();
    for _ in 0..10_000 {
        if metrics.num_alive_tasks() == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!(
        "{} tasks are alive, expected {expected}",
        metrics.num_alive_tasks()
    );
}

#[tokio::test]
async fn a_server_is_listening_when_start_returns() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let client = Client::connect(server.address()).await.unwrap();
        assert_eq!(*client.state().borrow(), ConnectionState::Ready);
        assert_eq!(server.uri().parse::<Address>().unwrap(), *server.address());
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn every_server_has_an_address_of_its_own() {
    let mut servers = Vec::new();
    for _ in 0..20 {
        for transport in Transport::ALL {
            servers.push(transport.start().await);
        }
    }
    let addresses: HashSet<_> = servers
        .iter()
        .map(|server| server.address().clone())
        .collect();
    assert_eq!(addresses.len(), servers.len());
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_is_in_a_private_directory_and_gone_after_the_drop() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let server = MockServer::unix().await;
    let path = socket_path(&server);
    let directory = path.parent().unwrap().to_owned();
    assert!(path.metadata().unwrap().file_type().is_socket());
    assert_eq!(
        directory.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
    drop(server);
    assert!(!path.exists());
    assert!(!directory.exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_at_a_given_path_is_unlinked_and_a_file_that_was_there_is_not() {
    let fixture = MockServer::unix().await;
    let path = socket_path(&fixture).with_file_name("given");
    let address = Address::unix(&path).unwrap();
    let server = MockServer::builder().address(&address).start().await;
    assert_eq!(*server.address(), address);
    assert!(path.exists());

    let error = MockServer::builder()
        .address(&address)
        .try_start()
        .await
        .unwrap_err();
    assert!(error.is_bind());
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    assert!(
        path.exists(),
        "a server that could not start must not remove another's socket"
    );
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn dropping_a_server_frees_its_address_before_it_returns() {
    for transport in Transport::ALL {
        for _ in 0..20 {
            let server = transport.start().await;
            let address = server.address().clone();
            let client = server.client().await;
            drop(server);
            let error = Client::connect(&address).await.unwrap_err();
            assert!(error.is_connect(), "{error:?}");
            if let Address::Unix(_) = &address {
                // Its directory is gone with it.
                continue;
            }
            let again = MockServer::builder().address(&address).start().await;
            assert_eq!(*again.address(), address);
            drop(client);
        }
    }
}

#[tokio::test]
async fn dropping_a_server_closes_its_connections_at_once() {
    let server = MockServer::start().await;
    let Address::Tcp { host, port, .. } = server.address().clone() else {
        panic!("not TCP");
    };
    let mut raw = TcpStream::connect((host.as_str(), port)).await.unwrap();
    // The server's own settings come first: the connection is accepted then.
    let mut settings = [0; 9];
    within(raw.read_exact(&mut settings)).await.unwrap();
    drop(server);
    let mut rest = Vec::new();
    // An orderly end or a reset, and no more bytes than were on their way.
    let _ = within(raw.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn dropping_a_server_ends_its_calls_and_tasks() {
    for transport in Transport::ALL {
        let before = Handle::current().metrics().num_alive_tasks();
        let server = transport.start().await;
        let (reply, mut streams) = Reply::channel();
        server.mount(Stub::method("Held").reply(reply));
        server.mount(
            Stub::method("Never")
                .reply(|_: rpcplugin_testkit::Call| std::future::pending::<Reply>()),
        );
        let client = server.client().await;
        let held = tokio::spawn(client.call("Held", json!({})).into_future());
        let never = tokio::spawn(client.call("Never", json!({})).into_future());
        let stream = within(streams.accept()).await;
        let calls = within(server.wait_for_calls(2)).await;
        drop(server);

        for call in &calls {
            assert_eq!(
                within(call.ended()).await,
                Outcome::Dropped,
                "{transport:?}"
            );
        }
        for joined in [within(held).await, within(never).await] {
            let error = joined.unwrap().unwrap_err();
            assert_eq!(
                error.code(),
                Some(rpcplugin_testkit::Code::Unavailable),
                "{error:?}"
            );
        }
        drop((client, stream, streams));
        until_tasks(before).await;
    }
}

#[tokio::test]
async fn a_thousand_servers_come_and_go_and_leave_nothing() {
    let before = Handle::current().metrics().num_alive_tasks();
    for transport in Transport::ALL {
        for _ in 0..333 {
            let server = transport.start().await;
            server.mount(Stub::any().reply(json!({})));
            server.client().await.call("Echo", json!({})).await.unwrap();
        }
    }
    until_tasks(before).await;
}

#[test]
fn a_server_may_outlive_its_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(MockServer::unix());
    let path = socket_path(&server);
    drop(runtime);
    assert_eq!(server.calls().len(), 0);
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_client_that_goes_leaves_no_connection() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let client = server.client().await;
        let clone = client.clone();
        drop(client);
        clone.health_check().await.unwrap();
        assert_eq!(server.connections(), 1);
        drop(clone);
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_says_why() {
    let taken = MockServer::memory().await;
    let cases = [
        (
            Address::Memory("a b".to_owned()),
            "invalid name of an in-process server `a b`: ' ' cannot stand in the name of an in-process server",
        ),
        (
            taken.address().clone(),
            &*format!("cannot listen on {}", taken.address()),
        ),
        (
            "https://127.0.0.1:0".parse().unwrap(),
            "https://127.0.0.1:0 asks for TLS, and the mock was given none: use `.tls(..)`",
        ),
    ];
    for (address, text) in cases {
        let error = MockServer::builder()
            .address(&address)
            .try_start()
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    let error = MockServer::builder()
        .address("nowhere")
        .try_start()
        .await
        .unwrap_err();
    assert!(error.is_address());
    let _good = MockServer::builder()
        .address("nowhere")
        .memory()
        .start()
        .await;
    assert_eq!(Address::tcp("[::1]", 1).to_string(), "[::1]:1");
}
