//! What one call asks of the client that makes it.

use crate::client::config::ClientConfig;
use crate::client::timer::Deadline;
use crate::wire::compression::Compression;
use crate::wire::timeout;
use http::request::Parts;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a call asks of its client, as an extension of its request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallOptions {
    /// Wait for a connection instead of failing while there is none.
    pub(crate) wait_for_ready: bool,
    /// The call may be made more than once with the effect of once.
    pub(crate) idempotent: bool,
    /// Nobody sees anything of the response before it is there as a whole.
    pub(crate) unary: bool,
    /// What the request is compressed with. (A request without options is compressed as the configuration says.)
    pub(crate) compression: Option<Compression>,
    /// When it has to have ended. (A request without one has what its headers say, or the configuration.)
    pub(crate) deadline: Option<Deadline>,
}

impl CallOptions {
    /// Takes what a request asks for. Its deadline runs from here at the latest.
    pub(crate) fn take(parts: &mut Parts, config: &ClientConfig) -> Self {
        let options = parts.extensions.remove::<Self>();
        let mut options = options.unwrap_or_else(|| Self {
            compression: config.compression,
            ..Self::default()
        });
        options.idempotent |= parts.extensions.remove::<Idempotent>().is_some();
        options.deadline.get_or_insert_with(|| {
            Deadline::after(timeout::read(&parts.headers).or(config.timeout))
        });
        options
    }
}

/// Declares a request idempotent, as one of its extensions: it may be made more than once with the effect of once. It is
/// for generated clients; others have [`idempotent`](crate::client::UnaryCall::idempotent).
///
/// ```
/// use rpcplugin_testkit::client::Idempotent;
///
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(Idempotent);
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a mark, which is put")]
pub struct Idempotent;

/// Who serves a call, as an extension of its request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served(Arc<Mutex<Option<Arc<str>>>>);

impl Served {
    pub(crate) fn by(&self, target: &Arc<str>) {
        *self.lock() = Some(Arc::clone(target));
    }

    pub(crate) fn target(&self) -> Option<Arc<str>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
