//! What a client needs to know of a plugin that runs.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::handshake::line::Handshake;
use crate::handshake::reattach::ReattachConfig;
use crate::tls::ClientTls;

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub(crate) address: Address,
    pub(crate) tls: Option<ClientTls>,
}

/// What [`Client::attach`](crate::Client::attach) takes: a [`Handshake`] or a [`ReattachConfig`], or the text of either:
/// the line that a plugin printed, or JSON. The value of `TF_REATTACH_PROVIDERS` will do if it has one plugin.
pub trait IntoAttachment {
    /// What it says.
    ///
    /// # Errors
    ///
    /// When it is malformed, or tells of a plugin that no client here can speak to.
    #[doc(hidden)]
    fn into_attachment(self) -> Result<Attachment, Error>;
}

impl IntoAttachment for &Handshake {
    fn into_attachment(self) -> Result<Attachment, Error> {
        if self.multiplexed {
            let text = "the plugin multiplexes its connections by yamux, which the client does not speak: \
                        start it without PLUGIN_MULTIPLEX_GRPC";
            return Err(Error::new(Kind::Handshake, text));
        }
        if let Some(certificate) = &self.certificate
            && !certificate.can_be_verified()
        {
            let text = "the certificate of the plugin has a key of a kind that this build's TLS does not know: \
                        go-plugin makes P-521 keys, for which rpcplugin-testkit needs its feature `aws-lc`";
            return Err(Error::new(Kind::Handshake, text));
        }
        Ok(Attachment {
            address: self.address.clone(),
            tls: self.client_tls(),
        })
    }
}

impl IntoAttachment for Handshake {
    fn into_attachment(self) -> Result<Attachment, Error> {
        (&self).into_attachment()
    }
}

impl IntoAttachment for &ReattachConfig {
    fn into_attachment(self) -> Result<Attachment, Error> {
        Ok(Attachment {
            address: self.address.clone(),
            tls: None,
        })
    }
}

impl IntoAttachment for ReattachConfig {
    fn into_attachment(self) -> Result<Attachment, Error> {
        (&self).into_attachment()
    }
}

impl IntoAttachment for &str {
    fn into_attachment(self) -> Result<Attachment, Error> {
        let text = self.trim();
        if !text.starts_with('{') {
            return text.parse::<Handshake>()?.into_attachment();
        }
        let one = match ReattachConfig::from_json(text) {
            Ok(one) => return one.into_attachment(),
            Err(error) => error,
        };
        let Ok(several) = ReattachConfig::from_terraform(text) else {
            return Err(one);
        };
        let names: Vec<_> = several.keys().cloned().collect();
        let mut plugins = several.into_values();
        match (plugins.next(), plugins.next()) {
            (Some(only), None) => only.into_attachment(),
            _ => {
                let text = format!(
                    "the JSON tells of {} plugins, expected one: {}",
                    names.len(),
                    names.join(", ")
                );
                Err(Error::new(Kind::Handshake, text))
            }
        }
    }
}

impl IntoAttachment for &String {
    fn into_attachment(self) -> Result<Attachment, Error> {
        self.as_str().into_attachment()
    }
}

impl IntoAttachment for String {
    fn into_attachment(self) -> Result<Attachment, Error> {
        self.as_str().into_attachment()
    }
}
