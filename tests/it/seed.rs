//! The examples of pyvider's guide to direct connections that have to do with security, in Rust: its classes as they are
//! named there, its files where they are given, and none of its faults.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{
    Auth, Authority, Client, ClientConfig, ClientTls, Error, Grant, MockServer, ServerTls, Stub,
    TokenAuth, Value, json,
};
use std::path::Path;

/// "mTLS Direct Connection": certificates from files, for `secure.example.com`, and one call.
async fn secure_direct_connection(
    address: &rpcplugin_testkit::Address,
    ssl: &Path,
) -> Result<Value, Error> {
    let tls = ClientTls::new()
        .roots_file(ssl.join("ca.pem"))
        .identity_files(ssl.join("cert.pem"), ssl.join("key.pem"))
        .server_name("secure.example.com");
    let client = Client::builder()
        .address(address)
        .tls(tls)
        .connect()
        .await?;
    let response = client
        .call("SecureMethod", json!({"sensitive_data": "..."}))
        .await;
    client.close().await;
    response
}

#[tokio::test]
async fn secure_connections() {
    let authority = Authority::new();
    let identity = authority.server(["secure.example.com"]);
    for builder in [MockServer::builder(), MockServer::builder().unix()] {
        let tls = ServerTls::new(identity.clone()).require_client(&authority);
        let server = builder.tls(tls).start().await;
        server.mount(Stub::method("SecureMethod").reply(json!({"stored": true})));
        let files = authority.client("client").files().unwrap();
        let response = within(secure_direct_connection(server.address(), files.dir())).await;
        assert_eq!(response.unwrap(), json!({"stored": true}));
        assert_eq!(server.journal().from_client("client").len(), 1);
        // No key was written anywhere else than where it was.
        assert_eq!(files.dir().read_dir().unwrap().count(), 3);
    }
}

/// "Environment-Based Setup": TLS by the variables of `DirectConnectionConfig`.
#[tokio::test]
async fn environment_based_setup_with_tls() {
    let authority = Authority::new();
    let server = MockServer::builder()
        .tls(ServerTls::mutual(&authority))
        .start()
        .await;
    server.mount(Stub::method("Echo").reply(json!({"message": "Hello"})));
    let files = authority.client("by environment").files().unwrap();
    let (host, port) = server.address().to_string()["https://".len()..]
        .split_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .unwrap();
    let path = |path: std::path::PathBuf| path.display().to_string();
    let config = ClientConfig::from_vars("PLUGIN_", |name| {
        Ok(match name {
            "PLUGIN_SERVER_HOST" => Some(host.clone()),
            "PLUGIN_SERVER_PORT" => Some(port.clone()),
            "PLUGIN_USE_TLS" => Some("true".to_owned()),
            "PLUGIN_CA_CERT" => Some(path(files.ca())),
            "PLUGIN_CLIENT_CERT" => Some(path(files.cert())),
            "PLUGIN_CLIENT_KEY" => Some(path(files.key())),
            _ => None,
        })
    });
    let client = within(Client::builder().config(config.unwrap()).connect())
        .await
        .unwrap();
    let reply = within(
        client
            .call("Echo", json!({"message": "Hello"}))
            .into_future(),
    )
    .await;
    assert_eq!(reply.unwrap()["message"], "Hello");
    assert_eq!(server.journal().from_client("by environment").len(), 1);
}

/// "Authentication": connect, log in with a key, call with the token. Its client logs in once for each call that comes
/// before the first login is through, never again after that, and tells its token to whoever listens.
struct AuthenticatedDirectClient {
    client: Client,
}

impl AuthenticatedDirectClient {
    async fn connect(
        address: &rpcplugin_testkit::Address,
        tls: ClientTls,
        api_key: &str,
    ) -> Result<Self, Error> {
        let login = TokenAuth::login("auth.Authenticate", json!({"api_key": api_key}));
        let client = Client::builder()
            .address(address)
            .tls(tls)
            .auth(login)
            .connect()
            .await?;
        Ok(Self { client })
    }

    async fn call(&self, method: &str, arguments: Value) -> Result<Value, Error> {
        self.client.call(method, arguments).await
    }

    async fn close(self) {
        self.client.close().await;
    }
}

#[tokio::test]
async fn authentication() {
    let auth = Auth::tokens();
    let server = MockServer::builder()
        .mtls()
        .auth(auth.clone())
        .start()
        .await;
    let key = json!({"api_key": "secret-key"});
    server.mount(
        auth.login("auth.Authenticate", key, Grant::new())
            .times(1..=2),
    );
    server.mount(
        Stub::method("Process")
            .reply(json!({"done": true}))
            .times(4),
    );
    let tls = server.client_tls().unwrap();
    let connected = AuthenticatedDirectClient::connect(server.address(), tls.clone(), "secret-key");
    let client = within(connected).await.unwrap();
    let (one, two, three) = tokio::join!(
        client.call("Process", json!({"n": 1})),
        client.call("Process", json!({"n": 2})),
        client.call("Process", json!({"n": 3})),
    );
    for reply in [one, two, three] {
        assert_eq!(reply.unwrap(), json!({"done": true}));
    }
    assert_eq!(server.calls_to("auth.Authenticate").len(), 1);
    auth.revoke_all();
    client.call("Process", json!({"n": 4})).await.unwrap();
    assert_eq!(server.calls_to("auth.Authenticate").len(), 2);
    client.close().await;

    server.mount(auth.login("auth.Authenticate", json!({"api_key": "k"}), Grant::new()));
    let wrong = AuthenticatedDirectClient::connect(server.address(), tls, "wrong");
    assert!(within(wrong).await.err().unwrap().is_auth());
    server.verify().await.unwrap();
}
