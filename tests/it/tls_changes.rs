//! TLS beyond the table: pins, rotation, reloading, versions, names, matchers, and peers that speak something else.

use crate::support::{Transport, echo, echo_schema, within};
use echo::echo_client::EchoClient;
use echo::parrot_client::ParrotClient;
use echo::parrot_server::{Parrot, ParrotServer};
use echo::{EchoReply, EchoRequest};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::client::ClientBuilder;
use rpcplugin_testkit::matchers::client_certificate;
use rpcplugin_testkit::tls::TlsVersion;
use rpcplugin_testkit::{
    Address, Authority, Certificate, Client, ClientTls, Code, ConnectionState, Identity,
    MockServer, ServerTls, Stub, json,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{RootCertStore, ServerConfig};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::{Request, Response, Status};

fn client(server: &MockServer, tls: ClientTls) -> ClientBuilder {
    Client::builder().address(server.address()).tls(tls)
}

/// The serial number of the certificate that the server presents to a new connection.
async fn presented(server: &MockServer, authority: &Authority, identities: &[&Identity]) -> usize {
    let mut found = Vec::new();
    for (at, identity) in identities.iter().enumerate() {
        let pinned = ClientTls::new().pinned(*identity);
        if within(client(server, pinned).connect()).await.is_ok() {
            found.push(at);
        }
    }
    within(client(server, ClientTls::new().roots(authority)).connect())
        .await
        .expect("it is trusted");
    assert_eq!(found.len(), 1);
    found[0]
}

#[tokio::test]
async fn new_connections_see_a_certificate_that_was_rotated_and_old_ones_go_on() {
    let authority = Authority::new();
    for transport in Transport::ALL {
        let [old, new] = [authority.localhost(), authority.localhost()];
        let server = transport.builder().tls(old.clone()).start().await;
        server.mount(Stub::any().reply(json!({})));
        let early = within(client(&server, ClientTls::new().roots(&authority)).connect())
            .await
            .unwrap();
        assert_eq!(presented(&server, &authority, &[&old, &new]).await, 0);
        server.rotate_certificate(new.clone());
        assert_eq!(presented(&server, &authority, &[&old, &new]).await, 1);
        within(early.call("A", json!({})).into_future())
            .await
            .unwrap();
        assert_eq!(server.calls()[0].connection_id(), 1);
    }
}

#[tokio::test]
async fn which_clients_are_accepted_can_be_changed_too() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = MockServer::builder()
        .tls(ServerTls::mutual(&first))
        .start()
        .await;
    assert_eq!(
        server.authority().unwrap().certificate(),
        first.certificate()
    );
    let of = |roots: &Authority, clients: &Authority| {
        client(
            &server,
            ClientTls::new().roots(roots).identity(clients.client("c")),
        )
        .connect()
    };
    within(of(&first, &first)).await.unwrap();
    // A rotated certificate leaves it as it was: clients of the first are still wanted.
    server.rotate_certificate(second.localhost());
    within(of(&second, &first)).await.unwrap();
    within(of(&second, &second)).await.unwrap_err();
    server.set_tls(ServerTls::mutual(&second));
    within(of(&second, &first)).await.unwrap_err();
    within(of(&second, &second)).await.unwrap();
    within(server.client().await.health_check()).await.unwrap();
}

#[tokio::test]
#[should_panic(expected = "speaks plaintext: start it with `.tls(..)`")]
async fn a_server_that_speaks_plaintext_has_no_certificate_to_rotate() {
    let server = MockServer::memory().await;
    server.rotate_certificate(Authority::shared().localhost());
}

/// What go-plugin does on both sides: each pins the certificate of the other, which signed itself.
#[tokio::test]
async fn pinned_certificates_are_accepted_whatever_they_say_and_no_others() {
    for transport in Transport::ALL {
        let [host, plugin, stranger] = [(); 3].map(|()| Identity::auto_mtls());
        let tls = ServerTls::new(plugin.clone()).require_pinned_client(&host);
        let server = transport.builder().tls(tls).start().await;
        server.mount(Stub::any().reply(json!({})));
        let pinning = |pinned: &Identity, own: &Identity| {
            let tls = ClientTls::new().pinned(pinned).identity(own.clone());
            client(&server, tls).connect()
        };
        let attached = within(pinning(&plugin, &host)).await.unwrap();
        within(attached.call("A", json!({})).into_future())
            .await
            .unwrap();
        assert_eq!(
            server.calls()[0].client_certificate(),
            Some(host.certificate())
        );

        let serial = |identity: &Identity| identity.certificate().serial().to_owned();
        let error = within(pinning(&stranger, &host)).await.unwrap_err();
        let expected = format!(
            "no TLS with {}: this client refuses the server's certificate CN=localhost,O=HashiCorp: \
             its serial number is `{}`, and pinned is `{}`",
            server.address(),
            serial(&plugin),
            serial(&stranger)
        );
        assert_eq!(error.to_string(), expected);
        let error = within(pinning(&plugin, &stranger)).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the server refuses this client's certificate"),
            "{error}"
        );
        within(server.wait_until(|journal| journal.refused().len() == 2)).await;
        assert_eq!(server.calls().len(), 1);
        // A server that pins its clients cannot sign one for us.
        let tls = server.client_tls().unwrap();
        within(client(&server, tls).connect()).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_client_may_be_let_in_without_a_certificate_but_not_with_a_bad_one() {
    let authority = Authority::new();
    let tls = ServerTls::from(&authority).allow_client(&authority);
    let server = MockServer::builder().memory().tls(tls).start().await;
    server.mount(Stub::any().reply(json!({})));
    let trusting = || ClientTls::new().roots(&authority);
    for (own, name) in [(None, None), (Some(authority.client("c")), Some("c"))] {
        let tls = own.into_iter().fold(trusting(), ClientTls::identity);
        let client = within(client(&server, tls).connect()).await.unwrap();
        within(client.call("A", json!({})).into_future())
            .await
            .unwrap();
        let call = server.calls().pop().unwrap();
        let certificate = call.client_certificate();
        assert_eq!(certificate.and_then(Certificate::common_name), name);
    }
    let bad = trusting().identity(Authority::new().client("c"));
    within(client(&server, bad).connect()).await.unwrap_err();
}

#[tokio::test]
async fn stubs_and_the_journal_tell_clients_apart_by_their_certificates() {
    let authority = Authority::new();
    let builder = MockServer::builder().memory().schema(echo_schema());
    let server = builder.tls(ServerTls::mutual(&authority)).start().await;
    server.mount(Stub::any().reply(json!({"message": "stranger"})));
    server.mount(
        Stub::method("Echo.Say")
            .when(client_certificate("a"))
            .reply(json!({"message": "by name"})),
    );
    let issued = |of: &Certificate| of.has_name("b.example");
    server.mount(
        Stub::method("Echo.Say")
            .when(client_certificate(issued))
            .reply(json!({"message": "by closure"})),
    );
    for (name, expected) in [
        ("a", "by name"),
        ("b.example", "by closure"),
        ("c", "stranger"),
    ] {
        let tls = ClientTls::new()
            .roots(&authority)
            .identity(authority.client(name));
        let client = within(client(&server, tls).connect()).await.unwrap();
        let mut stub = EchoClient::new(client);
        let reply = within(stub.say(EchoRequest::default())).await.unwrap();
        assert_eq!(reply.into_inner().message, expected);
        assert_eq!(server.journal().from_client(name).len(), 1);
    }
    assert_eq!(server.journal().from_client("d").len(), 0);
}

#[tokio::test]
async fn a_stub_for_another_client_says_whose_certificate_came() {
    for (tls, came) in [
        (
            true,
            "wanted `other`, came CN=test client with the names []",
        ),
        (false, "the client has no certificate"),
    ] {
        let builder = MockServer::builder().memory().allow_unmatched();
        let builder = if tls { builder.mtls() } else { builder };
        let server = builder.start().await;
        server.mount(
            Stub::method("A")
                .when(client_certificate("other"))
                .reply(json!({})),
        );
        let client = server.client().await;
        let error = within(client.call("A", json!({})).into_future())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(came), "{error}");
    }
}

#[tokio::test]
async fn each_version_of_tls_is_spoken_alone_and_refused_in_one_line() {
    let authority = Authority::new();
    let trusting = || ClientTls::new().roots(&authority);
    for (own, other) in [
        (TlsVersion::Tls12, TlsVersion::Tls13),
        (TlsVersion::Tls13, TlsVersion::Tls12),
    ] {
        let server = Transport::Memory
            .builder()
            .tls(ServerTls::from(&authority).only(own))
            .start()
            .await;
        within(client(&server, trusting()).connect()).await.unwrap();
        within(client(&server, trusting().only(own)).connect())
            .await
            .unwrap();
        let error = within(client(&server, trusting().only(other)).connect())
            .await
            .unwrap_err();
        let address = server.address();
        let expected = format!(
            "no TLS with {address}: the server has no TLS in common with this client (which speaks {other} only) \
             (alert `protocol_version`)"
        );
        assert_eq!(error.to_string(), expected);
        within(server.wait_until(|journal| journal.refused().len() == 1)).await;
        let reason = server.journal().refused()[0].reason().to_owned();
        let expected =
            format!("this server (which speaks {own} only) and the client have no TLS in common (");
        assert!(reason.starts_with(&expected), "{reason}");
    }
}

#[tokio::test]
async fn a_server_is_asked_for_by_the_name_that_is_told() {
    let authority = Authority::new();
    let server = MockServer::builder()
        .tls(authority.server(["db.internal"]))
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})));
    let trusting = || ClientTls::new().roots(&authority);
    let error = within(client(&server, trusting()).connect())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("`127.0.0.1` was asked for, and it is for `db.internal`"),
        "{error}"
    );
    let named = within(client(&server, trusting().server_name("db.internal")).connect())
        .await
        .unwrap();
    within(named.call("A", json!({})).into_future())
        .await
        .unwrap();
    let bad = client(&server, trusting().server_name("no name"))
        .connect_lazy()
        .unwrap_err();
    let expected =
        "`no name` cannot be the name of a TLS server: expected a DNS name or an IP address";
    assert_eq!(bad.to_string(), expected);
}

#[tokio::test]
async fn plaintext_and_tls_find_each_other_out() {
    for transport in Transport::ALL {
        let authority = Authority::new();
        let secure = transport.builder().tls(&authority).start().await;
        let address = secure.address().to_string().replace("https://", "");
        let error = within(Client::connect(&address)).await.unwrap_err();
        let expected = format!(
            "no TLS with {address}: the server speaks TLS, and this client was told nothing of it: \
             give `Client::builder()` its `.tls(..)`"
        );
        assert_eq!(error.to_string(), expected);
        within(secure.wait_until(|journal| journal.refused().len() == 1)).await;
        assert_eq!(
            secure.journal().refused()[0].reason(),
            "this server speaks TLS, and the client does not: it speaks HTTP/2 in plaintext"
        );

        let plain = transport.builder().start().await;
        let error = within(client(&plain, ClientTls::new().roots(&authority)).connect())
            .await
            .unwrap_err();
        let address = plain.address();
        let expected = format!(
            "no TLS with {address}: this client speaks TLS, and the server does not: it answers with HTTP/2 in plaintext"
        );
        assert_eq!(error.to_string(), expected);
        assert!(error.is_tls() && error.code() == Some(Code::Unavailable));
    }
}

/// The files are read for each dial; those that are of no use now leave what was read before.
#[tokio::test]
async fn files_that_change_are_used_by_the_next_dial() {
    let (first, second) = (Authority::new(), Authority::new());
    let server = MockServer::builder()
        .memory()
        .tls(ServerTls::mutual(&first))
        .start()
        .await;
    server.mount(Stub::any().reply(json!({})));
    let files = first.client("first").files().unwrap();
    let tls = ClientTls::new()
        .roots_file(files.ca())
        .identity_files(files.cert(), files.key());
    let client = within(client(&server, tls).connect()).await.unwrap();
    let call = || within(client.call("A", json!({})).into_future());
    call().await.unwrap();

    server.set_tls(ServerTls::mutual(&second));
    files.replace(&second.client("second")).unwrap();
    client.reload_tls().unwrap();
    call().await.unwrap();
    let connections = || {
        server
            .calls()
            .iter()
            .map(|call| call.connection_id())
            .collect::<Vec<_>>()
    };
    assert_eq!(connections(), [1, 1]);
    assert_eq!(server.journal().from_client("second").len(), 0);

    let whole = std::fs::read_to_string(files.cert()).unwrap();
    std::fs::write(files.cert(), &whole[..100]).unwrap();
    let error = client.reload_tls().unwrap_err();
    let expected = format!(
        "the file `{}` has no complete PEM block",
        files.cert().display()
    );
    assert_eq!(error.to_string(), expected);
    // A new client of the same files cannot do without them, and this one can.
    let other = ClientTls::new()
        .roots_file(files.ca())
        .identity_files(files.cert(), files.key());
    let refused = Client::builder()
        .address(server.address())
        .tls(other)
        .connect_lazy();
    assert_eq!(refused.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn a_dial_after_the_connection_is_lost_uses_the_new_files() {
    let authority = Authority::new();
    let name = "memory:tls-reload";
    let start = || {
        MockServer::builder()
            .address(name)
            .tls(ServerTls::mutual(&authority))
            .start()
    };
    let server = start().await;
    let files = authority.client("first").files().unwrap();
    let tls = ClientTls::new()
        .roots_file(files.ca())
        .identity_files(files.cert(), files.key());
    let client = within(client(&server, tls).connect()).await.unwrap();
    let mut state = client.state();
    drop(server);
    within(state.wait_for(|state| *state == ConnectionState::Idle))
        .await
        .unwrap();
    files.replace(&authority.client("second")).unwrap();
    let server = start().await;
    server.mount(Stub::any().reply(json!({})));
    within(client.call("A", json!({})).wait_for_ready().into_future())
        .await
        .unwrap();
    assert_eq!(server.journal().from_client("second").len(), 1);

    std::fs::write(files.key(), "half a ke").unwrap();
    drop(server);
    within(state.wait_for(|state| *state == ConnectionState::Idle))
        .await
        .unwrap();
    let server = start().await;
    server.mount(Stub::any().reply(json!({})));
    within(client.call("A", json!({})).wait_for_ready().into_future())
        .await
        .unwrap();
    assert_eq!(server.journal().from_client("second").len(), 1);
}

fn host(server: &MockServer) -> (String, u16) {
    match server.address() {
        Address::Tcp { host, port, .. } => (host.clone(), *port),
        other => panic!("{other} is not TCP"),
    }
}

/// A real service that counts who reaches it.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

#[tonic::async_trait]
impl Parrot for Counted {
    async fn say(&self, _: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(EchoReply::default()))
    }

    async fn squawk(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        self.say(request).await
    }
}

#[tokio::test]
async fn a_wrong_or_missing_certificate_never_reaches_a_mounted_service() {
    let authority = Authority::new();
    for transport in Transport::ALL {
        let builder = transport.builder().schema(echo_schema());
        let server = builder.tls(ServerTls::mutual(&authority)).start().await;
        let service = Counted::default();
        server.mount_service(ParrotServer::new(service.clone()));
        let owns = [
            None,
            Some(Authority::new().client("c")),
            Some(authority.client("c")),
        ];
        for (at, own) in owns.into_iter().enumerate() {
            let tls = own
                .into_iter()
                .fold(ClientTls::new().roots(&authority), ClientTls::identity);
            let lazy = client(&server, tls).connect_lazy().unwrap();
            let called = within(ParrotClient::new(lazy).squawk(EchoRequest::default())).await;
            assert_eq!(called.is_ok(), at == 2, "{called:?}");
            assert_eq!(service.0.load(Ordering::Relaxed), at / 2);
            assert_eq!(server.calls().len(), at / 2);
        }
        assert_eq!(server.journal().refused().len(), 2);
    }
}

/// In TLS 1.3 a client may speak before its certificate was looked at. What it says is not heard.
#[tokio::test]
async fn a_request_that_comes_with_a_bad_certificate_never_reaches_anything() {
    let authority = Authority::new();
    let server = MockServer::builder()
        .tls(ServerTls::mutual(&authority))
        .start()
        .await;
    let never = server.mount(Stub::any().reply(json!({})).never());
    let mut roots = RootCertStore::empty();
    roots.add(authority.root().der().to_vec().into()).unwrap();
    let stranger = Authority::new().client("stranger");
    for own in [None, Some(stranger)] {
        let provider = Arc::new(rustls::crypto::CryptoProvider::clone(&provider()));
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots.clone());
        let config = match own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let chain = own.chain_der().map(|der| der.to_vec().into()).collect();
                let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.key_der().to_vec());
                config.with_client_auth_cert(chain, key.into()).unwrap()
            }
        };
        let stream = TcpStream::connect(host(&server)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connected = within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
        let mut stream = connected.expect("the server has not looked yet");
        // A preface, settings, and a request, before anything is read.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let _ = stream.write_all(preface).await;
        let read = within(stream.read_to_end(&mut Vec::new())).await;
        assert!(
            read.unwrap_err()
                .to_string()
                .contains("received fatal alert")
        );
    }
    within(server.wait_until(|journal| journal.refused().len() == 2)).await;
    assert!(server.calls().is_empty() && never.count() == 0);
}

#[cfg(feature = "aws-lc")]
pub(crate) fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "aws-lc"))]
pub(crate) fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// What comes to a TLS port that is no TLS, and what is told of it.
#[tokio::test]
async fn bytes_that_are_no_tls_are_refused_and_told_and_harm_nobody() {
    let not_tls = "this server speaks TLS, and the client does not: it began with";
    let cases: [(&[u8], &str); 6] = [
        (
            b"",
            "the client closed the connection during the TLS handshake",
        ),
        (
            b"\x16",
            "the client closed the connection during the TLS handshake",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", not_tls),
        (
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
            "this server ends the TLS handshake: ",
        ),
        (
            b"PRI * HT",
            "this server speaks TLS, and the client does not: it speaks HTTP/2 in plaintext",
        ),
        (&[0xff; 100], not_tls),
    ];
    let server = MockServer::builder().mtls().start().await;
    let bystander = server.client().await;
    for (at, (bytes, told)) in cases.iter().enumerate() {
        let mut stream = TcpStream::connect(host(&server)).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = within(stream.read_to_end(&mut Vec::new())).await;
        within(server.wait_until(|journal| journal.refused().len() == at + 1)).await;
        let refused = server.journal().refused().pop().unwrap();
        assert!(refused.reason().starts_with(told), "{bytes:?}: {refused}");
        assert_eq!(
            refused.peer().to_string(),
            stream.local_addr().unwrap().to_string()
        );
    }
    within(bystander.health_check()).await.unwrap();
    let journal = server.journal().to_string();
    assert_eq!(journal.matches("refused: connection ").count(), cases.len());
}

/// A server of something else behind TLS, and one that never gets to its end.
#[tokio::test]
async fn a_server_that_hangs_or_hangs_up_in_the_handshake_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = || ClientTls::new().roots(Authority::shared());
    let closing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        drop(stream);
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream
    });
    let dial = || within(Client::builder().address(address).tls(tls()).connect());
    let error = dial().await.unwrap_err();
    let told = [
        format!("no TLS with {address}: the server closed the connection during the TLS handshake"),
        // It had not read all.
        format!(
            "no TLS with {address}: the connection broke during the TLS handshake: Connection reset by peer (os error 104)"
        ),
    ];
    assert!(told.contains(&error.to_string()), "{error}");
    let error = dial().await.unwrap_err();
    let expected = format!(
        "no TLS with {address}: this client speaks TLS, and the server does not: it began with \"HTTP/1.1 400 Bad Request\""
    );
    assert_eq!(error.to_string(), expected);
    drop(closing.await.unwrap());
}

/// A client that says nothing keeps its connection, and nobody else's; it ends with the server.
#[tokio::test]
async fn a_client_that_never_begins_its_handshake_holds_up_nobody() {
    let server = MockServer::builder().mtls().start().await;
    let mut silent = TcpStream::connect(host(&server)).await.unwrap();
    within(server.client().await.health_check()).await.unwrap();
    assert_eq!(server.connections(), 2);
    drop(server);
    let read = within(silent.read(&mut [0; 10])).await;
    assert_eq!(read.unwrap_or_default(), 0);
}

/// `server.client()` finds its way whatever names the certificate has, and says what it lacks.
#[tokio::test]
async fn the_client_of_a_server_just_works_or_says_what_it_lacks() {
    let authority = Authority::new();
    for names in [["db.internal"], ["*.db.internal"]] {
        for transport in [Transport::Tcp, Transport::Memory] {
            let identity = authority.server(names);
            let server = transport
                .builder()
                .tls(ServerTls::new(identity).require_client(&authority))
                .start()
                .await;
            within(server.client().await.health_check()).await.unwrap();
        }
    }
    let tls = ServerTls::from(&authority).require_client(authority.certificate());
    let server = Transport::Memory.builder().tls(tls).start().await;
    let panic = tokio::spawn(async move { drop(server.client().await) })
        .await
        .unwrap_err();
    let panic = panic.into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    let hint =
        "(nobody in this process can sign a client's certificate: build a client with `.tls(..)`)";
    assert!(text.ends_with(hint), "{text}");
}

/// A refused client that never goes is given up.
#[tokio::test]
async fn a_refused_client_that_stays_is_closed_after_a_while() {
    let server = MockServer::builder().mtls().start().await;
    let mut stream = TcpStream::connect(host(&server)).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    within(server.wait_until(|journal| journal.refused().len() == 1)).await;
    within(async {
        while server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(stream);
}

/// A server that never answers the handshake is given up with the connect timeout.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_never_answered_is_over_with_the_connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ClientTls::new().roots(Authority::shared());
    let limit = Duration::from_secs(3);
    let builder = Client::builder()
        .address(address)
        .connect_timeout(limit)
        .tls(tls);
    let error = builder.connect().await.unwrap_err();
    let expected = format!("no connection to {address} within the connect timeout of 3s");
    assert_eq!(error.to_string(), expected);
    drop(listener);
}

/// So does gRPC's C core to a client whose certificate it refuses, or misses: it sends no alert.
#[tokio::test]
async fn a_server_that_hangs_up_after_the_handshake_is_told_with_what_it_may_be_about() {
    let authority = Authority::new();
    let own = authority.localhost();
    let chain = own
        .chain_der()
        .map(|der| CertificateDer::from(der.to_vec()));
    let key = PrivateKeyDer::try_from(own.key_der().to_vec()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let closing = tokio::spawn(async move {
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            drop(acceptor.accept(stream).await.unwrap());
        }
    });
    for (client, perhaps) in [
        (
            None,
            "it requires a client certificate, which this client has not",
        ),
        (
            Some(authority.client("worker-1")),
            "it refuses this client's certificate CN=worker-1",
        ),
    ] {
        let tls = ClientTls::new().roots(&authority);
        let tls = client.into_iter().fold(tls, ClientTls::identity);
        let dialled = within(Client::builder().address(address).tls(tls).connect());
        let error = dialled.await.unwrap_err();
        let expected = format!(
            "no TLS with {address}: the server closed the connection right after the TLS handshake: perhaps {perhaps}"
        );
        assert_eq!(error.to_string(), expected);
        assert!(error.is_tls());
    }
    closing.await.unwrap();
}
