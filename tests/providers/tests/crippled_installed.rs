//! Somebody installed a provider with which there is no TLS at all.

use rpcplugin_testkit_providers::{assert_mutual_tls, assert_no_default_is_of_use};
use rustls::crypto::{CryptoProvider, ring};

#[tokio::test]
async fn mutual_tls_works_where_the_installed_provider_is_of_no_use() {
    let crippled = CryptoProvider {
        cipher_suites: Vec::new(),
        kx_groups: Vec::new(),
        ..ring::default_provider()
    };
    crippled.install_default().unwrap();
    assert_no_default_is_of_use();
    assert_mutual_tls().await;
}
