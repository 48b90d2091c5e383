//! Which method was called, and what came with the headers.

use crate::address::Address;
use crate::mock::journal::message::Form;
use crate::mock::journal::redact::Redaction;
use crate::mock::journal::shared::Shared;
use crate::schema::{Method, Shape};
use crate::tls::Certificate;
use http::HeaderMap;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;

/// Which method was called, and how its messages are read.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A method that the mock has no schema for: its path.
    Opaque(String),
    /// A method called through the schemaless service.
    Schemaless { method: String, shape: Shape },
    /// A method of the mock's schema.
    Typed(Arc<Method>),
}

/// What came with the headers.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// Calls of one connection often share it.
    pub(crate) metadata: Arc<MetadataMap>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) at: Instant,
    /// A call to one of the mock's own services.
    pub(crate) builtin: bool,
}

/// The connection that a call came on.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) door: Arc<Door>,
    /// The client's, as it was verified.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) headers: Headers,
}

/// The headers of the last call on a connection: most have the same, which is kept once.
#[derive(Debug, Default)]
pub(crate) struct Headers(Mutex<Arc<MetadataMap>>);

impl Headers {
    /// These headers with their secrets marked, or those of the call before if they are the same.
    pub(crate) fn of(&self, mut headers: HeaderMap, redaction: &Redaction) -> Arc<MetadataMap> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // In order, as a client writes them: the comparison of maps looks each name up.
        if !last.as_ref().as_ref().iter().eq(&headers) {
            redaction.mark(&mut headers);
            *last = Arc::new(MetadataMap::from_headers(headers));
        }
        Arc::clone(&last)
    }
}

/// The address that a connection was made to.
#[derive(Debug)]
pub(crate) struct Door {
    /// The server's own address, whichever of its doors this is.
    pub(crate) server: Address,
    /// Which clients come through it; `None` for the server's own door.
    pub(crate) group: Option<Arc<str>>,
}

/// What serves a call: a stub, or a service behind the mock.
#[derive(Debug)]
pub(crate) struct Server {
    /// No two of a mock are alike.
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    /// The name and the place where it was mounted, for people.
    pub(crate) label: String,
    /// Whether the messages of its calls are neither printed nor saved.
    pub(crate) secret: bool,
}

impl Server {
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name) || self.label == name
    }
}

impl Target {
    pub(super) fn shape(&self) -> Option<Shape> {
        match self {
            Self::Opaque(_) => None,
            Self::Schemaless { shape, .. } => Some(*shape),
            Self::Typed(method) => Some(method.shape()),
        }
    }

    pub(super) fn request(&self) -> Form {
        match self {
            Self::Opaque(_) => Form::Opaque,
            Self::Schemaless { .. } => Form::CallRequest,
            Self::Typed(method) => Form::Dynamic(method.input().clone()),
        }
    }

    pub(super) fn reply(&self) -> Form {
        match self {
            Self::Opaque(_) => Form::Opaque,
            Self::Schemaless { .. } => Form::Struct,
            Self::Typed(method) => Form::Dynamic(method.output().clone()),
        }
    }
}
