//! Where a server is: what is written, what it means, and what is printed.

use crate::support::{Transport, within};
use rpcplugin_testkit::{Address, Client, Error, IntoAddress};
use std::net::SocketAddr;

/// Written, host, port, TLS and printed.
const TCP: &str = "
127.0.0.1:50051 => 127.0.0.1 50051 plain 127.0.0.1:50051
localhost:50051 => localhost 50051 plain localhost:50051
LocalHost:1 => LocalHost 1 plain LocalHost:1
a-b_c.example.com:65535 => a-b_c.example.com 65535 plain a-b_c.example.com:65535
localhost:0 => localhost 0 plain localhost:0
localhost:00080 => localhost 80 plain localhost:80
[::1]:50051 => ::1 50051 plain [::1]:50051
[::]:1 => :: 1 plain [::]:1
[::ffff:127.0.0.1]:1 => ::ffff:127.0.0.1 1 plain [::ffff:127.0.0.1]:1
[2001:DB8::1]:1 => 2001:DB8::1 1 plain [2001:DB8::1]:1
http://localhost:50051 => localhost 50051 plain localhost:50051
http://localhost:50051/ => localhost 50051 plain localhost:50051
http://[::1]:50051 => ::1 50051 plain [::1]:50051
https://localhost:50051 => localhost 50051 tls https://localhost:50051
https://localhost:50051/ => localhost 50051 tls https://localhost:50051
https://[::1]:50051 => ::1 50051 tls https://[::1]:50051
";

/// Written, and the path; `unix:` before the path is what is printed.
const UNIX: &str = "
unix:/run/plugin.sock => /run/plugin.sock
unix:///run/plugin.sock => /run/plugin.sock
unix:plugin.sock => plugin.sock
unix:./a/../plugin.sock => ./a/../plugin.sock
unix:/with space:and,colon => /with space:and,colon
unix:/größe.sock => /größe.sock
unix:/not%20decoded?q#f => /not%20decoded?q#f
unix:/ends with a slash/ => /ends with a slash/
unix:/// => /
";

/// Written and printed, and the name.
const MEMORY: &str = "
memory:7 => 7
memory:a => a
memory:Plug-in_1.0 => Plug-in_1.0
memory:... => ...
";

/// Written, and the problem that is told.
const MALFORMED: &str = "
 => it is empty
localhost => the port is missing
localhost: => the port is missing
plugin.sock => the port is missing
[::1] => the port is missing
[::1]: => the port is missing
[::1]50051 => the port is missing
http:// => the port is missing
http://localhost => the port is missing
https://localhost/ => the port is missing
localhost:http => `http` is not a port from 0 to 65535
localhost:65536 => `65536` is not a port from 0 to 65535
localhost:99999999999999999999 => `99999999999999999999` is not a port from 0 to 65535
localhost:+80 => `+80` is not a port from 0 to 65535
localhost:-1 => `-1` is not a port from 0 to 65535
localhost: 80 => ` 80` is not a port from 0 to 65535
localhost:80  => `80 ` is not a port from 0 to 65535
localhost:8_0 => `8_0` is not a port from 0 to 65535
localhost:٨٠ => `٨٠` is not a port from 0 to 65535
localhost:50051/ => `50051/` is not a port from 0 to 65535
localhost:50051/v1 => `50051/v1` is not a port from 0 to 65535
http://localhost:50051/v1 => `50051/v1` is not a port from 0 to 65535
http://localhost:50051// => `50051/` is not a port from 0 to 65535
http://localhost:50051?q => `50051?q` is not a port from 0 to 65535
[::1]:+1 => `+1` is not a port from 0 to 65535
unix-abstract:name => `name` is not a port from 0 to 65535
ftp://localhost:21 => unknown scheme `ftp`
HTTP://localhost:80 => unknown scheme `HTTP`
grpc://localhost:80 => unknown scheme `grpc`
://localhost:80 => unknown scheme ``
::1 => an IPv6 address needs brackets, as in `[::1]:50051`
::1:50051 => an IPv6 address needs brackets, as in `[::1]:50051`
http://2001:db8::1:80 => an IPv6 address needs brackets, as in `[::1]:50051`
[::1 => `[` has no `]`
[::1:50051 => `[` has no `]`
[]:1 => `` is not an IPv6 address
[localhost]:1 => `localhost` is not an IPv6 address
[127.0.0.1]:1 => `127.0.0.1` is not an IPv6 address
[fe80::1%eth0]:1 => `fe80::1%eth0` is not an IPv6 address
:50051 => the host is missing
http://:50051 => the host is missing
local host:1 => ' ' cannot stand in a host name
 localhost:1 => ' ' cannot stand in a host name
user@host:1 => '@' cannot stand in a host name
host/path:1 => '/' cannot stand in a host name
größe.de:1 => 'ö' cannot stand in a host name
a\0b:1 => '\\0' cannot stand in a host name
a]:1 => ']' cannot stand in a host name
/run/plugin.sock => a path needs a scheme, as in `unix:/run/plugin.sock`
/ => a path needs a scheme, as in `unix:/`
unix: => the path is missing
unix:// => `unix://` takes an absolute path, as in `unix:///path`
unix://host/path => `unix://` takes an absolute path, as in `unix:///path`
unix://plugin.sock => `unix://` takes an absolute path, as in `unix:///path`
unix:/run/\0.sock => the path has a NUL byte
unix:\0abstract => the path has a NUL byte
memory: => `memory:` needs a name
memory:a b => ' ' cannot stand in the name of an in-process server
memory:a/b => '/' cannot stand in the name of an in-process server
memory://1 => '/' cannot stand in the name of an in-process server
memory:a:b => ':' cannot stand in the name of an in-process server
memory:é => 'é' cannot stand in the name of an in-process server
memory:\t => '\\t' cannot stand in the name of an in-process server
";

/// The rows of a table above.
fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = table.split('\n').filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(" => ").expect("a row has two columns"))
}

/// How many bytes of path a Unix socket's address has room for.
const LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

fn parse(text: &str) -> Address {
    text.parse()
        .unwrap_or_else(|error: Error| panic!("{text:?}: {error}"))
}

fn told(text: &str, problem: &str) -> String {
    format!(
        "invalid address `{text}`: {problem}; expected `host:port`, `http://host:port`, `https://host:port`, \
         `unix:/path` or `memory:name`"
    )
}

fn unusable(path: &str, problem: &str) -> String {
    format!("invalid Unix socket path `{path}`: {problem}")
}

fn too_long(bytes: usize) -> String {
    format!("the path has {bytes} bytes, and this platform allows {LIMIT} for a Unix socket")
}

fn path_of(bytes: usize) -> String {
    format!("/{}", "p".repeat(bytes - 1))
}

/// That it prints as itself, and that what it prints is itself.
#[track_caller]
fn assert_round_trip(address: &Address, context: &str) {
    let printed = address.to_string();
    let again = printed.parse::<Address>();
    let same = again.as_ref().is_ok_and(|again| again == address);
    assert!(same, "{context}: {printed:?} gave {again:?}");
    // Paths are equal by component, so `/a//b` is `/a/b`: the text must not change either.
    let reprinted = again.map(|again| again.to_string());
    assert_eq!(reprinted.ok(), Some(printed), "{context}");
}

#[test]
fn every_tcp_form_parses_to_its_parts_and_prints_its_shortest_form() {
    for (written, parts) in rows(TCP) {
        let parts: Vec<_> = parts.split(' ').collect();
        let [host, port, security, printed] = parts[..] else {
            panic!("{parts:?}");
        };
        let (port, secure) = (port.parse().unwrap(), security == "tls");
        let address = parse(written);
        // An `Address` with TLS can only be parsed, so its parts are compared.
        let shown = format!("Tcp {{ host: {host:?}, port: {port}, tls: {secure} }}");
        assert_eq!(format!("{address:?}"), shown, "{written}");
        assert_eq!(address.wants_tls(), secure, "{written}");
        assert_eq!(address == Address::tcp(host, port), !secure, "{written}");
        assert_eq!(address.to_string(), printed, "{written}");
        let scheme = if secure { "" } else { "http://" };
        assert_eq!(address.uri(), format!("{scheme}{printed}"), "{written}");
        assert_eq!(parse(&address.uri()), address, "{written}");
        assert_round_trip(&address, written);
    }
}

#[test]
fn every_unix_and_memory_form_parses_and_prints_its_shortest_form() {
    let unix = rows(UNIX).map(|(written, path)| {
        let printed = format!("unix:{path}");
        (written, Address::Unix(path.into()), printed)
    });
    let memory = rows(MEMORY).map(|(written, name)| {
        let printed = written.to_owned();
        (written, Address::Memory(name.to_owned()), printed)
    });
    for (written, expected, printed) in unix.chain(memory) {
        let address = parse(written);
        assert_eq!(address, expected, "{written}");
        assert_eq!(address.to_string(), printed, "{written}");
        assert_eq!(address.uri(), printed, "{written}");
        assert!(!address.wants_tls(), "{written}");
        assert_round_trip(&address, written);
    }
}

#[test]
fn every_malformed_form_tells_its_problem_and_what_is_expected() {
    for (written, problem) in rows(MALFORMED) {
        let error = written.parse::<Address>().expect_err(written);
        assert_eq!(error.to_string(), told(written, problem));
        let debug = format!("Address: {error}");
        assert_eq!(format!("{error:?}"), debug, "{written:?}");
        assert!(error.is_address() && !error.is_config(), "{written:?}");
        assert_eq!(error.code(), None, "{written:?}");
    }
}

#[test]
fn a_unix_path_may_be_as_long_as_the_platform_allows_and_no_longer() {
    let longest = path_of(LIMIT);
    for written in [format!("unix:{longest}"), format!("unix://{longest}")] {
        assert_eq!(parse(&written), Address::Unix(longest.clone().into()));
    }
    assert_round_trip(&Address::unix(&longest).unwrap(), "the longest path");

    // Bytes count, not characters.
    let wide = format!("/{}", "é".repeat(LIMIT / 2 + 1));
    for path in [path_of(LIMIT + 1), wide] {
        let written = format!("unix:{path}");
        let error = written.parse::<Address>().unwrap_err();
        assert_eq!(error.to_string(), told(&written, &too_long(path.len())));
        let error = Address::unix(&path).unwrap_err();
        assert_eq!(error.to_string(), unusable(&path, &too_long(path.len())));
        assert!(error.is_address());
    }
    let error = Address::unix("").unwrap_err();
    assert_eq!(error.to_string(), unusable("", "the path is missing"));
}

/// As it is in a text: no socket can be there.
#[test]
fn a_unix_path_with_a_nul_byte_is_refused_by_its_constructor_too() {
    let error = Address::unix("/run/\0.sock").expect_err("it has a NUL byte");
    assert!(error.is_address(), "{error:?}");
}

/// `unix` and `memory` are ordinary names on a network, and `unix:50051` would be read as a socket's path.
#[test]
fn a_host_that_is_called_like_a_scheme_survives_printing() {
    for host in ["unix", "memory", "http", "https", "UNIX"] {
        assert_round_trip(&Address::tcp(host, 50051), "made");
        assert_round_trip(&parse(&format!("http://{host}:50051")), "parsed");
        assert_round_trip(&parse(&format!("https://{host}:50051")), "parsed, with TLS");
    }
}

/// `unix://a` would be read as a host.
#[test]
fn a_unix_path_that_begins_with_several_slashes_survives_printing() {
    for path in ["//a", "//", "///a"] {
        assert_round_trip(&Address::unix(path).unwrap(), path);
        assert_round_trip(&parse(&format!("unix://{path}")), path);
    }
}

/// Xorshift64: an arbitrary but repeatable sequence.
struct Dice(u64);

impl Dice {
    /// Neighbouring seeds shall not begin alike.
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("it is less than `sides`")
    }
}

/// What addresses are made of, and what has no business in them.
const PIECES: &str = "http:// https:// localhost: [::1]: :0 :50051 unix: unix:// memory: http unix memory :// : / // \
                      [ ] ::1 [::1] localhost 127.0.0.1 50051 65536 0 + - _ . % @ ? # \0 é \u{202e} a Z sock \
                      pppppppppppppppppppppppppppppppppppppppp";

#[test]
fn arbitrary_text_never_panics_and_round_trips_when_it_parses() {
    let pieces: Vec<_> = PIECES.split(' ').chain([" ", "\n"]).collect();
    let (mut tcp, mut unix, mut memory) = (0, 0, 0);
    for seed in 1..=50_000 {
        let mut dice = Dice::new(seed);
        let length = dice.roll(7);
        let text: String = (0..length)
            .map(|_| pieces[dice.roll(pieces.len())])
            .collect();
        match text.parse::<Address>() {
            Ok(address) => {
                match &address {
                    Address::Unix(_) => unix += 1,
                    Address::Memory(_) => memory += 1,
                    _ => tcp += 1,
                }
                assert_round_trip(&address, &format!("seed {seed}: {text:?}"));
            }
            Err(error) => assert!(error.is_address(), "seed {seed}: {text:?}: {error:?}"),
        }
    }
    // Or the pieces no longer make addresses, and the test shows nothing.
    assert!(tcp.min(unix).min(memory) > 50, "{tcp} {unix} {memory}");
}

#[tokio::test]
async fn connecting_to_a_malformed_address_tells_what_parsing_it_tells() {
    for (written, problem) in rows(MALFORMED) {
        let error = within(Client::connect(written)).await.unwrap_err();
        assert_eq!(error.to_string(), told(written, problem));
        assert!(error.is_address());
        let lazy = Client::builder().address(written.to_owned()).connect_lazy();
        let error = lazy.unwrap_err();
        assert_eq!(error.to_string(), told(written, problem));
    }
}

/// They parse, or were never parsed, and still cannot be dialled.
#[tokio::test]
async fn connecting_to_an_address_that_cannot_be_dialled_is_an_address_error() {
    let long = path_of(LIMIT + 1);
    let port_0 = "cannot connect to 127.0.0.1:0: port 0 only means \"any\" to a listener";
    let cases = [
        ("", unusable("", "the path is missing")),
        (&long, unusable(&long, &too_long(LIMIT + 1))),
    ]
    .map(|(path, text)| (Address::Unix(path.into()), text))
    .into_iter()
    .chain([(Address::tcp("127.0.0.1", 0), port_0.to_owned())]);
    for (address, text) in cases {
        let error = within(Client::connect(&address)).await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(error.is_address() && !error.is_connect(), "{error:?}");
    }
}

#[test]
fn texts_socket_addresses_and_addresses_are_all_addresses() {
    let expected = Address::tcp("::1", 50051);
    let text = "[::1]:50051".to_owned();
    let socket: SocketAddr = text.parse().unwrap();
    let all = [
        text.as_str().into_address(),
        (&text).into_address(),
        text.clone().into_address(),
        socket.into_address(),
        (&expected).into_address(),
        expected.clone().into_address(),
    ];
    for (index, address) in all.into_iter().enumerate() {
        assert_eq!(address.unwrap(), expected, "{index}");
    }
    assert_eq!(Address::from(socket), expected);
    let socket = SocketAddr::from(([127, 0, 0, 1], 1));
    assert_eq!(socket.into_address().unwrap(), parse("127.0.0.1:1"));
    let malformed = ["localhost".into_address(), "".to_owned().into_address()];
    for error in malformed {
        assert!(error.unwrap_err().is_address());
    }
}

#[tokio::test]
async fn a_server_is_reached_by_every_way_to_write_its_address() {
    for transport in Transport::ALL {
        let server = transport.start().await;
        let address = server.address();
        let socket = address.to_string().parse::<SocketAddr>().ok();
        assert_eq!(socket.is_some(), transport == Transport::Tcp);
        let mut ways = vec![
            within(Client::connect(address)).await,
            within(Client::connect(address.clone())).await,
            within(Client::connect(address.to_string())).await,
            within(Client::connect(server.uri().as_str())).await,
        ];
        if let Some(socket) = socket {
            ways.push(within(Client::connect(socket)).await);
        }
        for client in ways {
            let client = client.unwrap();
            assert_eq!(&client.endpoints()[0].address, address, "{transport:?}");
            within(client.health_check()).await.unwrap();
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

    /// Whatever text: it is an address that prints as itself, or an error that quotes it.
    #[test]
    fn any_text_is_an_address_or_an_error(
        text in "\\PC{0,30}|(https?://|unix:|unix://|memory:)?(\\[?[a-z0-9.:%-]{0,12}\\]?)(:[0-9]{0,6})?(/[a-z/. ]{0,8})?"
    ) {
        match text.parse::<Address>() {
            Ok(address) => {
                let printed = address.to_string();
                proptest::prop_assert_eq!(printed.parse::<Address>().ok(), Some(address.clone()), "{} {}", text, printed);
                proptest::prop_assert_eq!(address.uri().parse::<Address>().ok(), Some(address), "{}", text);
            }
            Err(error) => proptest::prop_assert!(error.is_address()),
        }
    }
}
