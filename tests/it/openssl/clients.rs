//! `openssl s_client` calls the mock.

use crate::openssl::{Files, VERSIONS, openssl};
use crate::process::{Ended, Running};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Address, Authority, Certificate, Defect, MockServer, ServerTls};

const S_CLIENT: &str = "s_client -alpn h2 -verify_return_error -verify_hostname localhost";

/// What a client of HTTP/2 sends first, and a ping whose eight bytes come back as a line of their own.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \0\0\0\x04\0\0\0\0\0\
    \0\0\x08\x06\0\0\0\0\0\nhello!\n";

fn s_client(server: &MockServer, version: &str, trusted: &Files, own: &[&str]) -> Running {
    let (flag, place) = match server.address() {
        Address::Tcp { host, port, .. } => ("-connect", format!("{host}:{port}")),
        Address::Unix(path) => ("-unix", path.display().to_string()),
        other => panic!("openssl has no way to {other}"),
    };
    let mut arguments = vec![version, flag, &place, "-CAfile", &trusted.ca];
    arguments.extend(own);
    openssl(S_CLIENT, &arguments)
}

/// The handshake is good, and HTTP/2 goes both ways.
async fn assert_speaks(mut client: Running, version: &str) {
    let shown = client.until(|line| line.contains("Verify return code:"));
    let shown = shown.await;
    let version = format!("New, {version}, Cipher is ");
    for expected in ["ALPN protocol: h2", &version, "return code: 0 (ok)"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    client.send(HELLO);
    client.until(|line| line == "hello!").await;
    let Ended { success, text } = client.leave().await;
    assert!(success, "{text}");
}

/// It fails by itself, and says so.
async fn assert_fails(client: Running, expected: &str) {
    let Ended { success, text } = client.ended().await;
    assert!(!success && text.contains(expected), "{expected}: {text}");
}

/// The mock refused one connection for this reason, and nothing was called.
async fn assert_refused(server: &MockServer, expected: &str) {
    within(server.wait_until(|journal| !journal.refused().is_empty())).await;
    let refused = server.journal().refused();
    let reason = refused[0].reason();
    assert!(reason.starts_with(expected), "{expected}: {reason}");
    assert_eq!((refused.len(), server.calls().len()), (1, 0));
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_speaks_tls_and_http_2_with_the_mock_over_tcp_and_a_unix_socket() {
    let root = Authority::new();
    for signing in [root.clone(), root.intermediate().intermediate()] {
        let client = Files::of(&signing.client("worker-1"));
        let with = client.presented();
        let plain = ServerTls::new(signing.localhost());
        let mutual = plain.clone().require_client(&root);
        let optional = plain.clone().allow_client(&root);
        for (tls, own) in [(plain, &[][..]), (mutual, &with), (optional, &[])] {
            for builder in [MockServer::builder(), MockServer::builder().unix()] {
                let server = builder.tls(tls.clone()).start().await;
                for (_, flag, version) in VERSIONS {
                    let running = s_client(&server, flag, &client, own);
                    assert_speaks(running, version).await;
                }
                assert!(server.journal().refused().is_empty());
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn a_mock_of_one_version_of_tls_speaks_it_with_openssl_and_refuses_the_other() {
    let authority = Authority::new();
    let trusted = Files::of(&authority.localhost());
    let [(_, old, _), (_, new, _)] = VERSIONS;
    for ((only, flag, version), other) in VERSIONS.into_iter().zip([new, old]) {
        let tls = ServerTls::from(&authority).only(only);
        let server = MockServer::builder().tls(tls).start().await;
        assert_speaks(s_client(&server, flag, &trusted, &[]), version).await;
        let refused = s_client(&server, other, &trusted, &[]);
        assert_fails(refused, "alert protocol version").await;
        let reason =
            format!("this server (which speaks {only} only) and the client have no TLS in common");
        assert_refused(&server, &reason).await;
    }
}

/// What openssl and the mock say of a server that has this certificate.
fn of_server(defect: Defect, presented: &Certificate) -> (&'static str, String) {
    let refuses = format!("the client refuses this server's certificate {presented}: ");
    let issuer = presented.issuer();
    let (by_client, by_server) = match defect {
        Defect::Expired => ("num=10:certificate has expired", "it is valid from "),
        Defect::NotYetValid => ("num=9:certificate is not yet valid", "it is valid from "),
        Defect::WrongName => (
            "num=62:",
            "perhaps it asked for another name than wrong.example (alert `bad_certificate`)",
        ),
        Defect::OtherAuthority => (
            "num=20:unable to get local issuer certificate",
            "it does not know its issuer `",
        ),
        Defect::WrongUsage => (
            "num=26:",
            "it may not be used for that, only for code signing",
        ),
        Defect::WrongKey => (
            ":bad signature:",
            "the key of this server is not that of the certificate (alert `decrypt_error`)",
        ),
        _ => ("num=18:self", "it does not know its issuer `"),
    };
    // Who it does not know is told at the end.
    let issuer = if by_server.ends_with('`') { issuer } else { "" };
    (by_client, format!("{refuses}{by_server}{issuer}"))
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_refuses_a_mock_with_a_bad_certificate_and_the_mock_tells_why() {
    let authority = Authority::new();
    let trusted = Files::of(&authority.localhost());
    for defect in Defect::ALL {
        let bad = authority.server_with(defect);
        let (by_client, by_server) = of_server(defect, bad.certificate());
        for (_, flag, _) in VERSIONS {
            let server = MockServer::builder().tls(bad.clone()).start().await;
            assert_fails(s_client(&server, flag, &trusted, &[]), by_client).await;
            assert_refused(&server, &by_server).await;
        }
    }
}

/// What openssl and the mock say of a client that has this defect. `None`, when TLS does not see it.
fn of_client(defect: Defect) -> Option<(&'static str, &'static str)> {
    Some(match defect {
        Defect::Expired => ("alert certificate expired", "it expired on "),
        Defect::NotYetValid => ("alert certificate expired", "it is not valid before "),
        Defect::OtherAuthority => ("alert unknown ca", "its issuer `CN="),
        Defect::WrongUsage => (
            "alert unsupported certificate",
            "it may not be used for client authentication, only for code signing",
        ),
        Defect::SelfSigned => (
            "alert certificate unknown",
            "it is an authority's own certificate, signed by itself, which only a pin accepts",
        ),
        _ => return None,
    })
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn the_mock_refuses_openssl_with_a_bad_certificate_or_none_and_both_tell_why() {
    let authority = Authority::new();
    let trusted = Files::of(&authority.localhost());
    for (_, flag, version) in VERSIONS {
        let start = || {
            let builder = MockServer::builder().tls(ServerTls::mutual(&authority));
            builder.start()
        };
        let server = start().await;
        let without = s_client(&server, flag, &trusted, &[]);
        assert_fails(without, "alert certificate required").await;
        let reason = "this server requires a client certificate, and the client sent none";
        assert_refused(&server, reason).await;

        for defect in Defect::ALL {
            let server = start().await;
            let bad = authority.client_with(defect);
            let files = Files::of(&bad);
            let client = s_client(&server, flag, &trusted, &files.presented());
            match of_client(defect) {
                Some((by_client, by_server)) => {
                    assert_fails(client, by_client).await;
                    let certificate = bad.certificate();
                    let refuses = "this server refuses the client's certificate";
                    assert_refused(&server, &format!("{refuses} {certificate}: {by_server}")).await;
                    let refused = server.journal().refused();
                    assert_eq!(refused[0].client_certificate(), Some(certificate));
                }
                None if defect == Defect::WrongName => assert_speaks(client, version).await,
                // It does not even connect with a key that is not the certificate's.
                None => assert_fails(client, "key values mismatch").await,
            }
        }
    }
}
