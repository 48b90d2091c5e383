//! Certificates minted, and calls by them.

use crate::contestants::{Bare, Serving, serve_by};
use crate::echo::{reply_to, request};
use crate::load::{Caller, Say};
use crate::ports;
use crate::report::{Report, Target};
use crate::rounds::{Contestant, Plan, compare, median_micros};
use crate::stage::Stage;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rpcplugin_testkit::{Authority, Client, ClientTls, MockServer, Reply, ServerTls, Stub};
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

/// An authority, a server's and a client's certificate, all as PEM.
pub fn mint(plan: &Plan) -> Vec<Report> {
    let turn = |one: fn() -> Pems| move || median_micros(plan.block, || timed(one));
    let contestants = vec![
        Contestant::new("rcgen", turn(by_rcgen)),
        Contestant::new("ours", turn(by_us)),
    ];
    let compared = compare(contestants, plan);
    let micros = compared.value("ours");
    let report = Report::rounds("mtls-mint", "P-256, ring", "p50, µs", compared);
    vec![report.figure("mtls-mint", micros, Target::AtMost(200.0))]
}

fn timed(one: fn() -> Pems) -> Duration {
    let begin = Instant::now();
    black_box(one());
    begin.elapsed()
}

/// The authority's certificate, and a server's and a client's with their keys.
#[derive(Clone)]
struct Pems {
    authority: String,
    server: (String, String),
    client: (String, String),
}

fn by_us() -> Pems {
    let authority = Authority::new();
    let pem = |identity: rpcplugin_testkit::Identity| {
        (identity.chain_pem(), identity.key_pem().as_str().to_owned())
    };
    Pems {
        authority: authority.certificate().pem(),
        server: pem(authority.localhost()),
        client: pem(authority.client("a client")),
    }
}

fn by_rcgen() -> Pems {
    let names = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        CertificateParams::new(names).expect("names")
    };
    let mut params = names(&[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let signed = |params: CertificateParams| {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    };
    Pems {
        authority: authority.pem(),
        server: signed(names(&["localhost", "127.0.0.1"])),
        client: signed(names(&["client"])),
    }
}

/// Config, connect and first call, by PEM that is there.
pub fn call(plan: &Plan) -> Vec<Report> {
    ports::rested(plan);
    let stage = Stage::current_thread();
    let pems = by_us();
    let theirs = stage.set_up(tonic_server(&pems));
    let own = stage.set_up(our_server(&pems));
    let turn = |own: bool, uri: String| {
        let (stage, pems) = (&stage, &pems);
        move || {
            median_micros(plan.block, || {
                let taken = if own {
                    stage.set_up(by_our_client(&uri, pems))
                } else {
                    stage.set_up(by_channel(&uri, pems))
                };
                stage.tasks();
                taken
            })
        }
    };
    let contestants = vec![
        Contestant::new("tonic", turn(false, theirs.uri.clone())),
        Contestant::new("our client, tonic's server", turn(true, theirs.uri.clone())),
        Contestant::new("tonic's client, our server", turn(false, own.uri())),
        Contestant::new("ours", turn(true, own.uri())),
    ];
    let compared = compare(contestants, plan);
    let ratio = compared.ratio("ours");
    let report = Report::rounds("mtls-call", stage.name, "p50, µs", compared);
    vec![report.figure("mtls-call", ratio, Target::AtMost(1.05))]
}

async fn tonic_server(pems: &Pems) -> Serving {
    let (chain, key) = &pems.server;
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(chain, key))
        .client_ca_root(Certificate::from_pem(&pems.authority));
    let server = Server::builder().tls_config(tls).expect("certificates");
    serve_by(server, "https", Bare).await
}

async fn our_server(pems: &Pems) -> MockServer {
    let (chain, key) = &pems.server;
    let identity = rpcplugin_testkit::Identity::from_pem(chain, key).expect("certificates");
    let roots = rpcplugin_testkit::Certificate::from_pem(&pems.authority).expect("a certificate");
    let tls = ServerTls::new(identity).require_client(roots);
    let server = MockServer::builder().tls(tls).start().await;
    server.mount(Stub::any().reply(Reply::message(&reply_to(request()))));
    server
}

async fn by_channel(uri: &str, pems: &Pems) -> Duration {
    let begin = Instant::now();
    let (chain, key) = &pems.client;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&pems.authority))
        .identity(Identity::from_pem(chain, key));
    let endpoint = Endpoint::from_shared(uri.to_owned()).expect("an address");
    let endpoint = endpoint.tls_config(tls).expect("certificates");
    let channel = endpoint.connect().await.expect("a server");
    let mut say = Say::new(channel, request());
    say.call().await.expect("a reply");
    begin.elapsed()
}

async fn by_our_client(uri: &str, pems: &Pems) -> Duration {
    let begin = Instant::now();
    let (chain, key) = &pems.client;
    let tls = ClientTls::new()
        .roots_pem(&pems.authority)
        .identity_pem(chain, key);
    let client = Client::builder().address(uri).tls(tls).connect();
    let mut say = Say::new(client.await.expect("a server"), request());
    say.call().await.expect("a reply");
    begin.elapsed()
}
