//! TLS: who refuses whom, and what is told of it, on both sides.

use crate::support::{Transport, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::tls::TlsVersion;
use rpcplugin_testkit::{
    Authority, Certificate, Client, ClientTls, Code, Defect, Error, Identity, MockServer,
    ServerTls, Stub, json,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Who speaks TLS, and whether the client has a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Mutual,
    Plaintext,
    Tls,
}

/// What is wrong, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Client(Defect),
    /// The client presents nothing.
    ClientWithout,
    Nothing,
    Server(Defect),
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
struct Case {
    transport: Transport,
    version: TlsVersion,
    security: Security,
    fault: Fault,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut faults = vec![Fault::Nothing, Fault::ClientWithout];
        faults.extend(Defect::ALL.map(Fault::Client));
        faults.extend(Defect::ALL.map(Fault::Server));
        let mut all = Vec::new();
        for transport in Transport::ALL {
            for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
                for security in [Security::Plaintext, Security::Tls, Security::Mutual] {
                    all.extend(faults.iter().map(|fault| Self {
                        transport,
                        version,
                        security,
                        fault: *fault,
                    }));
                }
            }
        }
        all
    }

    /// The identities of the two.
    fn identities(self, authority: &Authority) -> (Identity, Option<Identity>) {
        let server = match self.fault {
            Fault::Server(defect) => authority.server_with(defect),
            _ => authority.localhost(),
        };
        let client = match self.fault {
            Fault::ClientWithout => None,
            Fault::Client(defect) => Some(authority.client_with(defect)),
            _ => Some(authority.client("good")),
        };
        (server, client)
    }

    async fn server(self, authority: &Authority, identity: Identity) -> MockServer {
        let builder = self.transport.builder();
        let tls = ServerTls::new(identity).only(self.version);
        match self.security {
            Security::Plaintext => builder.start().await,
            Security::Tls => builder.tls(tls).start().await,
            Security::Mutual => builder.tls(tls.require_client(authority)).start().await,
        }
    }

    /// What the client and the server say, `None` when there is nothing to say.
    fn expected(self, told: &Told<'_>) -> Option<[String; 2]> {
        match (self.security, self.fault) {
            (Security::Tls | Security::Mutual, Fault::Server(defect)) => {
                Some(told.refused_by_client(defect))
            }
            (Security::Mutual, Fault::Client(defect)) => told.refused_by_server(defect),
            (Security::Mutual, Fault::ClientWithout) => Some(WITHOUT.map(str::to_owned)),
            _ => None,
        }
    }
}

/// What the texts are made of.
struct Told<'a> {
    authority: &'a Authority,
    server: &'a Certificate,
    client: Option<&'a Certificate>,
    /// What the server is asked for by.
    name: &'a str,
}

impl Told<'_> {
    fn refused_by_client(&self, defect: Defect) -> [String; 2] {
        let (server, trusted) = (self.server, self.authority.root());
        let why = match defect {
            Defect::Expired => "it expired on DATE, and now is DATE".to_owned(),
            Defect::NotYetValid => "it is not valid before DATE, and now is DATE".to_owned(),
            Defect::WrongName => {
                let name = self.name;
                format!("`{name}` was asked for, and it is for `wrong.example`")
            }
            Defect::OtherAuthority => format!(
                "its issuer `{}` is not known; trusted is `{trusted}`",
                server.issuer()
            ),
            Defect::WrongUsage => {
                "it may not be used for server authentication, only for code signing".to_owned()
            }
            Defect::WrongKey => WRONG_KEY.to_owned(),
            _ => ONLY_A_PIN.to_owned(),
        };
        let names = server.names().join(", ");
        let (heard, alert) = Self::heard(defect, server, "this server");
        let heard = match defect {
            Defect::WrongName => format!(": perhaps it asked for another name than {names}"),
            _ => heard,
        };
        let alert = if defect == Defect::WrongName {
            "bad_certificate"
        } else {
            alert
        };
        [
            format!("this client refuses the server's certificate {server}: {why}"),
            format!(
                "the client refuses this server's certificate {server}{heard} (alert `{alert}`)"
            ),
        ]
    }

    fn refused_by_server(&self, defect: Defect) -> Option<[String; 2]> {
        let (client, trusted) = (self.client.expect("it has one"), self.authority.root());
        let why = match defect {
            Defect::Expired => "it expired on DATE, and now is DATE".to_owned(),
            Defect::NotYetValid => "it is not valid before DATE, and now is DATE".to_owned(),
            // TLS has no rule for the names of clients.
            Defect::WrongName => return None,
            Defect::OtherAuthority => format!(
                "its issuer `{}` is not known; trusted is `{trusted}`",
                client.issuer()
            ),
            Defect::WrongUsage => {
                "it may not be used for client authentication, only for code signing".to_owned()
            }
            Defect::WrongKey => WRONG_KEY.to_owned(),
            _ => ONLY_A_PIN.to_owned(),
        };
        let (heard, alert) = Self::heard(defect, client, "this client");
        Some([
            format!(
                "the server refuses this client's certificate {client}{heard} (alert `{alert}`)"
            ),
            format!("this server refuses the client's certificate {client}: {why}"),
        ])
    }

    /// What the one whose certificate it is makes of the alert.
    fn heard(defect: Defect, certificate: &Certificate, us: &str) -> (String, &'static str) {
        match defect {
            Defect::Expired | Defect::NotYetValid => (
                ": it is valid from DATE to DATE".to_owned(),
                "certificate_expired",
            ),
            Defect::OtherAuthority => (
                format!(": it does not know its issuer `{}`", certificate.issuer()),
                "unknown_ca",
            ),
            Defect::WrongUsage => (
                ": it may not be used for that, only for code signing".to_owned(),
                "unsupported_certificate",
            ),
            Defect::WrongKey => (
                format!(": the key of {us} is not that of the certificate"),
                "decrypt_error",
            ),
            _ => (String::new(), "certificate_unknown"),
        }
    }
}

/// What the two say of a client without a certificate.
const WITHOUT: [&str; 2] = [
    "the server requires a client certificate, and this client has none (alert `certificate_required`)",
    "this server requires a client certificate, and the client sent none",
];
const WRONG_KEY: &str = "its key did not sign the handshake: the other side does not have it";
const ONLY_A_PIN: &str =
    "it is an authority's own certificate, signed by itself, which only a pin accepts";

/// The text with each date as `DATE`.
fn without_dates(text: &str) -> String {
    let words = text.split_inclusive([' ', ',']);
    words
        .map(|word| match word.find('Z') {
            Some(19) if word[10..].starts_with('T') => format!("DATE{}", &word[20..]),
            _ => word.to_owned(),
        })
        .collect()
}

fn client_of(
    server: &MockServer,
    case: Case,
    tls: ClientTls,
) -> rpcplugin_testkit::client::ClientBuilder {
    let builder = Client::builder().address(server.address());
    match case.security {
        Security::Plaintext => builder,
        Security::Tls | Security::Mutual => builder.tls(tls),
    }
}

#[tokio::test]
async fn the_right_side_refuses_with_the_right_message_and_nothing_is_served() {
    let authority = Authority::new();
    let (mut good, mut bad) = (0, 0);
    for case in Case::all() {
        let (own, client) = case.identities(&authority);
        let server = case.server(&authority, own.clone()).await;
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        server.mount(
            Stub::any()
                .reply(move |_: &rpcplugin_testkit::Call| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    json!({"served": true})
                })
                .times(0..),
        );
        let mut tls = ClientTls::new().roots(&authority);
        if let Some(client) = &client {
            tls = tls.identity(client.clone());
        }
        let connected = within(client_of(&server, case, tls).connect()).await;
        let told = Told {
            authority: &authority,
            server: own.certificate(),
            client: client.as_ref().map(Identity::certificate),
            name: if case.transport == Transport::Tcp {
                "127.0.0.1"
            } else {
                "localhost"
            },
        };
        match case.expected(&told) {
            None => {
                let client = connected.unwrap_or_else(|error| panic!("{case:?}: {error}"));
                assert_served(&server, &client, case, &told).await;
                assert_eq!(reached.load(Ordering::Relaxed), 1);
                good += 1;
            }
            Some(expected) => {
                assert_refused(&server, &connected.expect_err("refused"), case, expected).await;
                assert_eq!(reached.load(Ordering::Relaxed), 0, "{case:?}");
                bad += 1;
            }
        }
    }
    // 3 transports × 2 versions × (16 in plaintext, 9 of TLS, 2 of mutual TLS), and the rest.
    assert_eq!((good, bad), (6 * (16 + 9 + 2), 6 * (7 + 7 + 6 + 1)));
}

async fn assert_served(server: &MockServer, client: &Client, case: Case, told: &Told<'_>) {
    let reply = within(client.call("Get", json!({})).into_future()).await;
    assert_eq!(reply.expect("it is served"), json!({"served": true}));
    let call = &server.calls()[0];
    let expected = told.client.filter(|_| case.security == Security::Mutual);
    assert_eq!(call.client_certificate(), expected, "{case:?}");
    assert!(server.journal().refused().is_empty(), "{case:?}");
}

async fn assert_refused(server: &MockServer, error: &Error, case: Case, expected: [String; 2]) {
    let [by_client, by_server] = expected;
    let address = server.address();
    let told = without_dates(&error.to_string());
    assert_eq!(
        told,
        format!("no TLS with {address}: {by_client}"),
        "{case:?}"
    );
    assert!(error.is_tls() && error.is_connect(), "{error:?}");
    assert_eq!(error.code(), Some(Code::Unavailable));

    within(server.wait_until(|journal| !journal.refused().is_empty())).await;
    let refused = server.journal().refused();
    assert_eq!(without_dates(refused[0].reason()), by_server, "{case:?}");
    assert_eq!((refused.len(), refused[0].connection_id()), (1, 1));
    // It tells whom it refused itself.
    let presented = refused[0].client_certificate().is_some();
    let ours = matches!(case.fault, Fault::Client(_)) && case.security == Security::Mutual;
    assert_eq!(presented, ours, "{case:?}");
    assert!(server.calls().is_empty(), "{case:?}");
    assert!(
        server
            .journal()
            .to("grpc.health.v1.Health/Check")
            .is_empty()
    );
}
