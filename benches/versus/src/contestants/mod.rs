//! Those that are compared, each serving `echo.v1.Echo/Say` on a port of its own.
//!
//! - `bare`: a tonic server and nothing else, the reference.
//! - `recorder`: the same with what people write by hand to see what was called.
//! - `bare_h2`: one without tonic, a floor for what HTTP/2 costs.
//! - `ours`, `wiremock`, `mocktail`: mocks, each with one stub for the method.

mod bare;
mod bare_h2;
mod mocktail;
mod ours;
mod recorder;
mod wiremock;

pub use bare::{Bare, Serving, serve, serve_by};
pub use bare_h2::bare_h2;
pub use mocktail::mocktail;
pub use ours::{ours, ours_bare, ours_json, ours_roomy};
pub use recorder::recorder;
pub use wiremock::{wiremock, wiremock_by_header};

use crate::echo::EchoReply;
use std::any::Any;

/// A server that runs as long as this is kept.
pub struct Running {
    pub name: &'static str,
    pub uri: String,
    /// What is done before each turn and not measured.
    pub between: Option<Box<dyn Fn() + Send + Sync>>,
    _kept: Box<dyn Any + Send + Sync>,
    more: Vec<Running>,
}

impl Running {
    pub fn new(name: &'static str, uri: String, kept: impl Any + Send + Sync) -> Self {
        Self {
            name,
            uri,
            between: None,
            _kept: Box::new(kept),
            more: Vec::new(),
        }
    }

    /// Keeps another running as long as this one.
    pub fn keep(&mut self, other: Self) {
        self.more.push(other);
    }
}

/// Bare tonic.
pub async fn bare() -> Running {
    let serving = serve(Bare).await;
    Running::new("tonic", serving.uri.clone(), serving)
}

/// All of them, the reference first. All answer with this reply.
pub async fn all(reply: &EchoReply) -> Vec<Running> {
    vec![
        bare().await,
        recorder().await,
        bare_h2(reply).await,
        wiremock(reply).await,
        mocktail(reply).await,
        ours(reply).await,
    ]
}
