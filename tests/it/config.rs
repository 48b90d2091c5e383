//! The configuration from variables, and the refusal of TLS.

use crate::support::within;
use rpcplugin_testkit::{
    Address, Client, ClientConfig, Error,
    client::{Backoff, Pem, TlsConfig},
};
use std::{cell::RefCell, error, fs, io, net::TcpListener, time::Duration};
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
    assert_eq!(default.address, Address::tcp("localhost", 50051));
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
const NAMES: &str = "SERVER_HOST SERVER_PORT SERVER_UNIX_SOCKET_PATH TIMEOUT COMPRESSION USE_TLS CA_CERT \
                     CLIENT_CERT CLIENT_KEY";

#[test]
fn an_empty_variable_counts_as_unset() {
    for switch in ["", "on"] {
        let unset = format!("{:?}", config(&[("USE_TLS", switch)]).unwrap());
        for name in NAMES.split(' ').filter(|name| *name != "USE_TLS") {
            for empty in ["", " ", "\t\n"] {
                let read = config(&[("USE_TLS", switch), (name, empty)]).unwrap();
                assert_eq!(format!("{read:?}"), unset, "{name}={empty:?}");
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
        assert_eq!(alone.address, Address::tcp(host, 50051), "{written:?}");
        for (digits, port) in [("1", 1), ("65535", 65535), (" 7000 ", 7000), ("007", 7)] {
            let both = config(&[("SERVER_HOST", written), ("SERVER_PORT", digits)]).unwrap();
            assert_eq!(both.address, Address::tcp(host, port), "{written:?}");
            let alone = config(&[("SERVER_PORT", digits)]).unwrap();
            assert_eq!(alone.address, Address::tcp("localhost", port), "{digits:?}");
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
        assert_eq!(read(path).unwrap().address, Address::Unix(path.into()));
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
            let read = config(&[("USE_TLS", &written)]).unwrap();
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
    for prefix in ["PLUGIN_", "KV_", ""] {
        for (switch, pems) in [("", 0), ("off", 0), ("on", 3)] {
            let asked = RefCell::new(Vec::new());
            let read = ClientConfig::from_vars(prefix, |name| {
                asked.borrow_mut().push(name.to_owned());
                let name = name.strip_prefix(prefix);
                Ok(match name.expect("it has the prefix") {
                    "SERVER_HOST" => Some("kv".to_owned()),
                    "USE_TLS" => Some(switch.to_owned()),
                    "CA_CERT" | "CLIENT_CERT" => Some(pem("CERTIFICATE")),
                    "CLIENT_KEY" => Some(pem("PRIVATE KEY")),
                    _ => None,
                })
            });
            let read = read.unwrap();
            let tls = read.tls.unwrap_or_default();
            let found = [tls.ca_cert, tls.client_cert, tls.client_key];
            assert_eq!(found.iter().flatten().count(), pems, "{prefix} {switch}");
            assert_eq!(read.address, Address::tcp("kv", 50051));
            let mut asked = asked.into_inner();
            asked.sort_unstable();
            let names = NAMES.split(' ').take(6 + pems);
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

/// The PEM variables, what each needs, and what may stand before that.
const PEMS: [(&str, &str, &str); 3] = [
    ("CA_CERT", "CERTIFICATE", "|TRUSTED "),
    ("CLIENT_CERT", "CERTIFICATE", ""),
    ("CLIENT_KEY", "PRIVATE KEY", "|EC |RSA |ENCRYPTED "),
];

fn read_pem(name: &str, value: &str) -> Result<Pem, Error> {
    let tls = config(&[("USE_TLS", "true"), (name, value)])?.tls;
    let tls = tls.expect("TLS is on");
    let pem = match name {
        "CA_CERT" => tls.ca_cert,
        "CLIENT_CERT" => tls.client_cert,
        _ => tls.client_key,
    };
    Ok(pem.expect("it is set"))
}

#[test]
fn pem_is_given_inline_as_a_path_or_as_a_file_url() {
    for (name, label, kinds) in PEMS {
        for label in kinds.split('|').map(|kind| format!("{kind}{label}")) {
            let text = format!("a comment\n{}{}", pem(&label), pem(&label));
            for text in [text.clone(), text.replace('\n', "\r\n")] {
                let (_file, path) = file(&text);
                let url = format!("file://{path}");
                for value in [&text, &path, &url, &format!(" {path}\n")] {
                    let read = read_pem(name, value).unwrap();
                    assert_eq!(read.as_str(), text, "{name} {label}");
                    assert_eq!(format!("{read:?}"), format!("Pem({label}, {label})"));
                }
            }
        }
    }
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
    for (name, label, _) in PEMS {
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
    for (name, label, _) in PEMS {
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
fn debug_never_shows_the_content_of_pem() {
    let (cert, key) = (pem("CERTIFICATE"), pem("EC PRIVATE KEY"));
    let certs = [("CA_CERT", cert.as_str()), ("CLIENT_CERT", &cert)];
    let vars = [("USE_TLS", "on"), certs[0], certs[1], ("CLIENT_KEY", &key)];
    let config = config(&vars).unwrap();
    let tls = config.tls.clone().unwrap();
    let shown = [
        format!("{config:?} {config:#?} {tls:?}"),
        format!("{:?}", Client::builder().config(config)),
        format!("{:?}", Client::builder().tls(tls)),
    ];
    for shown in shown {
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains("Pem(EC PRIVATE KEY)"), "{shown}");
    }
}

#[tokio::test]
async fn tls_is_refused_before_anything_is_dialled() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    let plain = || Client::builder().address(at);
    let secure = || Client::builder().address(format!("https://{at}"));
    let mut read = config(&[("USE_TLS", "yes")]).unwrap();
    read.address = at.into();
    let (tls, by_config) = (TlsConfig::default(), "by the configuration");
    let cases = [
        (secure(), format!("https://{at} by its address")),
        (plain().tls(tls.clone()), format!("{at} {by_config}")),
        (secure().tls(tls), format!("https://{at} {by_config}")),
        (Client::builder().config(read), format!("{at} {by_config}")),
    ];
    for (builder, asked) in cases {
        let expected = format!(
            "TLS was asked for {asked}, and this version cannot speak it: refusing to connect in plaintext"
        );
        let connected = within(builder.clone().connect()).await;
        for error in [connected.unwrap_err(), builder.connect_lazy().unwrap_err()] {
            assert_eq!(error.to_string(), expected);
            assert!(error.is_tls() && !error.is_connect(), "{error:?}");
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
