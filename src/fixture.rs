//! The one place where the wings meet: a client that is ready for its server.

use crate::address::{Address, IntoAddress};
use crate::client::{Client, ClientBuilder, ClientTls};
use crate::mock::{Backend, ClientGroup, MockCluster, MockServer, MockServerBuilder, ServerTls};
use crate::schema::{Schema, reflect};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{body::Body, codegen::Service};

impl MockServer {
    /// A client that is connected to this server, and knows its schema without asking.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    ///
    /// ```
    /// # use rpcplugin_testkit::MockServer;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let server = MockServer::start().await;
    /// server.client().await.health_check().await.unwrap();
    /// # }
    /// ```
    pub async fn client(&self) -> Client {
        connect(self.address(), self.tls().as_ref(), self.schema()).await
    }

    /// The TLS of a client that this server accepts: its roots, and, if clients need a certificate, one for `test client`,
    /// minted for this call. `None`, when the server speaks plaintext.
    ///
    /// A server whose certificate has no root is pinned. Who accepts clients has to be an
    /// [`Authority`](crate::tls::Authority) of this process; nobody else can sign a certificate for one.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    #[track_caller]
    pub fn client_tls(&self) -> Option<ClientTls> {
        self.tls().map(|told| tls_for(self.address(), &told))
    }
}

impl MockCluster {
    /// A client that is connected to the server of this number, at its own address. See [`MockServer::client`].
    ///
    /// # Panics
    ///
    /// When there is no such server, or it cannot connect.
    pub async fn client(&self, server: usize) -> Client {
        self[server].client().await
    }
}

impl ClientGroup {
    /// A client of this group that is connected to the server of this number. See [`MockServer::client`].
    ///
    /// # Panics
    ///
    /// When there is no such server, or it cannot connect.
    pub async fn client(&self, server: usize) -> Client {
        let Some((address, tls, schema)) = self.dialled(server) else {
            panic!("there is no server {server} for {self:?}");
        };
        connect(&address, tls.as_ref(), schema.as_ref()).await
    }
}

/// A client for a mock server at this address, which was told this about TLS and has this schema.
async fn connect(address: &Address, told: Option<&ServerTls>, schema: Option<&Schema>) -> Client {
    let mut builder = Client::builder().address(address);
    if let Some(told) = told {
        builder = builder.tls(tls_for(address, told));
    }
    let builder = match schema {
        Some(schema) => builder.schema(schema.clone()),
        None => builder.schemaless(),
    };
    match builder.connect().await {
        Ok(client) => client,
        Err(error) => panic!("cannot connect to the mock server: {error:?}{}", hint(told)),
    }
}

/// What a client of a server lacks that nobody here can give it.
fn hint(told: Option<&ServerTls>) -> &'static str {
    let told = told.filter(|told| told.requires_clients());
    match told.map(|told| told.mint_client("test client")) {
        Some(None) => {
            "\n(nobody in this process can sign a client's certificate: build a client with `.tls(..)`)"
        }
        _ => "",
    }
}

/// The TLS of a client that such a server accepts at this address.
#[track_caller]
fn tls_for(address: &Address, told: &ServerTls) -> ClientTls {
    let identity = told.identity();
    let root = identity.root();
    let tls = if root.is_authority() && root != identity.certificate() {
        ClientTls::new().roots(root)
    } else {
        ClientTls::new().pinned(identity)
    };
    // A certificate for other names than the address has is asked for by one of its own.
    let host = match address {
        Address::Tcp { host, .. } => host,
        Address::Unix(_) | Address::Memory(_) => "localhost",
    };
    let certificate = identity.certificate();
    let named = certificate.dns_names();
    let tls = match named.first().filter(|_| !certificate.has_name(host)) {
        Some(name) => tls.server_name(name.replace('*', "any")),
        None => tls,
    };
    match told.mint_client("test client") {
        Some(client) => tls.identity(client),
        None => tls,
    }
}

impl MockServerBuilder {
    /// Calls that no stub and no mounted service takes go on to the real server at this address, and are recorded like all
    /// others: with [`Journal::save`](crate::Journal::save) it makes a recording.
    ///
    /// The address is an [`Address`](crate::Address), or a text or `SocketAddr` that is one; the server need not run yet. A
    /// mock without a schema asks it for its own, when it starts, by reflection. Health and reflection stay the mock's.
    pub fn proxy_to(self, address: impl IntoAddress) -> Self {
        self.proxy_with(Client::builder().address(address))
    }

    /// [`proxy_to`](Self::proxy_to) the server that this client is for, with its TLS and its token, which takes the place of the
    /// caller's. (A client without a token passes on what the caller has.) Its timeout and its limit of message sizes are
    /// lifted.
    pub fn proxy_with(self, client: ClientBuilder) -> Self {
        let client = client
            .no_timeout()
            .max_message_size(usize::MAX)
            .connect_lazy();
        let client = match client {
            Ok(client) => client,
            Err(mistake) => return self.mistaken(mistake),
        };
        let key = client.token_key().cloned();
        let server = format!("proxy to {}", client.target());
        let asked = client.clone();
        let hidden = key.clone();
        let backend = Backend::new(move |mut request| {
            let mut client = client.clone();
            // What the caller authenticates with is for the mock; the client has a token of its own.
            if let Some(key) = &key {
                request.headers_mut().remove(key);
            }
            Box::pin(async move {
                let response = Service::call(&mut client, request).await?;
                Ok(response.map(Body::new))
            })
        });
        let this = match &hidden {
            Some(key) => self.redact(key.as_str()),
            None => self,
        };
        this.proxied(backend, server, move || {
            let client = asked.clone();
            Box::pin(async move {
                let reflected = timeout(REFLECTING, reflect(client)).await;
                // A server that cannot be asked may still be called.
                let schema = reflected.ok()?.ok()??.schema;
                let has_methods = schema.methods().next().is_some();
                has_methods.then_some(schema)
            })
        })
    }
}

/// How long a server may take to tell its schema, when a mock starts that passes calls on to it.
const REFLECTING: Duration = Duration::from_secs(5);

/// What is logged. It is tested here and not with the other tests, because a log is collected for a whole process.
#[cfg(test)]
mod tests {
    use crate::mock::MockServer;
    use serde_json::json;
    use tracing_test::traced_test;

    #[tokio::test]
    #[traced_test]
    async fn connections_and_unmatched_calls_are_logged() {
        let builder = MockServer::builder().memory().allow_unmatched();
        let server = builder.start().await;
        let client = server.client().await;
        assert!(logs_contain(&format!(
            "connected address={}",
            server.address()
        )));

        client.call("Get", json!({"key": "a"})).await.unwrap_err();
        assert!(logs_contain(
            "unmatched call: no stub for Get: nothing is mounted"
        ));
        assert!(logs_contain(r#"call=("Get", {"key":"a"})"#));
    }
}
