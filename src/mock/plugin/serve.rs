//! A program that is a plugin.

use crate::error::{Error, Kind};
use crate::handshake::{Handshake, negotiate};
use crate::mock::builder::MockServerBuilder;
use crate::mock::plugin::asked::{Asked, Cookie, Transport};
use crate::mock::plugin::fault::{PluginFault, Step, announcement};
use crate::mock::plugin::life::Life;
use crate::mock::plugin::place::start;
use crate::mock::server::MockServer;
use crate::mock::stub::Stub;
use crate::mock::tls::ServerTls;
use crate::tls::Identity;
use crate::vars::{Vars, of_process};
use std::{
    fmt,
    io::{self, Write as _},
    pin::Pin,
    process::ExitCode,
};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

/// Turns a program into a plugin that a host of [go-plugin](https://github.com/hashicorp/go-plugin) or pyvider-rpcplugin
/// launches: it serves what the builder and [`with`](Serve::with) say, tells its host where by one line on stdout, and ends
/// when the host says so or is gone.
///
/// Where it listens, with which version of the protocol and whether with AutoMTLS is for the host to say, by the variables
/// of its environment:
///
/// | variable | |
/// |---|---|
/// | the [cookie](Serve::cookie) | that a host has launched it |
/// | `PLUGIN_PROTOCOL_VERSIONS` | the versions that the host speaks: the newest that it has [too](Serve::versions) is spoken |
/// | `PLUGIN_UNIX_SOCKET_DIR` | where its socket goes; else a private temporary directory |
/// | `PLUGIN_MIN_PORT`, `PLUGIN_MAX_PORT` | the ports to choose from, on [TCP](Serve::tcp) |
/// | `PLUGIN_CLIENT_CERT` | AutoMTLS: the only client that it lets in; its own new certificate goes into the line |
/// | `PLUGIN_MULTIPLEX_GRPC` | all connections go through one, with the feature `multiplex`; else the host sees that by the line |
/// | `PLUGIN_CLIENT_TRANSPORTS` | pyvider's: `tcp` or `unix`, whichever comes first |
///
/// Print nothing to stdout in such a program: a host reads the first line for the plugin's.
///
/// ```no_run
/// use rpcplugin_testkit::{MockServer, Stub, json, plugin};
/// use std::process::ExitCode;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> ExitCode {
///     plugin::serve(MockServer::builder())
///         .cookie("BASIC_PLUGIN", "hello")
///         .with(|server| {
///             server.mount(Stub::method("Get").reply(json!({"value": 1})));
///         })
///         .await
/// }
/// ```
///
/// When it ends it [verifies](MockServer::verify), unless [told not to](MockServerBuilder::verify_on_drop): what is not as
/// expected goes to stderr, and the exit code is 1. So is what keeps it from serving.
pub fn serve(server: MockServerBuilder) -> Serve {
    Serve {
        server,
        cookie: None,
        versions: vec![1],
        transport: None,
        setup: Vec::new(),
        faults: Vec::new(),
        vars: Box::new(of_process),
    }
}

type Source = Box<dyn Fn(&str) -> Result<Option<String>, Error> + Send + Sync>;
type Setup = Box<dyn FnOnce(&MockServer, u32) + Send>;

/// A plugin that is going to be served. See [`serve`].
#[must_use = "nothing is served until it is awaited"]
pub struct Serve {
    server: MockServerBuilder,
    cookie: Option<Cookie>,
    versions: Vec<u32>,
    transport: Option<Transport>,
    setup: Vec<Setup>,
    faults: Vec<PluginFault>,
    vars: Source,
}

impl Serve {
    /// The variable by which a host shows that it means this plugin (go-plugin's `MagicCookieKey` and `MagicCookieValue`).
    /// Launched without it, the program says on stderr what it is, and exits with 1. Default: it does not look.
    pub fn cookie(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.cookie = Some(Cookie { key, value });
        self
    }

    /// The versions of the application's protocol that it has. Default: 1.
    pub fn versions(mut self, versions: impl IntoIterator<Item = u32>) -> Self {
        self.versions = versions.into_iter().collect();
        self
    }

    /// Listens on 127.0.0.1, whatever the host prefers. Default: a Unix socket, if the host does not prefer TCP.
    pub fn tcp(mut self) -> Self {
        self.transport = Some(Transport::Tcp);
        self
    }

    /// Listens on a Unix socket, whatever the host prefers.
    pub fn unix(mut self) -> Self {
        self.transport = Some(Transport::Unix);
        self
    }

    /// Sets the server up before its host is told of it: mounts stubs, injects faults.
    pub fn with(self, setup: impl FnOnce(&MockServer) + Send + 'static) -> Self {
        self.with_version(|server, _| setup(server))
    }

    /// As [`with`](Self::with), with the version of the application's protocol that the host and this plugin agreed upon.
    pub fn with_version(mut self, setup: impl FnOnce(&MockServer, u32) + Send + 'static) -> Self {
        self.setup.push(Box::new(setup));
        self
    }

    /// Does one thing wrong. More than one call adds.
    pub fn fault(mut self, fault: PluginFault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Has the variables from somewhere else than the environment of this process.
    pub fn vars(mut self, source: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.vars = Box::new(move |name| Ok(source(name)));
        self
    }

    /// As by awaiting it, without an exit code.
    ///
    /// # Errors
    ///
    /// When it cannot serve ([`Error::is_handshake`] without the cookie), or was not called as expected.
    async fn run(self) -> Result<ExitCode, Box<dyn std::error::Error + Send + Sync>> {
        let vars = Vars {
            prefix: "",
            source: &*self.vars,
        };
        if let Some(cookie) = &self.cookie {
            cookie.check(&vars)?;
        }
        let asked = Asked::read(&vars)?;
        let version = negotiate(&self.versions, &asked.versions);
        let (builder, identity) = with_auto_mtls(self.server, &asked);
        #[cfg(feature = "multiplex")]
        let builder = if asked.multiplexed {
            builder.multiplexed()
        } else {
            builder
        };
        let server = start(builder, self.transport, &asked).await?;
        let life = Life::of(&server);
        for setup in self.setup {
            setup(&server, version);
        }
        crash_in(&server, &self.faults);
        let mut handshake = Handshake::new(server.address().clone())?.app_version(version);
        if let Some(identity) = identity {
            handshake = handshake.certificate(identity.certificate().clone());
        }
        #[cfg(feature = "multiplex")]
        let handshake = handshake.multiplexed(asked.multiplexed);
        for step in announcement(&handshake, &self.faults) {
            match step {
                Step::Write(bytes) => print(&bytes)?,
                Step::Wait(wait) => {
                    if let Some(then) = Instant::now().checked_add(wait) {
                        sleep_until(then).await;
                    }
                }
                Step::Exit(code) => return Ok(ExitCode::from(code)),
            }
        }
        life.ended(&server, printing(&server, &self.faults)).await;
        if server.verifies() {
            server.verify().await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// With the certificate that goes into the line, if the host wants TLS and the test has not said otherwise.
fn with_auto_mtls(
    builder: MockServerBuilder,
    asked: &Asked,
) -> (MockServerBuilder, Option<Identity>) {
    match &asked.client {
        Some(client) if builder.settings.tls.is_none() => {
            let identity = Identity::auto_mtls();
            let tls = ServerTls::new(identity.clone()).require_pinned_client(client.clone());
            (builder.tls(tls), Some(identity))
        }
        _ => (builder, None),
    }
}

fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| {
        let text = "the host does not read the plugin's stdout any more";
        Error::new(Kind::Handshake, text).caused_by(error)
    })
}

fn crash_in(server: &MockServer, faults: &[PluginFault]) {
    for fault in faults {
        if let PluginFault::CrashIn(method) = fault {
            let crash = |_: &crate::mock::journal::Call| -> Status { std::process::exit(2) };
            let first = Stub::method(method.clone()).priority(i32::MAX);
            server.mount(first.reply(crash));
        }
    }
}

/// Prints what is printed when the first call comes.
async fn printing(server: &MockServer, faults: &[PluginFault]) {
    for fault in faults {
        if let PluginFault::Print(text) = fault {
            let log = &server.service.log;
            log.until(|| (!log.calls().is_empty()).then_some(())).await;
            // Nobody may be reading.
            let _ = print(text.as_bytes());
        }
    }
    std::future::pending().await
}

impl IntoFuture for Serve {
    type Output = ExitCode;
    type IntoFuture = Pin<Box<dyn Future<Output = ExitCode> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.run().await.unwrap_or_else(|error| {
                tell(&*error);
                ExitCode::FAILURE
            })
        })
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a host shows its user what a plugin writes there, and nothing else of it"
)]
fn tell(error: &(dyn std::error::Error + Send + Sync)) {
    eprintln!("{error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("versions", &self.versions)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
