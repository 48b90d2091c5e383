//! How a plugin tells where it is: the handshake line, and the JSON to reattach by.

use crate::support::{chain, rows};
use pretty_assertions::assert_eq;
use proptest::prelude::*;
use rpcplugin_testkit::plugin::{Handshake, IntoAttachment, ReattachConfig};
use rpcplugin_testkit::tls::Identity;
use rpcplugin_testkit::{Address, Client};

#[test]
fn a_line_of_four_to_seven_fields_is_read_and_printed_in_full() {
    let table = "
1|1|unix|/tmp/plugin1|grpc => 1|1|unix|/tmp/plugin1|grpc|
1|1|unix|/tmp/plugin1|grpc| => 1|1|unix|/tmp/plugin1|grpc|
1|1|unix|/tmp/plugin1|grpc|extra => 1|1|unix|/tmp/plugin1|grpc|
1|5|tcp|127.0.0.1:1234|grpc| => 1|5|tcp|127.0.0.1:1234|grpc|
1|5|tcp|:1234|grpc| => 1|5|tcp|127.0.0.1:1234|grpc|
1|5|tcp|[::1]:1234|grpc| => 1|5|tcp|[::1]:1234|grpc|
1|5|tcp|localhost:1234|grpc| => 1|5|tcp|localhost:1234|grpc|
  1|6|unix|/tmp/p|grpc||true   => 1|6|unix|/tmp/p|grpc||true
1|6|unix|/tmp/p|grpc||1 => 1|6|unix|/tmp/p|grpc||true
1|6|unix|/tmp/p|grpc||false => 1|6|unix|/tmp/p|grpc|
1|6|unix|/tmp/p|grpc|| => 1|6|unix|/tmp/p|grpc|
1|6|unix|/tmp/p|grpc||true|more => 1|6|unix|/tmp/p|grpc||true
";
    for (line, printed) in rows(table) {
        let handshake: Handshake = line
            .parse()
            .unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!(handshake.to_string(), printed, "{line}");
    }
}

/// In the cases in which go-plugin's host refuses one.
#[test]
fn a_line_that_no_host_takes_is_told_in_words() {
    let table = r"
 => unrecognized plugin message ``: 1 of at least 4 fields, expected `CORE|APP|NETWORK|ADDRESS|grpc|CERTIFICATE`
loading plugins => unrecognized plugin message `loading plugins`: 1 of at least 4 fields, expected `CORE|APP|NETWORK|ADDRESS|grpc|CERTIFICATE`
1|1|unix => unrecognized plugin message `1|1|unix`: 3 of at least 4 fields, expected `CORE|APP|NETWORK|ADDRESS|grpc|CERTIFICATE`
one|1|unix|/tmp/p|grpc| => the core protocol version `one` is no number: invalid digit found in string
2|1|unix|/tmp/p|grpc| => incompatible core API version: the plugin has 2, expected 1
1|x|unix|/tmp/p|grpc| => the protocol version `x` is no number: invalid digit found in string
1|-1|unix|/tmp/p|grpc| => the protocol version `-1` is no number: invalid digit found in string
1|1|udp|127.0.0.1:1|grpc| => unknown address type `udp`, expected `tcp` or `unix`
1|1||/tmp/p|grpc| => unknown address type ``, expected `tcp` or `unix`
1|1|tcp||grpc| => `` is no tcp address of a plugin, expected `host:port`
1|1|tcp|unix:/tmp/p|grpc| => `unix:/tmp/p` is no tcp address of a plugin, expected `host:port`
1|1|tcp|https://a:1|grpc| => `https://a:1` is no tcp address of a plugin, expected `host:port`
1|1|unix||grpc| => `` is no unix address of a plugin: invalid Unix socket path ``: the path is missing
1|1|unix|/tmp/p => unsupported plugin protocol `netrpc`, expected `grpc`
1|1|unix|/tmp/p|netrpc| => unsupported plugin protocol `netrpc`, expected `grpc`
1|1|unix|/tmp/p|grpc||maybe => whether the plugin is multiplexed is told as `maybe`, expected `true` or `false`
";
    let lines = table.lines().skip(1);
    for (line, told) in lines.map(|line| line.split_once(" => ").expect("two columns")) {
        let error = line.parse::<Handshake>().unwrap_err();
        assert!(error.is_handshake(), "{line}");
        assert_eq!(chain(&error), told, "{line}");
    }
    let bad = format!("1|1|unix|/tmp/p|grpc|{}", "!".repeat(60));
    let error = bad.parse::<Handshake>().unwrap_err();
    assert_eq!(
        chain(&error),
        "the certificate of the plugin cannot be read: Invalid symbol 33, offset 0."
    );
    let other = format!("1|1|unix|/tmp/p|grpc|{}", "AAAA".repeat(20));
    let error = other.parse::<Handshake>().unwrap_err();
    assert_eq!(
        chain(&error)
            .lines()
            .next()
            .unwrap()
            .split(": ")
            .take(2)
            .collect::<Vec<_>>(),
        [
            "the certificate of the plugin cannot be read",
            "60 bytes are no X.509 certificate"
        ]
    );
    let long = "x".repeat(1000) + "\u{7}";
    let error = long.parse::<Handshake>().unwrap_err().to_string();
    assert!(
        error.contains("xxx…`: 1 of") && error.len() < 400,
        "{error}"
    );
}

#[test]
fn a_host_takes_only_the_versions_that_it_speaks() {
    let handshake: Handshake = "1|99|unix|/tmp/p|grpc|".parse().unwrap();
    handshake.check_app_version(&[1, 99]).unwrap();
    let error = handshake.check_app_version(&[1, 2]).unwrap_err();
    assert!(error.is_handshake());
    assert_eq!(
        error.to_string(),
        "incompatible API version: the plugin has 99, and the host [1, 2]"
    );
}

#[test]
fn a_certificate_goes_into_the_line_and_comes_out_of_it() {
    let identity = Identity::auto_mtls();
    let address = Address::unix("/tmp/p").unwrap();
    let handshake = Handshake::new(address).unwrap();
    assert!(handshake.client_tls().is_none());
    let handshake = handshake.certificate(identity.certificate().clone());
    let line = handshake.to_string();
    let fields: Vec<_> = line.split('|').collect();
    assert_eq!(fields.len(), 6);
    assert!(!fields[5].contains('=') && fields[5].len() > 50, "{line}");
    assert_eq!(line.parse::<Handshake>().unwrap(), handshake);
    assert!(handshake.client_tls().is_some());
    // Go reads a base64 whose last bits are not zero.
    let (rest, last) = line.split_at(line.len() - 1);
    let other = rest.to_owned() + if last == "A" { "B" } else { "A" };
    let _ = other.parse::<Handshake>();
}

#[test]
fn a_pipe_has_no_line_and_no_json() {
    let pipe: Address = "memory:1".parse().unwrap();
    let told = "memory:1 is a pipe within this process: a plugin listens on TCP or a socket";
    assert_eq!(Handshake::new(pipe.clone()).unwrap_err().to_string(), told);
    assert_eq!(ReattachConfig::new(pipe).unwrap_err().to_string(), told);
}

#[test]
fn what_terraform_and_go_write_is_read() {
    let terraform = r#"{"registry.terraform.io/acme/db":{"Protocol":"grpc","ProtocolVersion":6,"Pid":3382870,"Test":true,"Addr":{"Network":"unix","String":"/tmp/plugin713096927"}}}"#;
    let read = ReattachConfig::from_terraform(terraform).unwrap();
    let [(name, config)] = read.iter().collect::<Vec<_>>()[..] else {
        panic!("{read:?}");
    };
    assert_eq!(name, "registry.terraform.io/acme/db");
    assert_eq!(
        config.address,
        Address::unix("/tmp/plugin713096927").unwrap()
    );
    assert_eq!(
        (config.protocol_version, config.pid, config.test),
        (6, 3_382_870, true)
    );
    assert_eq!(
        ReattachConfig::to_terraform([(name, config)]).len(),
        terraform.len()
    );
    assert_eq!(config.to_json().parse::<ReattachConfig>().unwrap(), *config);

    // As `encoding/json` writes a `*net.UnixAddr` and a `*net.TCPAddr`.
    let table = r#"
{"Protocol":"grpc","Addr":{"Name":"/tmp/p","Net":"unix"},"Pid":7} => unix:/tmp/p
{"Protocol":"grpc","ProtocolVersion":1,"Addr":{"IP":"127.0.0.1","Port":1234,"Zone":""},"Pid":7,"ReattachFunc":null} => 127.0.0.1:1234
{"Protocol":"grpc","Addr":{"IP":"::1","Port":1234,"Zone":""}} => [::1]:1234
{"Protocol":"grpc","Addr":{"Network":"tcp","String":"127.0.0.1:1"}} => 127.0.0.1:1
"#;
    for (json, address) in rows(table) {
        let config = ReattachConfig::from_json(json).unwrap();
        assert_eq!(config.address.to_string(), address);
        assert!(!config.test);
    }
}

#[tokio::test]
async fn what_cannot_be_attached_to_is_told_when_it_connects() {
    let table = r#"
{"Protocol":"netrpc","Addr":{"Network":"unix","String":"/tmp/p"}} => the JSON is not a ReattachConfig: unsupported plugin protocol `netrpc`, expected `grpc`
{"Protocol":"grpc","Addr":{"Network":"udp","String":"1"}} => the JSON is not a ReattachConfig: unknown address type `udp`, expected `tcp` or `unix`
{"Protocol":"grpc"} => the JSON is not a ReattachConfig: missing field `Addr` at line 1 column 19
{} => the JSON tells of 0 plugins, expected one: 
{"a":{"Protocol":"grpc","Addr":{"Network":"tcp","String":":1"}},"b":{"Protocol":"grpc","Addr":{"Network":"tcp","String":":2"}}} => the JSON tells of 2 plugins, expected one: a, b
1|1|unix|/tmp/p|grpc||true => the plugin multiplexes its connections by yamux, which the client does not speak: start it without PLUGIN_MULTIPLEX_GRPC
1|1|unix => unrecognized plugin message `1|1|unix`: 3 of at least 4 fields, expected `CORE|APP|NETWORK|ADDRESS|grpc|CERTIFICATE`
"#;
    for (told, expected) in rows(table) {
        let error = Client::attach(told).connect().await.unwrap_err();
        assert!(error.is_handshake(), "{told}");
        assert_eq!(chain(&error), expected, "{told}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_the_readers(text in ".*") {
        let _ = text.parse::<Handshake>();
        let _ = ReattachConfig::from_json(&text);
        let _ = text.as_str().into_attachment();
    }

    #[test]
    fn what_is_printed_is_read_again(app: u32, port: u16, unix: bool, multiplexed: bool) {
        let address = if unix {
            Address::unix(format!("/tmp/plugin{port}"))?
        } else {
            Address::tcp("127.0.0.1", port)
        };
        let handshake = Handshake::new(address)?.app_version(app).multiplexed(multiplexed);
        let read: Handshake = handshake.to_string().parse()?;
        prop_assert_eq!(&read, &handshake);
        let config = ReattachConfig::new(handshake.address)?.protocol_version(app).pid(7).test(unix);
        prop_assert_eq!(ReattachConfig::from_json(&config.to_json())?, config);
    }
}
