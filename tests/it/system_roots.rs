//! The roots of this machine, which the environment names, so each test has a process of its own.

use crate::process::alone;
use crate::support::within;
use rpcplugin_testkit::{Authority, Client, ClientConfig, Identity, MockServer};
use std::{env, path::PathBuf};

const FILES: &str = "TESTKIT_TLS_FILES";

#[test]
fn the_roots_of_the_machine_are_trusted_and_no_others() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (server, stranger) = (authority.localhost(), other.localhost());
    let (files, strange) = (server.files().unwrap(), stranger.files().unwrap());
    for (test, roots) in [
        ("system_roots::a_server_that_the_machine_trusts", files.ca()),
        (
            "system_roots::a_server_that_the_machine_does_not_trust",
            strange.ca(),
        ),
        ("system_roots::a_machine_without_roots", files.key()),
    ] {
        let none = files.dir().join("none");
        let variables = [
            ("SSL_CERT_FILE", roots.as_path()),
            ("SSL_CERT_DIR", &none),
            (FILES, files.dir()),
        ];
        alone(test, &variables);
    }
}

async fn server() -> MockServer {
    let files = PathBuf::from(env::var_os(FILES).expect("it is run by the test above"));
    let identity = Identity::from_files(files.join("cert.pem"), files.join("key.pem"));
    MockServer::builder()
        .tls(identity.expect("it was written"))
        .start()
        .await
}

/// By its address alone, and by the environment without `PLUGIN_CA_CERT`.
#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn a_server_that_the_machine_trusts() {
    let server = server().await;
    let client = within(Client::connect(server.uri())).await.unwrap();
    within(client.health_check()).await.unwrap();
    let on = |name: &str| Ok((name == "PLUGIN_USE_TLS").then(|| "on".to_owned()));
    let mut config = ClientConfig::from_vars("PLUGIN_", on).unwrap();
    config.endpoints = vec![server.address().clone().into()];
    within(Client::builder().config(config).connect())
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn a_server_that_the_machine_does_not_trust() {
    let error = within(Client::connect(server().await.uri()))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("trusted is `any of 1 system roots`"),
        "{error}"
    );
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn a_machine_without_roots() {
    let error = within(Client::connect(server().await.uri()))
        .await
        .unwrap_err();
    assert!(error.is_config(), "{error:?}");
}
