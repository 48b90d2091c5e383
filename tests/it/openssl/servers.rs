//! Our client calls `openssl s_server`, which is driven through its stdin and knows no HTTP/2 by itself.

use crate::openssl::{Files, VERSIONS, openssl};
use crate::process::{Ended, Running};
use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Authority, Client, ClientTls, Code, Defect, Error, Identity};

/// A server for one connection, and where it listens.
async fn s_server(words: &str, arguments: &[&str]) -> (Running, String) {
    let words = format!("s_server -accept 127.0.0.1:0 -naccept 1 {words}");
    let mut server = openssl(&words, arguments);
    let listening = server.until(|line| line.starts_with("ACCEPT ")).await;
    let line = listening.lines().last().unwrap_or_default();
    let address = line.trim_start_matches("ACCEPT ").to_owned();
    (server, address)
}

async fn connect(address: &str, tls: ClientTls) -> Result<Client, Error> {
    within(Client::builder().address(address).tls(tls).connect()).await
}

/// A client whose connection the server answers with these bytes, and what the two said.
async fn answered(
    server: (Running, String),
    tls: ClientTls,
    answer: &[u8],
) -> (Result<(), Error>, Ended) {
    let (mut server, address) = server;
    let connected = async {
        let client = connect(&address, tls).await?;
        within(client.close()).await;
        Ok(())
    };
    tokio::join!(connected, async {
        server.until(|line| line == "PRI * HTTP/2.0\r").await;
        server.send(answer);
        server.ended().await
    })
}

/// The settings of a server of HTTP/2 that has none.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const HTTP_1: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";

fn chained(authority: &Authority) -> Identity {
    authority.intermediate().intermediate().localhost()
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn a_client_takes_a_good_certificate_of_openssl_and_then_wants_http_2() {
    let authority = Authority::new();
    let trusting = || ClientTls::new().roots(&authority);
    let good = Files::of(&chained(&authority));
    for (only, flag, _) in VERSIONS {
        for alpn in ["-alpn h2", "-alpn http/1.1,h2", ""] {
            let words = format!("{flag} {alpn}");
            let server = s_server(&words, &good.presented()).await;
            let (connected, ended) = answered(server, trusting(), SETTINGS).await;
            connected.unwrap_or_else(|error| panic!("{words}: {error}"));
            // It says farewell before it goes, so that nobody takes it for cut off.
            assert!(!ended.text.contains("unexpected eof"), "{}", ended.text);

            let server = s_server(&words, &good.presented()).await;
            let address = server.1.clone();
            let (refused, _) = answered(server, trusting().only(only), HTTP_1).await;
            let error = refused.unwrap_err();
            let expected = if alpn.is_empty() {
                let why = "the server does not speak HTTP/2, and did not agree to it (ALPN `h2`)";
                format!("no TLS with {address}: {why}")
            } else {
                format!("{address} accepted the connection but does not speak HTTP/2")
            };
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.is_tls(), alpn.is_empty());
        }
    }
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn a_client_and_openssl_without_tls_in_common_say_so() {
    let authority = Authority::new();
    let good = Files::of(&authority.localhost());
    let [(old, old_flag, _), (new, new_flag, _)] = VERSIONS;
    for (only, flag) in [(old, new_flag), (new, old_flag)] {
        let (server, address) = s_server(flag, &good.presented()).await;
        let tls = ClientTls::new().roots(&authority).only(only);
        let error = connect(&address, tls).await.unwrap_err();
        let why = format!(
            "the server has no TLS in common with this client (which speaks {only} only) (alert `protocol_version`)"
        );
        assert_eq!(error.to_string(), format!("no TLS with {address}: {why}"));
        assert!(server.ended().await.text.contains("unsupported protocol"));
    }
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn a_client_refuses_openssl_with_a_bad_certificate_and_names_the_reason() {
    let authority = Authority::new();
    for defect in Defect::ALL {
        let files = Files::of(&authority.server_with(defect));
        let (why, alert) = match defect {
            Defect::Expired => ("it expired on ", "certificate expired"),
            Defect::NotYetValid => ("it is not valid before ", "certificate expired"),
            Defect::WrongName => (
                "`127.0.0.1` was asked for, and it is for `wrong.example`",
                "bad certificate",
            ),
            Defect::OtherAuthority => ("its issuer `CN=", "unknown ca"),
            Defect::WrongUsage => (
                "it may not be used for server authentication, only for code signing",
                "unsupported certificate",
            ),
            Defect::WrongKey => {
                let words = "s_server -accept 127.0.0.1:0";
                let ended = openssl(words, &files.presented()).ended().await;
                assert!(ended.text.contains("key values mismatch"), "{}", ended.text);
                continue;
            }
            _ => (
                "it is an authority's own certificate",
                "certificate unknown",
            ),
        };
        for (_, flag, _) in VERSIONS {
            let (server, address) = s_server(flag, &files.presented()).await;
            let tls = ClientTls::new().roots(&authority);
            let error = connect(&address, tls).await.unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!(": {why}")), "{text}");
            assert!(text.contains("this client refuses the server's certificate CN="));
            assert!(error.is_tls() && error.code() == Some(Code::Unavailable));
            let heard = server.ended().await.text;
            assert!(heard.contains(&format!("alert {alert}")), "{heard}");
        }
    }
}

/// What the client and openssl say of a client that has this defect, if TLS sees it.
fn of_client(defect: Defect) -> Option<(&'static str, &'static str)> {
    Some(match defect {
        Defect::Expired => (
            ": it is valid from * (alert `certificate_expired`)",
            "num=10:certificate has expired",
        ),
        Defect::NotYetValid => (
            ": it is valid from * (alert `bad_certificate`)",
            "num=9:certificate is not yet valid",
        ),
        Defect::OtherAuthority => (
            ": it does not know its issuer `CN=*` (alert `unknown_ca`)",
            "num=20:unable to get local issuer certificate",
        ),
        Defect::WrongUsage => (
            ": it may not be used for that, only for code signing (alert `unsupported_certificate`)*",
            "num=26:",
        ),
        Defect::WrongKey => (
            ": the key of this client is not that of the certificate (alert `decrypt_error`)*",
            ":bad signature:",
        ),
        Defect::SelfSigned => (
            ": it does not know its issuer `CN=localhost,O=HashiCorp` (alert `unknown_ca`)*",
            "num=18:self",
        ),
        _ => return None,
    })
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn a_client_tells_why_openssl_refuses_its_certificate_or_that_it_has_none() {
    let authority = Authority::new();
    let trusting = || ClientTls::new().roots(&authority);
    let good = Files::of(&chained(&authority));
    let mut arguments = good.presented().to_vec();
    arguments.extend(["-CAfile", &good.ca]);
    for (_, flag, version) in VERSIONS {
        let words = format!("{flag} -alpn h2 -Verify 3 -verify_return_error");
        let start = || s_server(&words, &arguments);
        let chained = authority.intermediate().intermediate().client("worker-1");
        for accepted in [chained, authority.client_with(Defect::WrongName)] {
            let tls = trusting().identity(accepted);
            let (connected, ended) = answered(start().await, tls, SETTINGS).await;
            connected.unwrap_or_else(|error| panic!("{version}: {error}: {}", ended.text));
        }

        let (server, address) = start().await;
        let error = connect(&address, trusting()).await.unwrap_err();
        // TLS 1.2 has no word for it.
        let why = match flag {
            "-tls1_2" => {
                "the server has no TLS in common with this client, or requires a client certificate, \
                          which this client has not (alert `handshake_failure`)"
            }
            _ => {
                "the server requires a client certificate, and this client has none (alert `certificate_required`)"
            }
        };
        assert_eq!(error.to_string(), format!("no TLS with {address}: {why}"));
        let heard = server.ended().await.text;
        let expected = "peer did not return a certificate";
        assert!(heard.contains(expected), "{heard}");

        for defect in Defect::ALL {
            let Some((by_client, by_server)) = of_client(defect) else {
                continue;
            };
            let own = authority.client_with(defect);
            let (server, address) = start().await;
            let tls = trusting().identity(own.clone());
            let text = connect(&address, tls).await.unwrap_err().to_string();
            let (start, end) = by_client.split_once('*').unwrap();
            let refuses = "the server refuses this client's certificate";
            let certificate = own.certificate();
            let start = format!("no TLS with {address}: {refuses} {certificate}{start}");
            assert!(text.starts_with(&start) && text.ends_with(end), "{text}");
            let heard = server.ended().await.text;
            assert!(heard.contains(by_server), "{heard}");
        }
    }
}
