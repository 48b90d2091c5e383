//! TLS with a server, ready for a dial.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::net::secure::Secure;
use crate::net::stream::Stream;
use crate::tls::{
    CheckServer, Failure, Identity, Refusals, Side, TlsVersion, Trust, provider, unusable,
};
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, sign::SingleCertAndKey};
use std::{io, sync::Arc};

/// Whom a client trusts, and what it shows of itself.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) trust: Trust,
    pub(crate) identity: Option<Identity>,
    /// That the server's certificate must have.
    pub(crate) name: ServerName<'static>,
    pub(crate) only: Option<TlsVersion>,
    /// What is going to be spoken, if the server is to be asked for it
    /// ([ALPN](https://www.rfc-editor.org/rfc/rfc7301)).
    pub(crate) protocol: Option<&'static [u8]>,
}

impl Connector {
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
        let protocol = self.protocol.map(<[u8]>::to_vec);
        config.alpn_protocols = protocol.into_iter().collect();
        // A resumed session shows no certificates, and a test that changes them wants them looked at.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// The name of a server, as TLS asks for it: the one that is told, or that of its address.
pub(crate) fn server_name(
    told: Option<&str>,
    address: &Address,
) -> Result<ServerName<'static>, Error> {
    let host = match address {
        Address::Tcp { host, .. } => host,
        Address::Unix(_) | Address::Memory(_) => "localhost",
    };
    let name = told.unwrap_or(host);
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
