//! An agent from the environment, as Consul's own client reads it, and asked in every way that the variables allow.

use crate::consul_agent::RealConsul;
use crate::support::{chain, within};
use pretty_assertions::assert_eq;
use rpcplugin_testkit::{Authority, Consul, Error};
use std::{fs, path::Path};

fn from(vars: &[(&str, &str)]) -> Result<Consul, Error> {
    Consul::from_vars(|name| {
        let value = vars.iter().find(|(var, _)| *var == name);
        Ok(value.map(|(_, value)| (*value).to_owned()))
    })
}

#[test]
fn variables_that_are_not_set_are_the_local_agent() {
    for vars in [
        &[][..],
        &[("CONSUL_HTTP_ADDR", ""), ("CONSUL_HTTP_TOKEN", " ")],
    ] {
        let consul = from(vars).unwrap();
        assert_eq!(consul.to_string(), "Consul at 127.0.0.1:8500");
        let shown = "Consul { address: \"127.0.0.1:8500\", has_token: false, datacenter: None, namespace: None, partition: None, .. }";
        assert_eq!(format!("{consul:?}"), shown);
    }
}

#[test]
fn each_variable_is_read_as_consul_reads_it() {
    let secret = "the-secret";
    let consul = from(&[
        ("CONSUL_HTTP_ADDR", "gate.internal/consul"),
        ("CONSUL_HTTP_SSL", "1"),
        ("CONSUL_HTTP_TOKEN", secret),
        ("CONSUL_HTTP_AUTH", "user:the-secret"),
        ("CONSUL_NAMESPACE", "team"),
        ("CONSUL_PARTITION", "part"),
    ])
    .unwrap();
    let shown = format!("{consul:?}");
    let expected = "Consul { address: \"https://gate.internal:443/consul\", has_token: true, datacenter: None, namespace: Some(\"team\"), partition: Some(\"part\"), .. }";
    assert_eq!(shown, expected);
    assert!(!shown.contains(secret));
}

#[test]
fn a_value_that_is_malformed_is_told_by_its_variable() {
    let table: [(&[(&str, &str)], &str); 8] = [
        (
            &[("CONSUL_HTTP_ADDR", "ftp://x:1")],
            "CONSUL_HTTP_ADDR is of no use: `ftp://x:1` is no address of a Consul agent: invalid address `ftp://x:1`: ",
        ),
        (
            &[("CONSUL_HTTP_SSL", "yes")],
            "CONSUL_HTTP_SSL is `yes`, expected `true` or `false`",
        ),
        (
            &[("CONSUL_HTTP_SSL_VERIFY", "never")],
            "CONSUL_HTTP_SSL_VERIFY is `never`, expected `true` or `false`",
        ),
        (
            &[("CONSUL_CLIENT_CERT", "/tmp/cert.pem")],
            "CONSUL_CLIENT_CERT is set without CONSUL_CLIENT_KEY: they go together",
        ),
        (
            &[("CONSUL_CLIENT_KEY", "/tmp/key.pem")],
            "CONSUL_CLIENT_KEY is set without CONSUL_CLIENT_CERT: they go together",
        ),
        (
            &[("CONSUL_CACERT", "/no/such/file.pem")],
            "CONSUL_CACERT or CONSUL_CAPATH is of no use: ",
        ),
        (
            &[("CONSUL_CAPATH", "/no/such/directory")],
            "CONSUL_CAPATH is `/no/such/directory`, which is no directory to be read: ",
        ),
        (
            &[("CONSUL_HTTP_ADDR", "unix://")],
            "CONSUL_HTTP_ADDR is of no use: `unix://` is no address of a Consul agent: ",
        ),
    ];
    for (vars, told) in table {
        let error = from(vars).unwrap_err();
        assert!(error.is_config(), "{error:?}");
        let text = chain(&error);
        assert!(text.starts_with(told), "{text}\nis not\n{told}");
    }
}

#[tokio::test]
async fn a_malformed_address_and_a_missing_token_file_are_told_by_the_first_question() {
    let error = Consul::new("ftp://x:1")
        .service("kv")
        .endpoints()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`ftp://x:1` is no address of a Consul agent"
    );
    let consul = from(&[("CONSUL_HTTP_TOKEN_FILE", "/no/such/token")]).unwrap();
    let error = consul.service("kv").endpoints().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Consul token file `/no/such/token` cannot be read"
    );
    let consul = Consul::default().token("two\nlines");
    let error = consul.service("kv").endpoints().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Consul token has characters that no header can have"
    );
}

#[tokio::test]
async fn what_is_no_agent_is_told() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = nobody.local_addr().unwrap();
    drop(nobody);
    let error = Consul::new(at.to_string())
        .service("kv")
        .endpoints()
        .await
        .unwrap_err();
    let told = format!("Consul at {at} cannot be asked: cannot connect to {at}: ");
    assert!(chain(&error).starts_with(&told), "{error:?}");
    assert!(error.is_discovery());

    // A gRPC server takes HTTP/1 for nonsense.
    let server = rpcplugin_testkit::MockServer::start().await;
    let at = server.address();
    let error = within(Consul::new(at.to_string()).service("kv").endpoints())
        .await
        .unwrap_err();
    let told = format!(
        "Consul at {at} cannot be asked: {at} accepted the connection but gave no answer of HTTP"
    );
    assert!(chain(&error).starts_with(&told), "{error:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn a_real_agent_is_asked_over_tls_as_the_variables_say() {
    let authority = Authority::new();
    let agent = authority.server(["consul.internal"]).files().unwrap();
    let ours = authority.client("us").files().unwrap();
    let consul = RealConsul::start_secured(&agent).await;
    let (https, ca) = (consul.https(), agent.ca());
    let (cert, key) = (ours.cert(), ours.key());
    let good = [
        ("CONSUL_HTTP_ADDR", &*https),
        ("CONSUL_CACERT", text(&ca)),
        ("CONSUL_CLIENT_CERT", text(&cert)),
        ("CONSUL_CLIENT_KEY", text(&key)),
        ("CONSUL_TLS_SERVER_NAME", "consul.internal"),
    ];
    let ask = async |vars: &[(&str, &str)]| {
        let consul = from(vars).expect("the variables are good");
        within(consul.service("consul").endpoints()).await
    };
    // The service of the agent itself.
    assert_eq!(ask(&good).await.unwrap().len(), 1);
    // The address may leave the scheme to a variable, and a directory may hold the authority.
    let bare = &https["https://".len()..];
    let mut other = good;
    other[0].1 = bare;
    other[1] = ("CONSUL_CAPATH", text(agent.dir()));
    let with_switch = [&other[..], &[("CONSUL_HTTP_SSL", "true")]].concat();
    let only_roots = tempfile::tempdir().unwrap();
    fs::copy(&ca, only_roots.path().join("ca.pem")).unwrap();
    let with_switch: Vec<_> = with_switch
        .iter()
        .map(|(name, value)| match *name {
            "CONSUL_CAPATH" => (*name, text(only_roots.path())),
            _ => (*name, *value),
        })
        .collect();
    assert_eq!(ask(&with_switch).await.unwrap().len(), 1);

    let told = chain(&ask(&good[..4]).await.unwrap_err());
    let expected = "`127.0.0.1` was asked for, and it is for `consul.internal`";
    assert!(told.contains(expected), "{told}");
    let told = chain(&ask(&[good[0], good[1], good[4]]).await.unwrap_err());
    let expected = "the server ended the connection (alert `";
    assert!(told.contains(expected), "{told}");
    let stranger = Authority::new().client("stranger").files().unwrap();
    let stranger = stranger.ca();
    let mut distrusting = good;
    distrusting[1].1 = text(&stranger);
    let told = chain(&ask(&distrusting).await.unwrap_err());
    assert!(told.contains("authority"), "{told}");
    // Nobody looks, neither at the name nor at who signed it.
    let blind = [&distrusting[..4], &[("CONSUL_HTTP_SSL_VERIFY", "false")]].concat();
    assert_eq!(ask(&blind).await.unwrap().len(), 1);
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn a_real_agent_is_asked_over_its_socket() {
    let agent = RealConsul::start().await;
    let address = format!("unix://{}", agent.socket().display());
    let consul = from(&[("CONSUL_HTTP_ADDR", &address)]).unwrap();
    let endpoints = within(consul.service("consul").endpoints()).await.unwrap();
    assert_eq!(endpoints.len(), 1);
}

#[tokio::test]
#[ignore = "needs a Consul agent: TESTKIT_CONSUL is its binary"]
async fn a_token_of_a_file_is_read_for_every_question() {
    let agent = RealConsul::start_with_tokens().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let (url, path) = (agent.url(), text(file.path()));
    let vars = [
        ("CONSUL_HTTP_ADDR", &*url),
        ("CONSUL_HTTP_TOKEN", "which does not count"),
        ("CONSUL_HTTP_TOKEN_FILE", path),
    ];
    let consul = from(&vars).unwrap();
    fs::write(file.path(), "a token that nobody knows\n").unwrap();
    let error = within(consul.service("consul").endpoints())
        .await
        .unwrap_err();
    assert!(error.is_denied(), "{error:?}");
    fs::write(
        file.path(),
        format!("{}\n", crate::consul_agent::ROOT_TOKEN),
    )
    .unwrap();
    let endpoints = within(consul.service("consul").endpoints()).await.unwrap();
    assert_eq!(endpoints.len(), 1);
}
