//! TLS, ready for the next dial.

use crate::address::Address;
use crate::error::{Error, Kind};
use crate::net::connector::{Connector, server_name};
use crate::net::secure::ALPN;
use crate::tls::{ClientTls, IdentitySource, Trust, system_roots};
use rustls::pki_types::ServerName;
use std::sync::{Arc, Mutex, PoisonError};

/// The TLS of one client.
#[derive(Debug)]
pub(crate) struct Tls {
    spoken: Spoken,
    told: ClientTls,
    /// What was read last, and was good.
    loaded: Mutex<Arc<Connector>>,
}

/// What a client speaks inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Grpc,
    /// HTTP/1 with a Consul agent.
    Consul,
}

impl Spoken {
    fn protocol(self) -> Option<&'static [u8]> {
        match self {
            Self::Grpc => Some(ALPN),
            Self::Consul => None,
        }
    }

    /// Who is told about TLS.
    fn builder(self) -> &'static str {
        match self {
            Self::Grpc => "`Client::builder()`",
            Self::Consul => "`Consul`",
        }
    }
}

impl Tls {
    /// Reads everything that is told. The address has a name to ask for if none is told.
    pub(crate) fn new(told: ClientTls, address: &Address, spoken: Spoken) -> Result<Self, Error> {
        if let Some(mistake) = &told.mistake {
            return Err(mistake.clone());
        }
        let loaded = read(
            &told,
            server_name(told.server_name.as_deref(), address)?,
            spoken,
        )?;
        if loaded.trust.is_nobody() {
            let text = format!(
                "TLS with {address} needs something to check the server's certificate against: \
                 give {} its `.tls(ClientTls::new().roots(..))`, or `.pinned(..)`{}",
                spoken.builder(),
                if cfg!(feature = "system-roots") {
                    ", or `.system_roots()`"
                } else {
                    ""
                }
            );
            return Err(Error::new(Kind::Config, text));
        }
        Ok(Self {
            spoken,
            told,
            loaded: Mutex::new(Arc::new(loaded)),
        })
    }

    /// Reads the files again, for the next dial. If anything is wrong with them, what was read before stays.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let name = self.loaded().name.clone();
        let loaded = read(&self.told, name, self.spoken)?;
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

fn read(told: &ClientTls, name: ServerName<'static>, spoken: Spoken) -> Result<Connector, Error> {
    let system = if told.system_roots {
        system_roots()?
    } else {
        Vec::new()
    };
    Ok(Connector {
        trust: match told.unverified {
            true => Trust::anyone(),
            false => Trust::new(&told.roots, &told.pinned, system)?,
        },
        identity: told
            .identity
            .as_ref()
            .map(IdentitySource::load)
            .transpose()?,
        name,
        only: told.only,
        protocol: spoken.protocol(),
    })
}
