//! Somebody installed a provider, which need not be the one that this crate was built with.

use rpcplugin_testkit_providers::assert_mutual_tls;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::{ptr, sync::Arc};

#[tokio::test]
async fn mutual_tls_works_where_somebody_installed_a_provider_which_stays() {
    aws_lc_rs::default_provider().install_default().unwrap();
    let installed = Arc::clone(CryptoProvider::get_default().unwrap());
    assert_mutual_tls().await;
    let found = CryptoProvider::get_default().unwrap();
    assert!(ptr::eq(found.as_ref(), installed.as_ref()));
}
