//! Which cryptography TLS is done with.

use crate::error::{Error, Kind};
use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as chosen;
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
use rustls::crypto::ring as chosen;
use std::sync::{Arc, OnceLock};

#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
compile_error!("rpcplugin-testkit needs one of its features `ring` (a default one) and `aws-lc`");

/// The provider of this build. It is passed to rustls explicitly: the process's default depends on which features other
/// crates enable, and whether somebody installed one.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(chosen::default_provider())))
}

/// The provider has nothing for the versions that are to be spoken.
pub(crate) fn unusable(error: rustls::Error) -> Error {
    let text = "the provider of TLS's cryptography is of no use";
    Error::new(Kind::Config, text).caused_by(error)
}

/// Whether it verifies signatures by keys of this kind: the DER of an `AlgorithmIdentifier`.
pub(crate) fn knows_key(algorithm: &[u8]) -> bool {
    let provider = provider();
    let known = provider.signature_verification_algorithms.all.iter();
    // Those come without the head of the sequence.
    known
        .map(|known| known.public_key_alg_id())
        .any(|known| algorithm.get(2..) == Some(known.as_ref()))
}
