//! An independent judge of TLS: the `openssl` command, which shares no code with rustls, webpki and rcgen.
//!
//! Its texts are asserted as far as its releases agree on them: `self signed` became `self-signed`, for example.

mod certificates;
mod clients;
mod servers;

use crate::process::{Ended, Running};
use rpcplugin_testkit::Identity;
use rpcplugin_testkit::tls::{IdentityFiles, TlsVersion};
use std::{path::Path, process::Command};

/// Starts it with these arguments, split at spaces, and these after them.
fn openssl(words: &str, arguments: &[&str]) -> Running {
    let words = words.split_whitespace();
    Running::start(Command::new("openssl").args(words).args(arguments))
}

/// Runs it to its end.
async fn told(words: &str, arguments: &[&str]) -> Ended {
    openssl(words, arguments).leave().await
}

/// An identity as the command wants it.
pub(crate) struct Files {
    files: IdentityFiles,
    pub(crate) ca: String,
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Files {
    pub(crate) fn of(identity: &Identity) -> Self {
        let files = identity.files().expect("they can be written");
        Self {
            ca: text(&files.ca()),
            cert: text(&files.cert()),
            key: text(&files.key()),
            files,
        }
    }

    /// What a server or a client presents: its certificate, the others of its chain, and the key.
    fn presented(&self) -> [&str; 6] {
        let Self { cert, key, .. } = self;
        ["-cert", cert, "-cert_chain", cert, "-key", key]
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("its path is UTF-8").to_owned()
}

const VERSIONS: [(TlsVersion, &str, &str); 2] = [
    (TlsVersion::Tls12, "-tls1_2", "TLSv1.2"),
    (TlsVersion::Tls13, "-tls1_3", "TLSv1.3"),
];
