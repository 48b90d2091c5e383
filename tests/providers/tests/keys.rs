//! Which kinds of keys there are is said by this crate's own features, whatever others enable.

use rpcplugin_testkit::Authority;
use rpcplugin_testkit::tls::KeyAlgorithm;
use rpcplugin_testkit_providers::assert_keys_serve;

#[tokio::test]
async fn every_kind_of_key_works_or_names_the_feature_that_it_needs() {
    use KeyAlgorithm::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048};
    for kind in [EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa2048] {
        let made = Authority::with_algorithm(kind);
        if matches!(kind, EcdsaP521 | Rsa2048) && !cfg!(feature = "aws-lc") {
            let text = format!(
                "{kind} keys cannot be made by this build's provider; enable the feature `aws-lc`"
            );
            assert_eq!(made.unwrap_err().to_string(), text);
            continue;
        }
        assert_keys_serve(&made.unwrap()).await;
    }
}
