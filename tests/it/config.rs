//! The configuration from variables.

use crate::support::within;
use rpcplugin_testkit::{
    Address, Authority, Client, ClientConfig, Error, Identity, MockServer, ServerTls,
    client::Backoff, tls::Pem,
};
use std::{cell::RefCell, error, fs, io, time::Duration};
use tempfile::NamedTempFile;

/// What no text of an error and no `{:?}` may contain.
const SECRET: &str = "c2VjcmV0IGtleSBtYXRlcmlhbA";

/// What is read from these variables; the names are without `PLUGIN_`.
fn config(vars: &[(&str, &str)]) -> Result<ClientConfig, Error> {
    ClientConfig::from_vars("PLUGIN_", |asked| {
        let found = vars
            .iter()
            .find(|(name, _)| asked == format!("PLUGIN_{name}"));
        Ok(found.map(|(_, value)| (*value).to_owned()))
    })
}

fn pem(label: &str) -> String {
    format!("-----BEGIN {label}-----\n{SECRET}==\n-----END {label}-----\n")
}

/// A file, and where it is for as long as it is held.
fn file(content: impl AsRef<[u8]>) -> (NamedTempFile, String) {
    let file = NamedTempFile::new().expect("the temporary directory is writable");
    fs::write(file.path(), content).expect("the file is ours");
    let path = file.path().display().to_string();
    (file, path)
}

#[test]
fn without_variables_the_configuration_is_the_default() {
    let default = ClientConfig::default();
    assert_eq!(
        default.endpoints[0].address,
        Address::tcp("localhost", 50051)
    );
    assert_eq!(default.timeout, Some(Duration::from_secs(30)));
    assert_eq!(default.connect_timeout, Duration::from_secs(20));
    assert_eq!(default.close_grace, Duration::from_secs(10));
    assert_eq!(default.max_message_size, 4 * 1024 * 1024);
    assert!(default.tls.is_none());
    let (backoff, expected) = (default.backoff, Backoff::default());
    assert_eq!(format!("{backoff:?}"), format!("{expected:?}"));
    let read = config(&[]).unwrap();
    assert_eq!(format!("{read:?}"), format!("{default:?}"));
}

/// Every variable, in the order of the documentation.
const NAMES: &str = "SERVER_HOST SERVER_PORT SERVER_UNIX_SOCKET_PATH STRATEGY TIMEOUT COMPRESSION USE_TLS CA_CERT \
                     CLIENT_CERT CLIENT_KEY";

#[test]
fn an_empty_variable_counts_as_unset() {
    let told = |read: Result<ClientConfig, Error>| match read {
        Ok(config) => format!("{config:?}"),
        // TLS alone is not enough.
        Err(error) => error.to_string(),
    };
    for switch in ["", "on"] {
        let unset = told(config(&[("USE_TLS", switch)]));
        for name in NAMES.split(' ').filter(|name| *name != "USE_TLS") {
            for empty in ["", " ", "\t\n"] {
                let read = config(&[("USE_TLS", switch), (name, empty)]);
                assert_eq!(told(read), unset, "{name}={empty:?}");
            }
        }
    }
}

#[test]
fn host_and_port_make_the_address() {
    // `unix` and `memory` are names like any other, although an address can begin so.
    let hosts = "127.0.0.1|plugin.example.com|::1|[::1]|2001:db8::1|unix|memory| spaced \n";
    for written in hosts.split('|') {
        let host = written.trim().trim_matches(['[', ']']);
        let alone = config(&[("SERVER_HOST", written)]).unwrap();
        assert_eq!(
            alone.endpoints[0].address,
            Address::tcp(host, 50051),
            "{written:?}"
        );
        for (digits, port) in [("1", 1), ("65535", 65535), (" 7000 ", 7000), ("007", 7)] {
            let both = config(&[("SERVER_HOST", written), ("SERVER_PORT", digits)]).unwrap();
            assert_eq!(
                both.endpoints[0].address,
                Address::tcp(host, port),
                "{written:?}"
            );
            let alone = config(&[("SERVER_PORT", digits)]).unwrap();
            assert_eq!(
                alone.endpoints[0].address,
                Address::tcp("localhost", port),
                "{digits:?}"
            );
        }
    }
}

#[test]
fn a_unix_socket_path_wins_over_host_and_port() {
    let others = [("SERVER_HOST", "no/host"), ("SERVER_PORT", "none")];
    let read = |path| config(&[others[0], others[1], ("SERVER_UNIX_SOCKET_PATH", path)]);
    let limit = if cfg!(target_os = "linux") { 107 } else { 103 };
    let longest = format!("/{}", "p".repeat(limit - 1));
    for path in ["/run/plugin.sock", "plugin.sock", longest.as_str()] {
        assert_eq!(
            read(path).unwrap().endpoints[0].address,
            Address::Unix(path.into())
        );
    }
    let error = read(&format!("{longest}p")).unwrap_err();
    let expected = format!(
        "PLUGIN_SERVER_UNIX_SOCKET_PATH: invalid Unix socket path `{longest}p`: the path has {} bytes, and this \
         platform allows {limit} for a Unix socket",
        limit + 1
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.is_config() && !error.is_address(), "{error:?}");
}

#[test]
fn a_timeout_is_seconds_or_milliseconds() {
    let table = "30=30000|30.0=30000|2.5=2500|30s=30000|2.5s=2500|500ms=500|0.5ms=0.5| 5 s =5000|250 ms=250|1e2=100000|\
                 .5=500|0.25s=250|3600=3600000|0.001=1";
    for (written, millis) in table.split('|').map(|row| row.split_once('=').unwrap()) {
        let read = config(&[("TIMEOUT", written)]).unwrap().timeout;
        let expected = Duration::from_secs_f64(millis.parse::<f64>().unwrap() / 1000.0);
        assert_eq!(read, Some(expected), "{written:?}");
    }
}

#[test]
fn tls_is_a_switch() {
    for word in "true 1 yes on TRUE Yes oN false 0 no off FALSE No oFf".split(' ') {
        let on = ["true", "1", "yes", "on"].contains(&word.to_lowercase().as_str());
        for written in [word.to_owned(), format!(" {word}\n")] {
            let ca = Authority::shared().root().pem();
            let read = config(&[("USE_TLS", &written), ("CA_CERT", &ca)]).unwrap();
            assert_eq!(read.tls.is_some(), on, "{written:?}");
        }
    }
}

/// Variables, bad values of each, and what is allowed.
const BAD: [[&str; 3]; 4] = [
    [
        "SERVER_HOST",
        "a:1|localhost:50051|a/b|/run/p.sock|http://a|unix:/p|memory:1|a b|[]|[::1|::1]|::g|é|a\0",
        "a host name or an IP address, without a port",
    ],
    [
        "SERVER_PORT",
        "0|00|65536|-1|+1|1.0|0x10|http|1 2|99999999999999999999|٨٠",
        "a port from 1 to 65535",
    ],
    [
        "TIMEOUT",
        "0|0.0|0ms|-1|-0|-1ms|nan|inf|-inf|infinity|1e400|1e20|1e-10|s|ms|5m|5min|1,5|ten|30S|0x5|1_000",
        "a positive number of seconds, as `30`, `2.5` or `500ms`",
    ],
    [
        "USE_TLS",
        "2|y|t|tru|-1|true false|\"true\"",
        "`true` or `false`",
    ],
];

#[test]
fn every_bad_value_is_told_with_its_variable_and_what_is_allowed() {
    for prefix in ["PLUGIN_", "KV_", ""] {
        for [name, values, allowed] in BAD {
            let name = format!("{prefix}{name}");
            for value in values.split('|') {
                let source = |asked: &str| Ok((asked == name).then(|| value.to_owned()));
                let error = ClientConfig::from_vars(prefix, source).expect_err(value);
                let expected = format!("{name} is `{value}`, expected {allowed}");
                assert_eq!(error.to_string(), expected);
                assert!(error.is_config() && error.code().is_none(), "{error:?}");
            }
        }
    }
}

/// Inside a go-plugin process `PLUGIN_CLIENT_CERT` is the host's certificate, not ours.
#[test]
fn only_variables_of_the_prefix_are_read_and_those_of_pem_only_with_tls() {
    let client = Authority::shared().client("client");
    for prefix in ["PLUGIN_", "KV_", ""] {
        for (switch, pems) in [("", 0), ("off", 0), ("on", 3)] {
            let asked = RefCell::new(Vec::new());
            let read = ClientConfig::from_vars(prefix, |name| {
                asked.borrow_mut().push(name.to_owned());
                let name = name.strip_prefix(prefix);
                Ok(match name.expect("it has the prefix") {
                    "SERVER_HOST" => Some("kv".to_owned()),
                    "USE_TLS" => Some(switch.to_owned()),
                    "CA_CERT" | "CLIENT_CERT" => Some(client.chain_pem()),
                    "CLIENT_KEY" => Some(client.key_pem().as_str().to_owned()),
                    _ => None,
                })
            });
            let read = read.unwrap();
            assert_eq!(read.tls.is_some(), pems > 0, "{prefix} {switch}");
            assert_eq!(read.endpoints[0].address, Address::tcp("kv", 50051));
            let mut asked = asked.into_inner();
            asked.sort_unstable();
            let names = NAMES.split(' ').take(7 + pems);
            let mut expected: Vec<_> = names.map(|name| format!("{prefix}{name}")).collect();
            expected.sort_unstable();
            assert_eq!(asked, expected, "{switch}");
        }
    }
}

#[test]
fn an_error_of_the_source_is_handed_on() {
    let mistake = "no port".parse::<Address>().unwrap_err();
    let error = ClientConfig::from_vars("PLUGIN_", |_| Err(mistake.clone())).unwrap_err();
    assert_eq!(format!("{error:?}"), format!("{mistake:?}"));
}

/// The PEM variables, and what each needs.
const PEMS: [(&str, &str); 3] = [
    ("CA_CERT", "CERTIFICATE"),
    ("CLIENT_CERT", "CERTIFICATE"),
    ("CLIENT_KEY", "PRIVATE KEY"),
];

fn read_pem(name: &str, value: &str) -> Result<ClientConfig, Error> {
    config(&[("USE_TLS", "true"), (name, value)])
}

/// What a client of a server with mutual TLS needs.
fn complete(authority: &Authority, client: &Identity) -> [(&'static str, String); 3] {
    [
        ("CA_CERT", authority.root().pem()),
        ("CLIENT_CERT", client.chain_pem()),
        ("CLIENT_KEY", client.key_pem().as_str().to_owned()),
    ]
}

fn config_of(pems: &[(&'static str, String)]) -> Result<ClientConfig, Error> {
    let pems = pems.iter().map(|(name, value)| (*name, value.as_str()));
    let vars: Vec<_> = [("USE_TLS", "true")].into_iter().chain(pems).collect();
    config(&vars)
}

#[tokio::test]
async fn pem_is_given_inline_as_a_path_or_as_a_file_url() {
    let authority = Authority::new();
    let server = MockServer::builder().memory();
    let server = server.tls(ServerTls::mutual(&authority)).start().await;
    let good = complete(&authority, &authority.client("by variables"));
    for (at, (name, text)) in good.iter().enumerate() {
        let text = format!("a comment\n{text}");
        for text in [text.clone(), text.replace('\n', "\r\n")] {
            let (_file, path) = file(&text);
            let url = format!("file://{path}");
            for value in [text.clone(), path.clone(), url, format!(" {path}\n")] {
                let mut vars = good.clone();
                vars[at].1 = value;
                let mut config = config_of(&vars).unwrap_or_else(|error| panic!("{name}: {error}"));
                config.endpoints = vec![server.address().clone().into()];
                let client = within(Client::builder().config(config).connect()).await;
                client.unwrap().health_check().await.unwrap();
                let calls = server.calls_to("grpc.health.v1.Health/Check");
                let certificate = calls.last().unwrap().client_certificate().unwrap();
                assert_eq!(certificate.common_name(), Some("by variables"));
            }
        }
    }
}

#[test]
fn a_certificate_and_its_key_go_together() {
    let authority = Authority::shared();
    let mut good = complete(authority, &authority.client("a"));
    let [ca, cert, key] = good.clone();
    let cases = [
        (
            vec![ca.clone(), cert.clone()],
            "PLUGIN_CLIENT_CERT is set without PLUGIN_CLIENT_KEY: they go together",
        ),
        (
            vec![ca.clone(), key],
            "PLUGIN_CLIENT_KEY is set without PLUGIN_CLIENT_CERT: they go together",
        ),
    ];
    for (vars, text) in cases {
        let error = config_of(&vars).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(error.is_config() && error.code().is_none(), "{error:?}");
    }
    good[2].1 = authority.client("b").key_pem().as_str().to_owned();
    assert_eq!(
        config_of(&good).unwrap_err().to_string(),
        "PLUGIN_CLIENT_CERT and PLUGIN_CLIENT_KEY: the private key is not the one of the certificate CN=a"
    );

    // A go-plugin host leaves its own certificate, under its own names.
    let host = [ca, cert, ("PROTOCOL_VERSIONS", "5,6".to_owned())];
    config_of(&host).unwrap();
    let elsewhere = |asked: &str| {
        let name = asked
            .strip_prefix("KV_")
            .or_else(|| asked.strip_prefix("PLUGIN_"));
        let name = name.expect("it has a prefix");
        let mut vars = host.iter().filter(|(known, _)| *known == name);
        let found = vars.next().map(|(_, value)| value.clone());
        Ok(found.or_else(|| (name == "USE_TLS").then(|| "on".to_owned())))
    };
    assert_eq!(
        ClientConfig::from_vars("KV_", elsewhere)
            .unwrap_err()
            .to_string(),
        "KV_CLIENT_CERT is set without KV_CLIENT_KEY: they go together"
    );
}

#[test]
fn pem_whose_content_is_none_is_refused_with_its_variable_and_not_repeated() {
    let authority = Authority::shared();
    for (at, (name, label)) in PEMS.into_iter().enumerate() {
        let mut vars = complete(authority, &authority.client("a"));
        vars[at].1 = pem(label);
        let error = config_of(&vars).unwrap_err();
        assert!(
            error.to_string().contains(&format!("PLUGIN_{name}")),
            "{error}"
        );
        assert!(
            error.is_config() && !format!("{error:?}").contains(SECRET),
            "{error:?}"
        );
    }
    let mut vars = complete(authority, &authority.client("a"));
    vars[2].1 = pem("ENCRYPTED PRIVATE KEY");
    assert_eq!(
        config_of(&vars).unwrap_err().to_string(),
        "PLUGIN_CLIENT_CERT and PLUGIN_CLIENT_KEY: the private key is of no use: it is encrypted, which is not supported"
    );
}

#[cfg(not(feature = "system-roots"))]
#[test]
fn without_roots_there_is_nothing_to_check_the_server_against() {
    let error = config(&[("USE_TLS", "on")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "PLUGIN_USE_TLS is on and PLUGIN_CA_CERT is not set: there is nothing to check the server's certificate against"
    );
}

/// That the text is refused, inline and in a file, and not repeated.
fn assert_no_pem(name: &str, label: &str, text: &str) {
    let (_file, path) = file(text);
    let from_file = format!("the file `{path}`");
    for (value, origin) in [(text, "the text"), (&path, &from_file)] {
        let error = read_pem(name, value).expect_err(text);
        let expected = format!("PLUGIN_{name}: {origin} has no complete PEM block `{label}`");
        assert_eq!(error.to_string(), expected, "{text}");
        assert!(error.is_config(), "{error:?}");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
    assert!(Pem::parse(text).is_none_or(|pem| !format!("{pem:?}").contains(SECRET)));
}

#[test]
fn pem_that_is_incomplete_or_of_another_kind_is_refused_and_not_repeated() {
    for (name, label) in PEMS {
        let certificate = label == "CERTIFICATE";
        let other = ["CERTIFICATE", "PRIVATE KEY"][usize::from(certificate)];
        let whole = pem(label);
        assert_no_pem(name, label, &pem(other));
        assert_no_pem(name, label, &pem(&format!("{label} REQUEST")));
        assert_no_pem(name, label, whole.split("-----END").next().unwrap());
        assert_no_pem(name, label, &whole.replace("-----END", "-----KONIEC"));
        let crossed = whole.replace(&format!("END {label}"), &format!("END {other}"));
        assert_no_pem(name, label, &crossed);
        // A shell or a YAML file that lost the line breaks.
        assert_no_pem(name, label, &whole.replace('\n', "\\n"));
        assert_no_pem(name, label, &whole.replace('\n', " "));
    }
}

/// The last certificate of a chain is the one that is cut off, when a file was not copied to its end.
#[test]
fn every_block_of_pem_needs_an_end_after_its_beginning() {
    for (name, label) in PEMS {
        let begun = format!("-----BEGIN {label}-----\n{SECRET}\n");
        assert_no_pem(name, label, &format!("{}{begun}", pem(label)));
        assert_no_pem(name, label, &format!("-----END {label}-----\n{begun}"));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_cause() {
    let missing = format!("{}/missing.pem", env!("CARGO_TARGET_TMPDIR"));
    let (_der, der) = file([0x30, 0x82, 0xff, 0xfe]);
    let cases = [
        (missing.as_str(), io::ErrorKind::NotFound),
        (&der, io::ErrorKind::InvalidData),
    ];
    for ((name, ..), (path, cause)) in PEMS.iter().flat_map(|pem| cases.map(|case| (pem, case))) {
        for value in [path.to_owned(), format!("file://{path}")] {
            let error = read_pem(name, &value).unwrap_err();
            assert_eq!(error.to_string(), unreadable(name, &format!("`{path}`")));
            let source = error::Error::source(&error).unwrap();
            let source = source.downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.kind(), cause, "{value}");
        }
    }
}

fn unreadable(name: &str, value: &str) -> String {
    let expected = "expected PEM text, a path or file://path";
    format!("PLUGIN_{name} is {value}, which cannot be read; {expected}")
}

/// That the value is taken for a mangled key.
fn assert_never_repeated(value: &str) {
    for (name, ..) in PEMS {
        let error = read_pem(name, value).expect_err(value);
        let expected = unreadable(name, "a value that is no path");
        assert_eq!(error.to_string(), expected);
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn a_value_that_is_neither_pem_nor_a_path_is_never_repeated() {
    assert_never_repeated(SECRET);
    assert_never_repeated(&format!("MIIEvQIBADAN/{SECRET}+/=="));
    assert_never_repeated(&format!("----BEGIN PRIVATE KEY----\n{SECRET}\n----"));
    assert_never_repeated(&format!("BEGIN PRIVATE KEY\n{SECRET}"));
    assert_never_repeated(&format!("file://{SECRET}"));
    assert_never_repeated(&format!("{SECRET}\0"));
    // Longer than any path that somebody writes.
    assert_never_repeated(&format!("/{}", SECRET.repeat(20)));
}

/// A key on a P-256 curve has less than 256 bytes of text, and a comment before it may have a dot.
#[test]
fn a_short_mangled_key_with_a_dot_in_it_is_never_repeated() {
    let text = format!("# plugin.example.com\n----BEGIN PRIVATE KEY----\n{SECRET}\n");
    assert_never_repeated(&text);
}

/// `LICENSE-MIT` is a file of this crate, in whose directory the tests run.
#[test]
fn a_file_that_was_read_is_not_called_a_value_that_is_no_path() {
    let error = read_pem("CLIENT_KEY", "LICENSE-MIT").unwrap_err();
    let origin = "PLUGIN_CLIENT_KEY: the file `LICENSE-MIT`";
    let expected = format!("{origin} has no complete PEM block `PRIVATE KEY`");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn debug_never_shows_a_key() {
    let client = Authority::shared().client("client");
    let key = client.key_pem();
    let config = config_of(&complete(Authority::shared(), &client)).unwrap();
    let tls = config.tls.clone().unwrap();
    let files = client.files().unwrap();
    let shown = [
        format!(
            "{config:?} {config:#?} {tls:?} {key:?} {client:?} {files:?} {:?}",
            Authority::shared()
        ),
        format!("{:?}", Client::builder().config(config)),
        format!("{:?}", Client::builder().tls(tls.identity(client))),
    ];
    let secrets: Vec<_> = key
        .as_str()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    for shown in shown {
        assert!(secrets.iter().all(|line| !shown.contains(line)), "{shown}");
    }
    assert_eq!(format!("{key:?}"), "Pem(PRIVATE KEY)");
}

#[cfg(not(feature = "system-roots"))]
#[tokio::test]
async fn tls_without_trust_is_refused_before_anything_is_dialled() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    let cases = [
        (
            Client::builder().address(format!("https://{at}")),
            format!("https://{at}"),
        ),
        (
            Client::builder()
                .address(at)
                .tls(rpcplugin_testkit::ClientTls::new()),
            at.to_string(),
        ),
    ];
    for (builder, asked) in cases {
        let expected = format!(
            "TLS with {asked} needs something to check the server's certificate against: \
             give `Client::builder()` its `.tls(ClientTls::new().roots(..))`, or `.pinned(..)`"
        );
        let connected = within(builder.clone().connect()).await;
        for error in [connected.unwrap_err(), builder.connect_lazy().unwrap_err()] {
            assert_eq!(error.to_string(), expected);
            assert!(error.is_config() && !error.is_connect(), "{error:?}");
            assert_eq!(error.code(), None);
        }
    }

    // A dial in a task of its own would run here.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let accepted = listener.accept().unwrap_err();
    assert_eq!(accepted.kind(), io::ErrorKind::WouldBlock);
}
