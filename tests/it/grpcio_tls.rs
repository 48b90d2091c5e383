//! TLS with an independent judge of both wings: a stock Python grpcio, whose TLS is BoringSSL's.

use crate::openssl::Files;
use crate::python;
use crate::support::{echo_schema, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::mock::{MockServerBuilder, RefusedConnection};
use rpcplugin_testkit::tls::{KeyAlgorithm, TlsVersion};
use rpcplugin_testkit::{
    Authority, Call, Certificate, Client, ClientTls, Code, Defect, MockServer, ServerTls, json,
};

/// A mock of the echo service over TCP or a Unix socket, and the name that a client has to be told to ask for.
fn mock(unix: bool) -> (MockServerBuilder, Option<&'static str>) {
    let builder = MockServer::builder().schema(echo_schema());
    if unix {
        (builder.unix(), Some("localhost"))
    } else {
        (builder.tcp(), None)
    }
}

fn common_name(call: &Call) -> Option<&str> {
    call.client_certificate().and_then(Certificate::common_name)
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_shows_its_certificate_to_the_mock_and_calls_in_all_four_shapes() {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, Rsa2048};
    let kinds = [EcdsaP256, EcdsaP384, Rsa2048].map(Authority::with_algorithm);
    for root in kinds.into_iter().flatten() {
        for (signing, unix) in [(root.clone(), true), (root.intermediate(), false)] {
            let (builder, name) = mock(unix);
            let tls = ServerTls::new(signing.localhost()).require_client(&root);
            let server = builder.tls(tls).start().await;
            python::serve_shapes(&server);
            let client = signing.client("worker-1");
            let Files { ca, cert, key, .. } = &Files::of(&client);
            let tls = [ca.as_str(), key, cert];
            let mut python = python::secure_client(&server, name, "shapes", &tls);
            assert_eq!(python.told().await, python::shapes(), "{root:?}");
            python.finish().await;
            let calls = server.calls();
            assert_eq!(calls.len(), 6);
            for call in &calls {
                assert_eq!(common_name(call), Some("worker-1"));
                assert_eq!(call.client_certificate(), Some(client.certificate()));
            }
            assert!(server.journal().refused().is_empty());
        }
    }
}

/// The first connection that the mock refused. The client may know of it before the mock does.
async fn first_refused(server: &MockServer) -> RefusedConnection {
    within(server.wait_until(|journal| !journal.refused().is_empty())).await;
    server.journal().refused().swap_remove(0)
}

/// Makes a call that fails, and tells what the client was told of it.
async fn refusal(server: &MockServer, name: Option<&str>, tls: &[&str]) -> String {
    let mut python = python::secure_client(server, name, "refusal", tls);
    let told = python.told().await;
    python.finish().await;
    assert_eq!(told[0], Code::Unavailable as i32, "{told}");
    assert!(server.calls().is_empty(), "{told}");
    told[1].as_str().expect("a text").to_owned()
}

/// What the mock says of a Python client that has this defect. `None`, when TLS does not see it.
fn of_client(defect: Defect) -> Option<&'static str> {
    Some(match defect {
        Defect::Expired => ": it expired on ",
        Defect::NotYetValid => ": it is not valid before ",
        Defect::OtherAuthority => ": its issuer `CN=",
        Defect::WrongUsage => ": it may not be used for client authentication, only for code",
        Defect::SelfSigned => ": it is an authority's own certificate, signed by itself",
        _ => return None,
    })
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn the_mock_refuses_a_python_client_with_a_bad_certificate_or_none_and_tells_why() {
    let root = Authority::new();
    let trusted = Files::of(&root.localhost());
    for unix in [false, true] {
        let start = || {
            let (builder, name) = mock(unix);
            let starting = builder.tls(ServerTls::mutual(&root)).start();
            async move { (starting.await, name) }
        };
        let (server, name) = start().await;
        refusal(&server, name, &[&trusted.ca]).await;
        let refused = first_refused(&server).await;
        let reason = "this server requires a client certificate, and the client sent none";
        assert_eq!(refused.reason(), reason);

        for defect in Defect::ALL {
            let bad = root.client_with(defect);
            let files = Files::of(&bad);
            let tls = [trusted.ca.as_str(), &files.key, &files.cert];
            let (server, name) = start().await;
            if defect == Defect::WrongName {
                python::serve_shapes(&server);
                let mut python = python::secure_client(&server, name, "shapes", &tls);
                assert_eq!(python.told().await, python::shapes());
                python.finish().await;
                assert_eq!(common_name(&server.calls()[0]), Some("wrong.example"));
                continue;
            }
            let told = refusal(&server, name, &tls).await;
            let refused = first_refused(&server).await;
            let reason = refused.reason();
            let Some(why) = of_client(defect) else {
                // It connects, and then finds that it cannot use a key that is not the certificate's.
                assert!(told.contains("Failed to create security handshaker"));
                let gone = "the client closed the connection during the TLS handshake";
                assert_eq!(reason, gone);
                continue;
            };
            let certificate = bad.certificate();
            let refuses =
                format!("this server refuses the client's certificate {certificate}{why}");
            assert!(reason.starts_with(&refuses), "{reason}");
            assert_eq!(refused.client_certificate(), Some(certificate));
        }
    }
}

/// The client closes the connection without an alert, so the mock cannot know why.
#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_refuses_a_mock_with_a_bad_certificate() {
    let root = Authority::new();
    let trusted = Files::of(&root.localhost());
    for unix in [false, true] {
        for defect in Defect::ALL {
            let (builder, name) = mock(unix);
            let server = builder.tls(root.server_with(defect)).start().await;
            let told = refusal(&server, name, &[&trusted.ca]).await;
            let expected = match defect {
                Defect::Expired => "certificate has expired",
                Defect::NotYetValid => "certificate is not yet valid",
                Defect::WrongName => "Hostname Verification Check failed",
                Defect::OtherAuthority => "unable to get local issuer certificate",
                Defect::WrongUsage => "unsupported certificate purpose",
                Defect::WrongKey => "BAD_SIGNATURE",
                _ => "self signed certificate",
            };
            assert!(told.contains(expected), "{expected}: {told}");
            if defect == Defect::WrongName {
                // It looks at the name when the handshake is over. Nobody was refused then.
                assert!(server.journal().refused().is_empty());
                continue;
            }
            let refused = first_refused(&server).await;
            let reason = "the client closed the connection during the TLS handshake";
            assert_eq!(refused.reason(), reason);
        }
    }
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_of_a_unix_socket_has_to_be_told_the_name_and_the_mock_says_so() {
    let root = Authority::new();
    let trusted = Files::of(&root.localhost());
    let server = mock(true).0.tls(&root).start().await;
    refusal(&server, None, &[&trusted.ca]).await;
    let refused = first_refused(&server).await;
    let reason = refused.reason();
    let named = "the client asks for a name that no server can have";
    assert!(reason.starts_with(named), "{reason}");
    assert!(reason.contains("`grpc.ssl_target_name_override`"));
}

/// BoringSSL does not offer Ed25519 and P-521 by itself.
#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_python_client_and_a_mock_with_a_rare_kind_of_key_have_no_tls_in_common() {
    let kinds = [KeyAlgorithm::Ed25519, KeyAlgorithm::EcdsaP521].map(Authority::with_algorithm);
    for root in kinds.into_iter().flatten() {
        let trusted = Files::of(&root.localhost());
        let server = mock(false).0.tls(&root).start().await;
        refusal(&server, None, &[&trusted.ca]).await;
        let refused = first_refused(&server).await;
        let reason =
            "this server and the client have no TLS in common (NoSignatureSchemesInCommon)";
        assert_eq!(refused.reason(), reason, "{root:?}");
    }
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_client_shows_its_certificate_to_a_python_server_which_tells_its_name() {
    let root = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", directory.path().join("echo").display());
    for (bind, signing) in [
        ("127.0.0.1:0", root.clone()),
        ("127.0.0.1:0", root.intermediate()),
        (&socket, root.clone()),
    ] {
        let Files { ca, cert, key, .. } = &Files::of(&signing.localhost());
        let (python, address) = python::server(bind, &[key, cert, ca]).await;
        for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
            let tls = ClientTls::new().roots(&root).only(version);
            let connect = |tls| within(Client::builder().address(&address).tls(tls).connect());
            let client = connect(tls.clone().identity(signing.client("worker-1")));
            let client = client.await.unwrap();
            let say = client.call("Echo.Say", json!({"message": "a"})).response();
            let said = within(say).await.unwrap();
            assert_eq!(said.message()["message"], "a");
            assert_eq!(said.metadata().get("client").unwrap(), "worker-1");
            within(client.close()).await;

            // It closes the connection without an alert: which certificate it was about is all that can be told.
            let strangers = Defect::ALL
                .into_iter()
                .filter(|defect| *defect != Defect::WrongName);
            for bad in strangers
                .map(|defect| Some(root.client_with(defect)))
                .chain([None])
            {
                let perhaps = match &bad {
                    Some(bad) => {
                        format!("it refuses this client's certificate {}", bad.certificate())
                    }
                    None => {
                        "it requires a client certificate, which this client has not".to_owned()
                    }
                };
                let whys = [
                    format!(
                        "the server closed the connection right after the TLS handshake: perhaps {perhaps}"
                    ),
                    // The server has the last word of a handshake of TLS 1.2, and has not read all perhaps.
                    "the server closed the connection during the TLS handshake".to_owned(),
                    "the connection broke during the TLS handshake: ".to_owned(),
                ];
                let whys = match version {
                    TlsVersion::Tls12 => &whys[1..],
                    _ => &whys[..1],
                };
                let tls = bad.into_iter().fold(tls.clone(), ClientTls::identity);
                let error = connect(tls).await.unwrap_err();
                let text = error.to_string();
                let told = text
                    .strip_prefix(&format!("no TLS with {address}: "))
                    .unwrap();
                assert!(whys.iter().any(|why| told.starts_with(why)), "{error}");
                assert!(error.is_tls() && error.code() == Some(Code::Unavailable));
            }
        }
        python.finish().await;
    }
}

#[tokio::test]
#[ignore = "needs a Python with grpcio: see .ci/run"]
async fn a_client_refuses_a_python_server_with_a_bad_certificate_and_tells_why() {
    let root = Authority::new();
    for (defect, why) in [
        (Defect::Expired, "it expired on "),
        (Defect::NotYetValid, "it is not valid before "),
        (
            Defect::WrongName,
            "`127.0.0.1` was asked for, and it is for `wrong.example`",
        ),
        (Defect::OtherAuthority, "its issuer `CN="),
        (
            Defect::WrongUsage,
            "it may not be used for server authentication, only for code",
        ),
        (
            Defect::SelfSigned,
            "it is an authority's own certificate, signed by itself",
        ),
    ] {
        let bad = root.server_with(defect);
        let Files { cert, key, .. } = &Files::of(&bad);
        let (python, address) = python::server("127.0.0.1:0", &[key, cert]).await;
        let tls = ClientTls::new().roots(&root);
        let refused = within(Client::builder().address(&address).tls(tls).connect());
        let error = refused.await.unwrap_err();
        let refuses = "this client refuses the server's certificate";
        let certificate = bad.certificate();
        let expected = format!("no TLS with {address}: {refuses} {certificate}: {why}");
        assert!(error.to_string().starts_with(&expected), "{error}");
        python.finish().await;
    }
}
