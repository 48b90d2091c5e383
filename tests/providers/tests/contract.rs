//! `tests/it/contract.rs` in a tree where nobody enables tonic's `server`: what is repeated does not depend on it.

#[path = "../../it/contract.rs"]
mod contract;

/// What it needs of its own tree's helpers.
mod support {
    use std::time::Duration;

    pub(crate) async fn within<F: Future>(future: F) -> F::Output {
        let limit = Duration::from_secs(60);
        tokio::time::timeout(limit, future).await.expect("it ends")
    }
}
