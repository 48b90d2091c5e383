//! How a failed call is told.

use crate::client::options::Served;
use crate::error::{Error, Kind};
use crate::wire::compression::{Compression, GRPC_ACCEPT_ENCODING};
use crate::wire::status;
use http::HeaderMap;
use std::sync::{Arc, OnceLock};
use tonic::{Code, Status};

/// What an error of one call says beside its status.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    pub(super) name: String,
    /// The servers of the client in short.
    pub(super) target: Arc<str>,
    /// That which served the call, if there are several.
    pub(super) served: Option<Served>,
    /// What an `UNIMPLEMENTED` most likely means.
    pub(super) hint: Option<&'static str>,
    /// What the request is compressed with.
    pub(super) compression: Option<Compression>,
    /// A message of our own that did not fit, which is the cause of whatever the call ended with.
    pub(super) failure: Option<Arc<OnceLock<Error>>>,
}

impl Telling {
    /// The status as an error that names the call. A failure of our own comes back as itself.
    pub(super) fn explain(&self, status: Status) -> Error {
        let misfit = self.failure.as_ref().and_then(|failure| failure.get());
        if let Some(own) = misfit.or_else(|| Error::behind(&status)) {
            return own.clone();
        }
        let code = status.code();
        let mut text = format!(
            "{} at {} failed: {}",
            self.name,
            self.server(),
            status::name(code)
        );
        let hint = match code {
            Code::Unimplemented => self
                .refused_compression(&status)
                .or_else(|| self.hint.map(str::to_owned)),
            _ => None,
        };
        for more in [status.message(), &hint.unwrap_or_default()] {
            if !more.is_empty() {
                text.push_str(": ");
                text.push_str(more);
            }
        }
        Error::new(Kind::Status, text).with_status(status)
    }

    fn server(&self) -> Arc<str> {
        let served = self.served.as_ref().and_then(Served::target);
        served.unwrap_or_else(|| Arc::clone(&self.target))
    }

    /// What the server takes instead, when it says that the request's compression is not among it.
    fn refused_compression(&self, status: &Status) -> Option<String> {
        let ours = self.compression?;
        let headers: &HeaderMap = status.metadata().as_ref();
        let accepted = headers.get(GRPC_ACCEPT_ENCODING)?.to_str().ok()?;
        (!ours.is_accepted(headers)).then(|| format!("the server takes `{accepted}`"))
    }
}
