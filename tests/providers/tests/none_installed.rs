//! Nobody installed a provider, and rustls cannot choose one of two.

use rpcplugin_testkit_providers::{assert_mutual_tls, assert_no_default_is_of_use};
use rustls::crypto::CryptoProvider;

#[tokio::test]
async fn mutual_tls_works_and_installs_nothing_where_nobody_installed_a_provider() {
    assert_no_default_is_of_use();
    assert_mutual_tls().await;
    assert!(CryptoProvider::get_default().is_none());
}
