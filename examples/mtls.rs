//! Mutual TLS and a login: certificates that are minted on the spot, who is refused and what is told of it, a certificate
//! that is rotated, and a client that logs in and is logged out.
//!
//! ```console
//! cargo run --example mtls
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what it does")]

use rpcplugin_testkit::{
    Auth, Authority, Client, ClientTls, Defect, Error, Grant, MockServer, ServerTls, Stub,
    TokenAuth, json,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let authority = Authority::new();
    println!("{authority:?}\n");
    mutual_tls(&authority).await?;
    what_goes_wrong(&authority).await;
    rotation(&authority).await?;
    a_login(&authority).await
}

async fn mutual_tls(authority: &Authority) -> Result<(), Error> {
    let tls = ServerTls::new(authority.server(["localhost", "127.0.0.1"]));
    let server = MockServer::builder()
        .tls(tls.require_client(authority))
        .start()
        .await;
    server.mount(Stub::method("SecureMethod").reply(json!({"stored": true})));

    // Everything else wants files: these are gone when `files` is.
    let files = authority.client("worker-1").files()?;
    let tls = ClientTls::new()
        .roots_file(files.ca())
        .identity_files(files.cert(), files.key());
    let client = Client::builder()
        .address(server.address())
        .tls(tls)
        .connect()
        .await?;
    let secret = json!({"sensitive_data": "…"});
    let reply = client.call("SecureMethod", secret).await?;
    let calls = server.calls();
    let caller = calls[0].client_certificate();
    println!("{} answers {reply} to {caller:?}", server.uri());
    client.close().await;
    Ok(())
}

/// Each certificate that is wrong in one way, on both sides.
async fn what_goes_wrong(authority: &Authority) {
    for defect in Defect::ALL {
        let server = MockServer::builder()
            .memory()
            .tls(authority.server_with(defect))
            .start()
            .await;
        let tls = ClientTls::new().roots(authority);
        println!("\na server whose certificate is {defect}:");
        tell(&server, tls).await;

        let server = MockServer::builder()
            .memory()
            .tls(ServerTls::mutual(authority))
            .start()
            .await;
        let tls = ClientTls::new()
            .roots(authority)
            .identity(authority.client_with(defect));
        println!("a client whose certificate is {defect}:");
        tell(&server, tls).await;
    }
}

async fn tell(server: &MockServer, tls: ClientTls) {
    let builder = Client::builder().address(server.address()).tls(tls);
    match builder.connect().await {
        Ok(_) => println!("  is let in: TLS does not look at the names of clients"),
        Err(error) => {
            server
                .wait_until(|journal| !journal.refused().is_empty())
                .await;
            println!("  the client: {error}");
            println!("  the mock:   {}", server.journal().refused()[0].reason());
        }
    }
}

async fn rotation(authority: &Authority) -> Result<(), Error> {
    let old = authority.localhost();
    let server = MockServer::builder()
        .memory()
        .tls(old.clone())
        .start()
        .await;
    let pinning = || {
        let tls = ClientTls::new().pinned(&old);
        Client::builder().address(server.address()).tls(tls)
    };
    let early = pinning().connect().await?;
    server.rotate_certificate(authority.localhost());
    early.health_check().await?;
    println!("\na connection from before the rotation goes on; the next one:");
    if let Err(error) = pinning().connect().await {
        println!("  {error}");
    }
    Ok(())
}

async fn a_login(authority: &Authority) -> Result<(), Error> {
    let auth = Auth::tokens();
    let server = MockServer::builder()
        .tls(authority)
        .auth(auth.clone())
        .start()
        .await;
    let credentials = json!({"api_key": "k-1"});
    server.mount(auth.login("auth.Authenticate", credentials.clone(), Grant::new()));
    server.mount(Stub::method("Process").reply(json!({"done": true})));

    let client = Client::builder()
        .address(server.address())
        .tls(ClientTls::new().roots(authority))
        .auth(TokenAuth::login("auth.Authenticate", credentials))
        .connect()
        .await?;
    client.call("Process", json!({"n": 1})).await?;
    // The next call is refused, logs in again, and is made once more.
    auth.revoke_all();
    client.call("Process", json!({"n": 2})).await?;
    println!("\nwhat came with a login:\n{}", server.journal());
    Ok(())
}
