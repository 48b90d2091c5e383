//! Certificates: what an authority mints, and what is told of them.

use crate::support::within;
use pretty_assertions::assert_eq;
use rpcplugin_testkit::tls::{KeyAlgorithm, Pem, TlsVersion};
use rpcplugin_testkit::{
    Authority, Certificate, Client, ClientTls, Defect, Error, Identity, MockServer, ServerTls,
    Stub, json,
};
use std::{collections::HashSet, net::IpAddr, time::SystemTime};

#[test]
fn a_certificate_tells_what_stands_in_it() {
    let authority = Authority::new();
    let names = [
        "db.internal",
        "*.db.internal",
        "10.1.2.3",
        "2001:db8::1",
        "spiffe://test/db",
    ];
    let certificate = authority.server(names).certificate().clone();
    assert_eq!(certificate.subject(), "CN=db.internal");
    assert_eq!(certificate.common_name(), Some("db.internal"));
    assert_eq!(certificate.issuer(), authority.certificate().subject());
    assert_eq!(certificate.names(), names);
    assert_eq!(certificate.dns_names(), &names[..2]);
    let ips: [IpAddr; 2] = ["10.1.2.3", "2001:db8::1"].map(|ip| ip.parse().unwrap());
    assert_eq!(certificate.ip_addresses(), ips);
    assert_eq!(certificate.uris(), ["spiffe://test/db"]);
    for name in [
        "db.internal",
        "DB.internal",
        "10.1.2.3",
        "2001:db8:0::1",
        "*.db.internal",
    ] {
        assert!(certificate.has_name(name), "{name}");
    }
    for name in [
        "a.db.internal",
        "internal",
        "",
        "10.1.2.4",
        "spiffe://test/DB",
    ] {
        assert!(!certificate.has_name(name), "{name}");
    }
    let now = SystemTime::now();
    assert!(certificate.not_before() < now && now < certificate.not_after());
    assert_eq!(certificate.serial().len(), 32);
    assert!(!certificate.is_authority() && authority.certificate().is_authority());
    assert_eq!(certificate.to_string(), "CN=db.internal");
    assert_eq!(
        format!("{certificate:?}"),
        format!(
            "Certificate(CN=db.internal, serial {})",
            certificate.serial()
        )
    );

    for again in [
        Certificate::from_der(certificate.der()),
        Certificate::from_pem(&certificate.pem()),
    ] {
        assert_eq!(again.unwrap(), certificate);
    }
    let mangled = Certificate::from_der([0x30, 0x82, 1, 2]).unwrap_err();
    assert_eq!(mangled.to_string(), "4 bytes are no X.509 certificate");
    let key = authority.client("a").key_pem();
    assert_eq!(
        Certificate::from_pem(key.as_str()).unwrap_err().to_string(),
        "the PEM text has no certificate: it has no block `CERTIFICATE`"
    );
}

#[test]
fn what_is_minted_is_unique_and_is_not_shared_unless_asked() {
    let authorities: Vec<_> = (0..3).map(|_| Authority::new()).collect();
    let subjects: HashSet<_> = authorities
        .iter()
        .map(|one| one.certificate().subject())
        .collect();
    assert_eq!(subjects.len(), 3);
    let clients: Vec<_> = (0..10).map(|_| authorities[0].client("same")).collect();
    let serials: HashSet<_> = clients
        .iter()
        .map(|one| one.certificate().serial())
        .collect();
    let keys: HashSet<_> = clients.iter().map(Identity::key_der).collect();
    assert_eq!((serials.len(), keys.len()), (10, 10));
    assert_eq!(
        Authority::shared().certificate(),
        Authority::shared().certificate()
    );
    assert_eq!(
        authorities[0].clone().certificate(),
        authorities[0].certificate()
    );
}

#[test]
fn a_client_has_its_name_as_alternative_name_when_it_can_be_one() {
    let authority = Authority::shared();
    for (name, names) in [
        ("worker-1", vec!["worker-1"]),
        ("10.0.0.1", vec!["10.0.0.1"]),
        ("spiffe://test/worker", vec!["spiffe://test/worker"]),
        ("Ada Lovelace", vec![]),
        ("größer", vec![]),
        ("", vec![]),
    ] {
        let client = authority.client(name);
        assert_eq!(client.certificate().names(), names, "{name}");
        assert_eq!(client.certificate().common_name(), Some(name));
    }
    let nameless: [&str; 0] = [];
    let server = authority.server(nameless);
    assert_eq!(
        server.certificate().names(),
        ["localhost", "127.0.0.1", "::1"]
    );
}

#[test]
fn names_that_can_be_none_are_refused_where_they_are_given() {
    for name in [
        "",
        "a b",
        "größer",
        "a..b",
        "*",
        "*.*.example",
        "unix:/p",
        "spiffe://ü",
    ] {
        let minted = std::panic::catch_unwind(|| Authority::shared().server([name]));
        let panic = minted.expect_err(name);
        let text = panic.downcast_ref::<String>().unwrap();
        assert_eq!(
            *text,
            format!("cannot mint a certificate: `{name}` can be no name in a certificate")
        );
    }
}

#[test]
fn an_identity_comes_back_from_pem_der_and_files() {
    let identity = Authority::new().intermediate().server(["a.example"]);
    let (chain, key) = (identity.chain_pem(), identity.key_pem());
    let both = format!("{chain}{}", key.as_str());
    for (chain, key) in [(chain.as_str(), key.as_str()), (&both, &both)] {
        let same = Identity::from_pem(chain, key).unwrap();
        assert_eq!(same.certificate(), identity.certificate());
        assert!(same.chain_der().eq(identity.chain_der()));
        assert_eq!(same.key_der(), identity.key_der());
    }
    assert_eq!(identity.chain_der().count(), 2);

    let files = identity.files().unwrap();
    let same = Identity::from_files(files.cert(), files.key()).unwrap();
    assert_eq!(same.certificate(), identity.certificate());
    let ca = Certificate::from_pem(&std::fs::read_to_string(files.ca()).unwrap()).unwrap();
    assert_eq!(ca, *identity.root());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(files.key()), mode(files.dir().to_owned())),
            (0o600, 0o700)
        );
        files.replace(&Authority::shared().localhost()).unwrap();
        assert_eq!(mode(files.key()), 0o600);
    }
    assert_eq!(std::fs::read_dir(files.dir()).unwrap().count(), 3);
    let dir = files.dir().to_owned();
    drop(files);
    assert!(!dir.exists());
}

#[test]
fn an_identity_that_is_none_is_refused_and_its_key_not_repeated() {
    let (one, other) = (
        Authority::shared().client("one"),
        Authority::shared().client("other"),
    );
    let (chain, key) = (one.chain_pem(), one.key_pem());
    let mangled = "-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----\n";
    let encrypted = mangled.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let cases = [
        (
            chain.as_str(),
            other.key_pem().as_str().to_owned(),
            "the private key is not the one of the certificate CN=one",
        ),
        (
            "",
            key.as_str().to_owned(),
            "the certificate chain is of no use: it has no complete PEM block",
        ),
        (
            key.as_str(),
            key.as_str().to_owned(),
            "the certificate chain is of no use: it has no block `CERTIFICATE`",
        ),
        (
            &chain,
            chain.clone(),
            "the private key is of no use: it has no private key that can be decoded",
        ),
        (
            &chain,
            mangled.to_owned(),
            "the private key is of no use: it cannot be decoded, or its kind is not supported",
        ),
        (
            &chain,
            encrypted,
            "the private key is of no use: it is encrypted, which is not supported",
        ),
    ];
    for (chain, key, text) in cases {
        let error = Identity::from_pem(chain, &key).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(
            error.is_config() && !format!("{error:?}").contains("U0VDUkVU"),
            "{error:?}"
        );
    }
    // One that is wrong on purpose is for presenting only.
    let wrong = Authority::shared().client_with(Defect::WrongKey);
    Identity::from_pem(&wrong.chain_pem(), wrong.key_pem().as_str()).unwrap_err();

    let missing = Identity::from_files("/no/such/cert.pem", "/no/such/key.pem").unwrap_err();
    assert_eq!(missing.to_string(), "cannot read `/no/such/cert.pem`");
    assert!(Pem::parse("no pem").is_none() && Pem::from_file("Cargo.toml").is_err());
}

/// {key algorithm} × {version} × {root, intermediate}: everything that this build can make does mutual TLS.
#[tokio::test]
async fn every_kind_of_key_does_mutual_tls_also_below_an_intermediate() {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048};
    for algorithm in [EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048] {
        let made = Authority::with_algorithm(algorithm);
        let only_aws = matches!(algorithm, EcdsaP521 | Rsa2048);
        if only_aws && !cfg!(feature = "aws-lc") {
            let text = format!(
                "{algorithm} keys cannot be made by this build's provider; enable the feature `aws-lc`"
            );
            assert_eq!(made.unwrap_err().to_string(), text);
            continue;
        }
        let root = made.unwrap();
        let below = root.intermediate().intermediate();
        assert_eq!(below.root(), root.certificate());
        for (version, signing) in [
            (TlsVersion::Tls12, &root),
            (TlsVersion::Tls13, &root),
            (TlsVersion::Tls12, &below),
            (TlsVersion::Tls13, &below),
        ] {
            let tls = ServerTls::new(signing.localhost())
                .require_client(&root)
                .only(version);
            let server = MockServer::builder().memory().tls(tls).start().await;
            server.mount(Stub::any().reply(json!({})));
            let tls = ClientTls::new().roots(&root).identity(signing.client("c"));
            let builder = Client::builder().address(server.address()).tls(tls);
            let client = within(builder.connect()).await;
            let client = client.unwrap_or_else(|error| panic!("{algorithm} {version}: {error}"));
            within(client.call("A", json!({})).into_future())
                .await
                .unwrap();
            assert_eq!(server.journal().from_client("c").len(), 1);
        }
    }
}

/// Providers write Ed25519 keys in the second version, which OpenSSL does not read.
#[test]
fn keys_are_in_the_first_version_of_pkcs_8() {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048};
    let kinds = [EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048].map(Authority::with_algorithm);
    for authority in kinds.into_iter().flatten() {
        let client = authority.client("c");
        let key = client.key_der();
        // The header's length may take more bytes.
        let header = 2 + usize::from(key[1].saturating_sub(0x80));
        assert_eq!(key[header..header + 3], [2, 1, 0], "{authority:?}");
        let same = Identity::from_pem(&client.chain_pem(), client.key_pem().as_str());
        assert_eq!(same.unwrap().key_der(), key);
    }
}

/// An authority is trusted for what it signed itself, and not for what stands above or beside it.
#[tokio::test]
async fn an_intermediate_that_is_trusted_is_no_trust_in_its_root_or_its_sisters() {
    let root = Authority::new();
    let (one, other) = (root.intermediate(), root.intermediate());
    let server = MockServer::builder()
        .memory()
        .tls(ServerTls::mutual(&one))
        .start()
        .await;
    let connect = |roots: &Authority, client: &Authority| {
        let tls = ClientTls::new().roots(roots).identity(client.client("c"));
        within(
            Client::builder()
                .address(server.address())
                .tls(tls)
                .connect(),
        )
    };
    connect(&one, &one).await.unwrap();
    connect(&root, &one).await.unwrap();
    connect(&one, &root).await.unwrap_err();
    connect(&one, &other).await.unwrap_err();
    connect(&other, &one).await.unwrap_err();
}

#[test]
fn a_mark_of_byte_order_is_no_part_of_pem() {
    let client = Authority::shared().client("a");
    let (chain, key) = (client.chain_pem(), client.key_pem());
    let [chain, key] = [chain.as_str(), key.as_str()].map(|text| format!("\u{feff}{text}"));
    assert_eq!(
        Identity::from_pem(&chain, &key).unwrap().certificate(),
        client.certificate()
    );
}

/// A chain whose root is known and whose middle is not sent cannot be followed.
#[tokio::test]
async fn a_chain_without_its_intermediate_is_refused_with_the_issuer_that_is_missing() {
    let root = Authority::new();
    let below = root.intermediate();
    let whole = below.localhost();
    let leaf = whole.certificate().pem();
    let cut = Identity::from_pem(&leaf, whole.key_pem().as_str()).unwrap();
    let server = MockServer::builder().memory().tls(cut).start().await;
    let tls = ClientTls::new().roots(&root);
    let builder = Client::builder().address(server.address()).tls(tls);
    let error: Error = within(builder.connect()).await.unwrap_err();
    let expected = format!(
        "its issuer `{}` is not known; trusted is `{}`",
        below.certificate(),
        root.certificate()
    );
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[test]
fn all_defects_have_names_of_their_own() {
    let names: HashSet<_> = Defect::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), Defect::ALL.len());
    let plugin = Identity::auto_mtls();
    let certificate = plugin.certificate();
    assert_eq!(certificate.subject(), "CN=localhost,O=HashiCorp");
    assert_eq!(certificate.issuer(), certificate.subject());
    assert!(certificate.is_authority() && plugin.root() == certificate);
}
