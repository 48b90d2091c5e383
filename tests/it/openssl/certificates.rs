//! What is minted, looked at alone.

use crate::openssl::{Files, told};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::tls::KeyAlgorithm;
use rpcplugin_testkit::{Authority, Certificate, Defect, Identity};
use std::{net::IpAddr, time::SystemTime};
use time::OffsetDateTime;

/// A root, what is below it, and what is below that, with each kind of key that this build can make.
fn authorities() -> Vec<Authority> {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048};
    let kinds = [EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048];
    let roots = kinds.map(Authority::with_algorithm).into_iter().flatten();
    roots
        .flat_map(|root| {
            let below = root.intermediate();
            let deeper = below.intermediate();
            [root, below, deeper]
        })
        .collect()
}

/// What `openssl verify` says, which is told who is trusted and what for. It is as strict as Python 3.13 is.
async fn verified(identity: &Identity, trusted: &str, purpose: &str) -> Result<(), String> {
    let files = Files::of(identity);
    let words = format!("verify -x509_strict {purpose}");
    let arguments = ["-CAfile", trusted, "-untrusted", &files.cert, &files.cert];
    let ended = told(&words, &arguments).await;
    assert_eq!(ended.success, ended.text.ends_with(": OK\n"));
    ended.success.then_some(()).ok_or(ended.text)
}

const AS_SERVER: &str = "-purpose sslserver -verify_hostname localhost";
const AS_CLIENT: &str = "-purpose sslclient";

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_accepts_what_every_authority_signs_for_what_it_is_signed_for() {
    let authorities = authorities();
    assert!(authorities.len() >= 3 * 3);
    for authority in authorities {
        let (server, client) = (authority.localhost(), authority.client("worker-1"));
        let trusted = Files::of(&server);
        let refused = |problem: String| panic!("{authority:?}: {problem}");
        for name in [
            "-verify_hostname localhost",
            "-verify_ip 127.0.0.1",
            "-verify_ip ::1",
        ] {
            let purpose = format!("-purpose sslserver {name}");
            let verified = verified(&server, &trusted.ca, &purpose).await;
            verified.unwrap_or_else(refused);
        }
        let as_client = verified(&client, &trusted.ca, AS_CLIENT).await;
        as_client.unwrap_or_else(refused);
        for (identity, purpose) in [(&client, AS_SERVER), (&server, AS_CLIENT)] {
            let problem = verified(identity, &trusted.ca, purpose).await.unwrap_err();
            assert!(problem.contains("error 26 at 0 depth"), "{problem}");
        }
    }
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_reads_the_names_of_a_server_as_they_were_given() {
    let authority = Authority::new();
    let names = [
        "db.internal",
        "*.db.internal",
        "10.1.2.3",
        "2001:db8::1",
        "spiffe://test/db",
    ];
    let server = authority.server(names);
    let trusted = Files::of(&server);
    for (name, error) in [
        ("-verify_hostname db.internal", None),
        ("-verify_hostname DB.internal", None),
        ("-verify_hostname a.db.internal", None),
        ("-verify_hostname a.b.db.internal", Some("error 62 at 0")),
        ("-verify_hostname internal", Some("error 62 at 0")),
        ("-verify_ip 10.1.2.3", None),
        ("-verify_ip 10.1.2.4", Some("error 64 at 0")),
        ("-verify_ip 2001:db8:0::1", None),
        ("-verify_ip 2001:db8::2", Some("error 64 at 0")),
    ] {
        let purpose = format!("-purpose sslserver {name}");
        let problem = verified(&server, &trusted.ca, &purpose).await.err();
        let found = problem.as_deref().unwrap_or_default();
        assert!(found.contains(error.unwrap_or_default()), "{name}: {found}");
        assert_eq!(problem.is_some(), error.is_some(), "{name}: {found}");
    }
}

/// What openssl says to a certificate with this defect, if that is seen in the certificate alone.
fn visible(defect: Defect) -> Option<(u8, &'static str)> {
    Some(match defect {
        Defect::Expired => (10, "certificate has expired"),
        Defect::NotYetValid => (9, "certificate is not yet valid"),
        Defect::WrongName => (62, "ostname mismatch"),
        Defect::OtherAuthority => (20, "unable to get local issuer certificate"),
        Defect::WrongUsage => (26, "certificate purpose"),
        Defect::SelfSigned => (18, "signed certificate"),
        _ => return None,
    })
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_sees_of_each_defect_what_was_made_wrong_and_nothing_else() {
    for authority in authorities() {
        let trusted = Files::of(&authority.localhost());
        for defect in Defect::ALL {
            // Nobody asks for clients by their names.
            let of_client = visible(defect).filter(|_| defect != Defect::WrongName);
            for (identity, purpose, expected) in [
                (authority.server_with(defect), AS_SERVER, visible(defect)),
                (authority.client_with(defect), AS_CLIENT, of_client),
            ] {
                let problem = verified(&identity, &trusted.ca, purpose).await.err();
                let problem = problem.unwrap_or_default();
                let case = format!("{authority:?}, {defect}, {purpose}: {problem}");
                let number = expected.map_or_else(String::new, |(number, text)| {
                    assert!(problem.contains(text), "{case}");
                    format!("error {number} at 0 depth lookup: ")
                });
                assert!(problem.contains(&number), "{case}");
                let errors = problem.matches(" depth lookup").count();
                assert_eq!(errors, usize::from(expected.is_some()), "{case}");
            }
        }
    }
}

/// go-plugin's other side has it as its only root.
#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_accepts_one_that_signed_itself_as_its_own_root_on_both_sides() {
    let plugin = Identity::auto_mtls();
    let trusted = Files::of(&plugin);
    for purpose in [AS_SERVER, AS_CLIENT] {
        let verified = verified(&plugin, &trusted.ca, purpose).await;
        verified.unwrap_or_else(|problem| panic!("{purpose}: {problem}"));
    }
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_finds_keys_sound_private_and_the_certificates_own_unless_they_are_wrong() {
    for authority in authorities() {
        let defects = Defect::ALL.map(|defect| (authority.server_with(defect), defect));
        let wrong = |defect| defect == Defect::WrongKey;
        let defects = defects.map(|(identity, defect)| (identity, wrong(defect)));
        let good = [authority.localhost(), authority.client("worker-1")];
        for (identity, wrong) in good.map(|good| (good, false)).into_iter().chain(defects) {
            let files = Files::of(&identity);
            let checked = told("pkey -check -noout -in", &[&files.key]).await;
            let problem = format!("{authority:?}: {}", checked.text);
            assert!(checked.text.contains("Key is valid"), "{problem}");
            assert!(checked.success, "{problem}");
            let of_certificate = told("x509 -noout -pubkey -in", &[&files.cert]).await;
            let of_key = told("pkey -pubout -in", &[&files.key]).await;
            assert!(of_key.text.starts_with("-----BEGIN PUBLIC KEY-----"));
            assert_eq!(of_certificate.text != of_key.text, wrong, "{problem}");
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;
                let key = std::fs::metadata(files.files.key()).unwrap();
                assert_eq!(key.permissions().mode() & 0o777, 0o600);
            }
        }
    }
}

/// What openssl prints of it: subject, issuer, serial number, dates and alternative names.
async fn printed(certificate: &Certificate) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("certificate.pem");
    std::fs::write(&file, certificate.pem()).expect("it can be written");
    let words = "x509 -noout -subject -issuer -serial -startdate -enddate -ext subjectAltName \
                 -nameopt RFC2253,utf8,-esc_msb -in";
    let told = told(words, &[file.to_str().expect("it is UTF-8")]).await;
    // The names stand by themselves, below a title.
    let fact = |line: &&str| line.contains('=');
    let mut facts: Vec<_> = told.text.lines().filter(fact).map(str::to_owned).collect();
    let names = told.text.lines().filter(|line| !fact(line));
    let names = names.flat_map(|line| line.trim().split(", "));
    let names = names.filter_map(|name| name.split_once(':'));
    let names = names.filter(|(_, name)| !name.trim().is_empty());
    facts.extend(names.map(|(kind, name)| {
        let ip = name.parse::<IpAddr>().ok().filter(|_| kind == "IP Address");
        ip.map_or_else(|| name.to_owned(), |ip| ip.to_string())
    }));
    facts
}

/// A date as openssl prints it.
fn date(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (month, day, year) = (time.month().to_string(), time.day(), time.year());
    let (hour, minute, second) = time.to_hms();
    let month = &month[..3];
    format!("{month} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT")
}

#[tokio::test]
#[ignore = "needs the openssl command: see .ci/run"]
async fn openssl_and_the_crate_read_the_same_in_a_certificate() {
    let authority = Authority::new();
    let names = ["db.internal", "*.a.example", "10.1.2.3", "2001:db8::1"];
    let mut all = vec![
        authority.certificate().clone(),
        authority.intermediate().certificate().clone(),
        authority.server(names).certificate().clone(),
        authority.client("spiffe://test/a").certificate().clone(),
        Identity::auto_mtls().certificate().clone(),
    ];
    let odd = "größer||a, b|a+b=c|#a| a |\"a\"|a\\b|<a;b>|Ada Lovelace";
    for odd in odd.split('|') {
        all.push(authority.client(odd).certificate().clone());
    }
    for defect in Defect::ALL {
        all.push(authority.server_with(defect).certificate().clone());
    }
    for certificate in all {
        let mut facts = vec![
            format!("subject={}", certificate.subject()),
            format!("issuer={}", certificate.issuer()),
            format!("serial={}", certificate.serial()),
            format!("notBefore={}", date(certificate.not_before())),
            format!("notAfter={}", date(certificate.not_after())),
        ];
        facts.extend(certificate.names());
        assert_eq!(printed(&certificate).await, facts, "{certificate}");
    }
}
