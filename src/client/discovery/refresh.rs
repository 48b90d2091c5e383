//! How a client asks a source to look again.

use std::sync::Arc;
use tokio::sync::Notify;

/// Asks a source of endpoints to look again: a connection could not be made, or was lost. What the source makes of it is its
/// own; it should not look more often than it is willing to pay for.
///
/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Refresh(Arc<Notify>);

impl Refresh {
    /// One that nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks. As long as nobody has taken note of it, asking again adds nothing.
    pub fn ask(&self) {
        self.0.notify_one();
    }

    /// Waits until somebody asks, or takes note of it if somebody has since the last time.
    ///
    /// Cancel safe.
    pub async fn asked(&self) {
        self.0.notified().await;
    }
}
