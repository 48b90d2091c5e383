//! TLS, ready for the next dial.

use crate::address::Address;
use crate::client::tls::{ClientTls, Source};
use crate::error::{Error, Kind};
use crate::net::{ALPN, Connector, server_name};
use crate::tls::{Trust, system_roots};
use rustls::pki_types::ServerName;
use std::sync::{Arc, Mutex, PoisonError};

/// The TLS of one client.
#[derive(Debug)]
pub(crate) struct Tls {
    told: ClientTls,
    /// What was read last, and was good.
    loaded: Mutex<Arc<Connector>>,
}

impl Tls {
    /// Reads everything that is told. The address has a name to ask for if none is told.
    pub(crate) fn new(told: ClientTls, address: &Address) -> Result<Self, Error> {
        if let Some(mistake) = &told.mistake {
            return Err(mistake.clone());
        }
        let loaded = read(&told, server_name(told.server_name.as_deref(), address)?)?;
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
        let loaded = read(&self.told, name)?;
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }

    /// What the next dial uses: the files as they are now, or as they were last if they are of no use now.
    pub(crate) fn for_dial(&self) -> Arc<Connector> {
        if self.told.has_files()
            && let Err(error) = self.reload()
        {
            tracing::warn!(%error, "the TLS files are of no use; those that were read before are used");
        }
        self.loaded()
    }

    fn loaded(&self) -> Arc<Connector> {
        let loaded = self.loaded.lock();
        Arc::clone(&loaded.unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(told: &ClientTls, name: ServerName<'static>) -> Result<Connector, Error> {
    let system = if told.system_roots {
        system_roots()?
    } else {
        Vec::new()
    };
    Ok(Connector {
        trust: Trust::new(&told.roots, &told.pinned, system)?,
        identity: told.identity.as_ref().map(Source::load).transpose()?,
        name,
        only: told.only,
        protocol: Some(ALPN),
    })
}
