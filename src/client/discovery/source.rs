//! Any source, as a client holds it.

use crate::client::discovery::discover::Discover;
use crate::client::discovery::refresh::Refresh;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};
use std::{fmt, pin::Pin, sync::Arc};
use tokio_stream::{Stream, StreamExt as _};

/// The sets that a source yields.
pub(crate) type Sets = Pin<Box<dyn Stream<Item = Result<Vec<Endpoint>, Error>> + Send>>;

/// A [source of endpoints](Discover) of any kind, for [`ClientConfig::discovery`](crate::ClientConfig::discovery).
#[derive(Clone)]
pub struct Discovery {
    name: Arc<str>,
    watch: Arc<dyn Fn(Refresh) -> Sets + Send + Sync>,
}

impl Discovery {
    /// This source.
    #[must_use]
    pub fn new(source: impl Discover) -> Self {
        let name: Arc<str> = source.name().into();
        let told = Arc::clone(&name);
        Self {
            name,
            watch: Arc::new(move |refresh| {
                let name = Arc::clone(&told);
                Box::pin(source.watch(refresh).map(move |set| {
                    set.map_err(|error| match error.downcast::<Error>() {
                        // One of ours says by itself what it is about.
                        Ok(own) if own.is_discovery() => *own,
                        Ok(own) => failed(&name).caused_by(*own),
                        Err(other) => failed(&name).caused_by(other),
                    })
                }))
            }),
        }
    }

    /// What the source is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn watch(&self, refresh: Refresh) -> Sets {
        (self.watch)(refresh)
    }
}

fn failed(name: &str) -> Error {
    Error::new(Kind::Discovery, format!("{name} failed"))
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Discovery({})", self.name)
    }
}
