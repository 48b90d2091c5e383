//! Where a plugin listens.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::mock::builder::MockServerBuilder;
use crate::mock::plugin::asked::{Asked, Transport};
use crate::mock::server::MockServer;
use crate::net::Bind;
use std::path::PathBuf;

/// Starts the server where its author or its host wants it.
pub(super) async fn start(
    builder: MockServerBuilder,
    wanted: Option<Transport>,
    asked: &Asked,
) -> Result<MockServer, Error> {
    let transport = match &builder.settings.bind {
        Bind::At(_) => return builder.try_start().await,
        Bind::Memory => {
            let text = "a plugin cannot listen on an in-process pipe, which no host can reach";
            return Err(Error::new(Kind::Config, text));
        }
        Bind::Unix => Some(Transport::Unix),
        Bind::Tcp => wanted.or(asked.transport),
    };
    // As go-plugin's plugins.
    let usual = if cfg!(unix) {
        Transport::Unix
    } else {
        Transport::Tcp
    };
    match transport.unwrap_or(usual) {
        Transport::Tcp => on_tcp(builder, asked).await,
        Transport::Unix => on_unix(builder, asked.socket_dir.clone()).await,
    }
}

async fn on_tcp(builder: MockServerBuilder, asked: &Asked) -> Result<MockServer, Error> {
    let Some(ports) = &asked.ports else {
        return builder.tcp().try_start().await;
    };
    let mut failure = None;
    for port in ports.clone() {
        let here = builder.clone().address(Address::tcp("127.0.0.1", port));
        match here.try_start().await {
            Err(error) if error.is_bind() => failure = Some(error),
            done => return done,
        }
    }
    let text = format!(
        "none of the ports from PLUGIN_MIN_PORT to PLUGIN_MAX_PORT is free ({} to {})",
        ports.start(),
        ports.end()
    );
    let none = Error::new(Kind::Bind, text);
    Err(match failure {
        Some(failure) => none.caused_by(failure),
        None => none,
    })
}

async fn on_unix(builder: MockServerBuilder, dir: Option<PathBuf>) -> Result<MockServer, Error> {
    let Some(dir) = dir else {
        return builder.unix().try_start().await;
    };
    // A name that is taken is not taken over.
    let path = dir.join(format!("plugin{}", fastrand::u64(..)));
    builder.address(Address::unix(path)?).try_start().await
}
