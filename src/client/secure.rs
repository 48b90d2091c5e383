//! TLS, ready for the next dial.

use crate::address::Address;
use crate::client::tls::{ClientTls, Source};
use crate::error::{Error, Kind};
use crate::net::{ALPN, Secure, Stream};
use crate::tls::{
    CheckServer, Failure, Identity, Refusals, Side, TlsVersion, Trust, provider, unusable,
};
use rustls::{
    ClientConfig,
    client::Resumption,
    pki_types::{CertificateDer, ServerName},
    sign::SingleCertAndKey,
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// The TLS of one client.
#[derive(Debug)]
pub(crate) struct Tls {
    told: ClientTls,
    /// What was read last, and was good.
    loaded: Mutex<Arc<Loaded>>,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    trust: Trust,
    identity: Option<Identity>,
    name: ServerName<'static>,
    only: Option<TlsVersion>,
}

impl Tls {
    /// Reads everything that is told. The address has a name to ask for if none is told.
    pub(crate) fn new(told: ClientTls, address: &Address) -> Result<Self, Error> {
        if let Some(mistake) = &told.mistake {
            return Err(mistake.clone());
        }
        let loaded = Loaded::read(&told, server_name(&told, address)?)?;
        if loaded.trust.is_nobody() {
            let text = format!(
                "TLS with {address} needs something to check the server's certificate against: \
                 give `Client::builder()` its `.tls(ClientTls::new().roots(..))`, or `.pinned(..)`{}",
                if cfg!(feature = "system-roots") {
                    ", or `.system_roots()`"
                } else {
                    ""
                }
            );
            return Err(Error::new(Kind::Config, text));
        }
        Ok(Self {
            told,
            loaded: Mutex::new(Arc::new(loaded)),
        })
    }

    /// Reads the files again, for the next dial. If anything is wrong with them, what was read before stays.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let name = self.loaded().name.clone();
        let loaded = Loaded::read(&self.told, name)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    /// What the next dial uses: the files as they are now, or as they were last if they are of no use now.
    pub(crate) fn for_dial(&self) -> Arc<Loaded> {
        if self.told.has_files()
            && let Err(error) = self.reload()
        {
            tracing::warn!(%error, "the TLS files are of no use; those that were read before are used");
        }
        self.loaded()
    }

    fn loaded(&self) -> Arc<Loaded> {
        let loaded = self.loaded.lock();
        Arc::clone(&loaded.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Loaded {
    fn read(told: &ClientTls, name: ServerName<'static>) -> Result<Self, Error> {
        let system = if told.system_roots {
            system_roots()?
        } else {
            Vec::new()
        };
        Ok(Self {
            trust: Trust::new(&told.roots, &told.pinned, system)?,
            identity: told.identity.as_ref().map(Source::load).transpose()?,
            name,
            only: told.only,
        })
    }

    /// Speaks TLS over a stream. The error says which side ended it, and why.
    pub(crate) async fn connect(
        &self,
        stream: Stream,
        address: &Address,
    ) -> Result<Secure<Stream>, Error> {
        let refusals = Refusals::default();
        let config = self.config(refusals.clone())?;
        let connecting = Secure::connect(stream, Arc::new(config), self.name.clone());
        connecting.await.map_err(|broken| {
            let refusal = refusals.take();
            let failure = Failure {
                refusal: refusal.as_ref(),
                spoke: broken.opening.answered_tls(),
                ..self.failure()
            };
            tls_error(address, &failure.of_handshake(&broken.error)).caused_by(broken.error)
        })
    }

    /// A connection may end by an alert after our side of the handshake: then the server has looked at our certificate.
    pub(crate) fn explain(&self, error: &io::Error) -> Option<String> {
        self.failure().of_io(error)
    }

    /// The server ended a connection before it said anything over it.
    pub(crate) fn explain_silence(&self) -> String {
        self.failure().of_silence()
    }

    fn failure(&self) -> Failure<'_> {
        Failure {
            side: Side::Client,
            refusal: None,
            own: self.identity.as_ref().map(Identity::certificate),
            spoke: None,
            only: self.only.map(|version| version.to_string()),
            asked: Some(self.name.to_str().into_owned()),
        }
    }

    fn config(&self, refusals: Refusals) -> Result<ClientConfig, Error> {
        let check = CheckServer::new(self.trust.clone(), refusals);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&TlsVersion::allowed(self.only))
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(check));
        let mut config = match &self.identity {
            Some(identity) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified()))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session shows no certificates, and a test that changes them wants them looked at.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn server_name(told: &ClientTls, address: &Address) -> Result<ServerName<'static>, Error> {
    let host = match address {
        Address::Tcp { host, .. } => host,
        Address::Unix(_) | Address::Memory(_) => "localhost",
    };
    let name = told.server_name.as_deref().unwrap_or(host);
    ServerName::try_from(name.to_owned()).map_err(|error| {
        let text = format!(
            "`{name}` cannot be the name of a TLS server: expected a DNS name or an IP address"
        );
        Error::new(Kind::Config, text).caused_by(error)
    })
}

pub(crate) fn tls_error(address: &Address, why: &str) -> Error {
    Error::new(Kind::Tls, format!("no TLS with {address}: {why}"))
}

#[cfg(feature = "system-roots")]
fn system_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.into_iter().next() {
        Some(error) if found.certs.is_empty() => {
            let text = "this machine's root certificates cannot be read";
            Err(Error::new(Kind::Config, text).caused_by(error))
        }
        _ => Ok(found.certs),
    }
}

#[cfg(not(feature = "system-roots"))]
#[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
fn system_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    Ok(Vec::new())
}
