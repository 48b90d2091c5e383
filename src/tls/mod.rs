//! Certificates: throwaway ones for tests, and what is known of those that others have.
//!
//! [`Authority`] mints certificates, good ones and [deliberately bad ones](Defect). An [`Identity`] is a certificate with its
//! key: give it to a [`ServerTls`](crate::mock::ServerTls), to a [`ClientTls`], or to anything
//! else, as PEM, DER or files. A [`Certificate`] tells what it says: subject, names, serial number, dates.
//!
//! ```
//! use rpcplugin_testkit::{Client, ClientTls, MockServer, mock::ServerTls, tls::Authority};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), rpcplugin_testkit::Error> {
//! let authority = Authority::new();
//! let server = MockServer::builder()
//!     .tls(ServerTls::new(authority.server(["localhost", "127.0.0.1"])).require_client(&authority))
//!     .start()
//!     .await;
//!
//! let tls = ClientTls::new().roots(&authority).identity(authority.client("worker-1"));
//! let client = Client::builder().address(server.address()).tls(tls).connect().await?;
//! client.health_check().await?;
//! # Ok(())
//! # }
//! ```
//!
//! - `provider`: which cryptography TLS is done with; never the process's default one.
//! - `algorithm`: kinds of keys, and making one.
//! - `version`: TLS 1.2 and 1.3.
//! - `pem`: PEM text, read and written.
//! - `certificate`: what a certificate says.
//! - `identity`: a certificate with its key; `files`: the same in a directory.
//! - `template`: what is written into certificates.
//! - `authority`: who signs them.
//! - `defect`: what can be wrong with them.
//! - `client`: [`ClientTls`], what a client is told about TLS.
//! - `roots`: which authorities are trusted.
//! - `trust`: rustls's verifiers, which remember whom they refused.
//! - `refusal`: why, in words.
//! - `failure`: what ended a handshake, in words.

mod algorithm;
mod authority;
mod certificate;
mod client;
mod defect;
mod failure;
mod files;
mod identity;
mod pem;
mod provider;
mod refusal;
mod roots;
mod template;
mod trust;
mod version;
mod x509;

pub use algorithm::KeyAlgorithm;
pub use authority::Authority;
pub use certificate::Certificate;
pub use client::ClientTls;
pub(crate) use client::{IdentitySource, PemSource};
pub use defect::Defect;
pub(crate) use failure::{Failure, Side};
pub use files::IdentityFiles;
pub use identity::Identity;
pub use pem::Pem;
pub(crate) use provider::{provider, unusable};
pub(crate) use refusal::{Refusal, Refusals};
pub use roots::Roots;
pub(crate) use roots::system_roots;
pub(crate) use trust::{CheckClient, CheckServer, Demand, Trust};
pub use version::TlsVersion;
